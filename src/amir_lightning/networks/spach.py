"""Spach Transformer, channel attention on four scales and shifted-window attention on two.

S.-I. Jang et al., "Spach Transformer: Spatial and Channel-wise Transformer Based on Local and
Global Self-attentions for PET Image Denoising", IEEE TMI 2023.

Source: the code released in November 2023, the only public one when AMIR was written. A later
release has fewer blocks, each with a second feed-forward network.

Deviation: the original is 3D. Here convolutions, windows and interpolations have two dimensions,
and windows have 8x8 instead of 6x6x6 tokens, so that training patches need no padding.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.nets.swin_unetr import PatchMerging
from torch import Tensor, nn

from amir_lightning.networks.layers.blocks import Stage, TransformerBlock
from amir_lightning.networks.layers.image_conv import ImageConv2d
from amir_lightning.networks.layers.swin import SwinStage, drop_path_rates
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.networks.validate import at_least, whole, whole_numbers


class SpachTransformer(RestorationNetwork):
    """U-net like Restormer; the features of a Swin branch are concatenated at levels 3 and 4.

    Level l has `width * 2 ** (l - 1)` channels. Exceptions are decoder 1 and refinement: they keep
    the `2 * width` channels of skip and upsampled features, with the heads of level 1. Convolutions
    outside the Swin branch have no bias.

    Args:
        in_channels: Channels of the images.
        width: Channels C of the first level.
        depths: Channel-attention blocks of levels 1 to 4, the same in encoder and decoder.
        refinement_depth: Blocks after the decoder.
        heads: Channel-attention heads of levels 1 to 4.
        ffn_expansion_factor: Hidden channels of the feed-forward network per channel, rounded down.
        swin_depths: Swin blocks at 1/4 and 1/8 of the size.
        swin_heads: Attention heads of the Swin blocks at 1/4 and 1/8 of the size.
        window_size: Side of an attention window in tokens, at least 2.
        mlp_ratio: Hidden units of the MLP in a Swin block per channel, rounded down.
        position_size: Side of the learned position table, which is resized to the tokens.
        drop_path: Probability that a residual branch of the last Swin block is skipped while
            training; it grows linearly from 0 at the first block.

    Raises:
        InputError: An argument is out of range, or heads do not divide channels.
    """

    size_multiple = 8

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 16,
        depths: Sequence[int] = (4, 6, 6, 8),
        refinement_depth: int = 3,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 1.0,
        swin_depths: Sequence[int] = (4, 8),
        swin_heads: Sequence[int] = (4, 8),
        window_size: int = 8,
        mlp_ratio: float = 4.0,
        position_size: int = 56,
        drop_path: float = 0.3,
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width, position_size=position_size)
        whole(0, refinement_depth=refinement_depth)
        at_least(1, ffn_expansion_factor=ffn_expansion_factor)
        depths = whole_numbers("depths", depths, 4)
        heads = whole_numbers("heads", heads, 4)
        swin_depths = whole_numbers("swin_depths", swin_depths, 2)
        swin_heads = whole_numbers("swin_heads", swin_heads, 2)

        def stage(depth: int, channels: int, level: int) -> Stage:
            return Stage(
                level + 1,
                *(
                    TransformerBlock(channels, heads[level], ffn_expansion_factor)
                    for _ in range(depth)
                ),
            )

        self.stem = ImageConv2d(in_channels, width, 3, padding=1, bias=False)
        self.encoders = nn.ModuleList(
            stage(depths[level], width * 2**level, level) for level in range(3)
        )
        self.downs = nn.ModuleList(Downsample(width * 2**level) for level in range(3))
        self.bottleneck = stage(depths[3], width * 8, 3)
        self.swin = SwinBranch(
            in_channels,
            width * 4,
            swin_depths,
            swin_heads,
            window_size,
            mlp_ratio,
            position_size,
            drop_path,
        )
        self.fuse = nn.Conv2d(width * 16, width * 8, 1, bias=False)
        # From here on the deepest level comes first, in the order of execution.
        self.ups = nn.ModuleList(Upsample(width * 2**level) for level in (3, 2, 1))
        self.merges = nn.ModuleList(
            (
                nn.Conv2d(width * 12, width * 4, 1, bias=False),
                nn.Conv2d(width * 4, width * 2, 1, bias=False),
                nn.Identity(),
            )
        )
        self.decoders = nn.ModuleList(
            (
                stage(depths[2], width * 4, 2),
                stage(depths[1], width * 2, 1),
                stage(depths[0], width * 2, 0),
            )
        )
        self.refinement = stage(refinement_depth, width * 2, 0)
        self.head = nn.Conv2d(width * 2, in_channels, 3, padding=1, bias=False)

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W), H and W multiples of 8."""
        quarter, eighth = self.swin(lq)
        # Channels-last: layer normalisation needs no copy.
        features = self.stem(lq).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(features))
            features = down(skips[-1])
        features = self.fuse(torch.cat([self.bottleneck(features), eighth], dim=1))
        skips[2] = torch.cat([skips[2], quarter], dim=1)
        for up, merge, decoder in zip(self.ups, self.merges, self.decoders, strict=True):
            features = decoder(merge(torch.cat([up(features), skips.pop()], dim=1)))
        return lq + self.head(self.refinement(features))


