"""Eformer, a U-net of window attention with the edges of the image as second input.

A. Luthra et al., "Eformer: Edge Enhancement based Transformer for Medical Image Denoising", ICCV
Workshops 2021. The edges are those of T. Liang et al., "EDCNN: Edge enhancement-based Densely
Connected Network with Compound Loss for Low-Dose CT Denoising", ICSP 2020; the block is that of
Z. Wang et al., "Uformer: A General U-Shaped Transformer for Image Restoration", CVPR 2022.

Source: the article and public notes on it; the released code of EDCNN for the edge filters and of
Uformer for the numbers of its block. No code was copied.

Deviation: no code is public, and the text does not state width, depth and number of levels. Here
there are two levels of two blocks with skips as in Uformer; a level of the decoder is upsampling,
concatenation, a convolution and the blocks. Strided convolutions bring the edges to lower levels,
as they do for features. The perceptual loss is left out, because it needs downloaded weights.
"""

import torch
import torch.nn.functional as F
from monai.networks.nets.swin_unetr import window_partition, window_reverse
from torch import Tensor, nn

from amir_lightning.networks.layers.image_conv import ImageConv2d
from amir_lightning.networks.layers.swin import window_attention
from amir_lightning.networks.layers.weight_init import small_normal
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.networks.validate import at_least, divides, multiple_of, whole


class Eformer(RestorationNetwork):
    """Encoder and decoder that see the edges at each level and predict the noise.

    Level l, counted from 0, has `width * 2 ** l` channels; the bottleneck follows this rule, too.

    Args:
        in_channels: Channels of the images.
        width: Channels C of the first level.
        levels: Halvings of the image.
        depth: LeWin blocks of each level in encoder and decoder, and of the bottleneck.
        heads: Attention heads of the first level, a divisor of the width. Each level has twice as
            many as the one before.
        window_size: Side of an attention window in pixels of its level.
        mlp_ratio: Hidden channels of the feed-forward network per channel, rounded down.
        edge_channels: Channels of the edges, a multiple of 4.

    Raises:
        InputError: An argument is out of range, or heads do not divide the width.
    """

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 32,
        levels: int = 2,
        depth: int = 2,
        heads: int = 1,
        window_size: int = 8,
        mlp_ratio: float = 4.0,
        edge_channels: int = 32,
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width, levels=levels, depth=depth, heads=heads)
        whole(1, window_size=window_size)
        at_least(1, mlp_ratio=mlp_ratio)
        divides("heads", heads, width, of="the first level")
        self.size_multiple = window_size * 2**levels
        widths = [width * 2**level for level in range(levels)]

        def stage(level: int) -> nn.Sequential:
            return nn.Sequential(
                *(
                    LeWinBlock(width * 2**level, heads * 2**level, window_size, mlp_ratio)
                    for _ in range(depth)
                )
            )

        self.stem = nn.Sequential(ImageConv2d(in_channels, width, 3, padding=1), nn.LeakyReLU())
        self.sobel = SobelEdges(in_channels, edge_channels)
        self.edge_downs = nn.ModuleList(
            nn.Conv2d(edge_channels, edge_channels, 3, stride=2, padding=1) for _ in widths[1:]
        )
        self.encoders = nn.ModuleList(stage(level) for level in range(levels))
        self.skips = nn.ModuleList(
            nn.Conv2d(channels + edge_channels, channels, 3, padding=1) for channels in widths
        )
        self.downs = nn.ModuleList(
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1) for channels in widths
        )
        self.bottleneck = stage(levels)
        # From here on the deepest level comes first, in the order of execution.
        widths.reverse()
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1)
            for channels in widths
        )
        self.merges = nn.ModuleList(
            nn.Conv2d(2 * channels + edge_channels, channels, 3, padding=1) for channels in widths
        )
        self.decoders = nn.ModuleList(stage(level) for level in reversed(range(levels)))
        self.head = nn.Conv2d(width, in_channels, 3, padding=1)
        small_normal(self)

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W), H and W multiples of `size_multiple`."""
        edges = [F.gelu(self.sobel(lq))]
        for down in self.edge_downs:
            edges.append(down(edges[-1]))
        # Channels-last: features become tokens without a copy.
        features = self.stem(lq).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for encoder, skip, down, edge in zip(
            self.encoders, self.skips, self.downs, edges, strict=True
        ):
            skips.append(skip(torch.cat([encoder(features), edge], dim=1)))
            features = down(skips[-1])
        features = self.bottleneck(features)
        for up, merge, decoder in zip(self.ups, self.merges, self.decoders, strict=True):
            features = decoder(merge(torch.cat([up(features), skips.pop(), edges.pop()], dim=1)))
        return lq - self.head(features)


class SobelEdges(nn.Module):
    """Sobel filters, each with a learned factor and bias.

    The output channels cycle through four directions: vertical, horizontal and the two diagonals.
    The responses of several image channels are added.

    Args:
        in_channels: Channels of the images.
        edge_channels: Channels of the edges, a multiple of 4.

    Raises:
        InputError: edge_channels is not a multiple of 4.
    """

    kernels: Tensor
    """Kernel of each channel, (edge_channels, in_channels, 3, 3)."""

    def __init__(self, in_channels: int, edge_channels: int) -> None:
        super().__init__()
        whole(1, edge_channels=edge_channels)
        multiple_of(4, edge_channels=edge_channels)
        directions = torch.tensor(
            [
                [[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]],
                [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]],
                [[0.0, 1.0, 2.0], [-1.0, 0.0, 1.0], [-2.0, -1.0, 0.0]],
                [[-2.0, -1.0, 0.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 2.0]],
            ]
        )
        kernels = directions.unsqueeze(1).repeat(edge_channels // 4, in_channels, 1, 1)
        self.register_buffer("kernels", kernels, persistent=False)
        self.factor = nn.Parameter(torch.ones(edge_channels, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(edge_channels))

    def forward(self, image: Tensor) -> Tensor:
        """Compute the edges of (B, in_channels, H, W), (B, edge_channels, H, W)."""
        return F.conv2d(image, self.factor * self.kernels, self.bias, padding=1)


class LeWinBlock(nn.Module):
    """Locally-enhanced window block: `x + W-MSA(LN(x))`, then `x + LeFF(LN(x))`.

    W-MSA is multi-head attention in windows that do not overlap, with a learned bias for each
    relative position.
    """

    def __init__(self, channels: int, heads: int, window_size: int, mlp_ratio: float) -> None:
        super().__init__()
        self.window = (window_size, window_size)
        self.norm1 = nn.LayerNorm(channels)
        self.attention = window_attention(channels, heads, self.window, qkv_bias=True)
        self.norm2 = nn.LayerNorm(channels)
        self.feed_forward = LocallyEnhancedFeedForward(channels, int(channels * mlp_ratio))

    def forward(self, features: Tensor) -> Tensor:
        """Transform (B, C, H, W), H and W multiples of the window size."""
        tokens = features.permute(0, 2, 3, 1)
        windows = self.attention(window_partition(self.norm1(tokens), self.window), None)
        tokens = tokens + window_reverse(windows, self.window, tokens.shape[:3])
        return (tokens + self.feed_forward(self.norm2(tokens))).permute(0, 3, 1, 2)


class LocallyEnhancedFeedForward(nn.Module):
    """LeFF: MLP on each pixel, with a depthwise convolution of its hidden channels."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(channels, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.project_out = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens on their grid, (B, H, W, C)."""
        hidden = F.gelu(self.project_in(tokens)).permute(0, 3, 1, 2)
        return self.project_out(F.gelu(self.depthwise(hidden)).permute(0, 2, 3, 1))