class SwinBranch(nn.Module):
    """Swin Transformer on 4x4 patches of the image, which returns the features of both stages.

    Args:
        in_channels: Channels of the images.
        channels: Channels C of the first stage.
        depths: Swin blocks of both stages.
        heads: Attention heads of both stages.
        window_size: Side of an attention window in tokens.
        mlp_ratio: Hidden units of the MLP per channel, rounded down.
        position_size: Side of the position table.
        drop_path: Drop-path probability of the last block.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window_size: int,
        mlp_ratio: float,
        position_size: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        rates = drop_path_rates(drop_path, sum(depths))
        self.embed = nn.Conv2d(in_channels, channels, 4, stride=4)
        self.embed_norm = nn.LayerNorm(channels)
        self.position = nn.Parameter(torch.empty(1, channels, position_size, position_size))
        nn.init.normal_(self.position, std=0.02)
        self.stage1 = SwinStage(
            channels, heads[0], window_size, mlp_ratio, False, rates[: depths[0]]
        )
        self.norm1 = nn.LayerNorm(channels)
        self.merge = PatchMerging(channels, spatial_dims=2)
        self.stage2 = SwinStage(
            2 * channels, heads[1], window_size, mlp_ratio, False, rates[depths[0] :]
        )
        self.norm2 = nn.LayerNorm(2 * channels)

    def forward(self, lq: Tensor) -> tuple[Tensor, Tensor]:
        """Encode images (B, in_channels, H, W), H and W multiples of 8.

        Returns:
            Features of the stages, (B, C, H/4, W/4) and (B, 2C, H/8, W/8).
        """
        tokens = self.embed_norm(self.embed(lq).permute(0, 2, 3, 1))
        position = F.interpolate(
            self.position, tokens.shape[1:3], mode="bilinear", align_corners=False
        )
        tokens = self.stage1(tokens + position.permute(0, 2, 3, 1))
        quarter = self.norm1(tokens)
        eighth = self.norm2(self.stage2(self.merge(tokens)))
        return quarter.permute(0, 3, 1, 2), eighth.permute(0, 3, 1, 2)


class Downsample(nn.Sequential):
    """(B, C, H, W) to (B, 2C, H/2, W/2) by convolution and linear interpolation.

    At half the size the interpolation is the mean of 2x2 pixels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.AvgPool2d(2)
        )


class Upsample(nn.Sequential):
    """(B, C, H, W) to (B, C/2, 2H, 2W) by convolution and linear interpolation."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        )
