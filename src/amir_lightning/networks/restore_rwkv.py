"""Restore-RWKV, the U-net of Restormer with linear attention over pixels in two scan orders.

Z. Yang et al., "Restore-RWKV: Efficient and Effective Medical Image Restoration with RWKV", IEEE J.
Biomed. Health Inform. 30(1), 2026.

Deviation: WKV follows its formula exactly. The kernel of the release cuts the pixels into 64
pieces, adds one to distances between pieces and adds 1e-6 to each sum of weights. That changes
values of size 1 by up to 7e-4 for 256 pixels, 6e-6 for 1024 pixels and less than 1e-6 for 4096.

Deviation: a shift is one 5x5 convolution in training as well, where the release adds three
branches; the sum is the same. The second copy of the kernel, which the release keeps for
deployment, is left out.

Deviation: initial weights that the paper does not describe are those of PyTorch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amir_lightning.networks.checkpoints import successors
from amir_lightning.networks.checkpoints.names import RESTORE_RWKV
from amir_lightning.networks.layers.blocks import Downsample, LayerNorm, Stage, Upsample
from amir_lightning.networks.layers.image_conv import ImageConv2d
from amir_lightning.networks.layers.wkv import bidirectional_wkv
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.networks.validate import multiple_of, whole, whole_numbers

_GROUP = 2**19  # hidden values of a channel mix that are computed at a time in inference on a CPU


class RestoreRWKV(RestorationNetwork):
    """Encoder, bottleneck and decoder of RWKV blocks on four scales.

    Level l has `width * 2 ** (l - 1)` channels. Exceptions are the first level of the decoder and
    the refinement: they keep the `2 * width` channels of skip and upsampled features.

    Args:
        in_channels: Channels of the images.
        width: Channels C of the first level, an even number.
        depths: Blocks of levels 1 to 4, the same in encoder and decoder.
        refinement_depth: Blocks after the decoder.
        hidden_ratio: Hidden channels of a channel mix per channel.

    Raises:
        InputError: An argument is out of range.
    """

    size_multiple = 8

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 48,
        depths: Sequence[int] = (4, 6, 6, 8),
        refinement_depth: int = 4,
        hidden_ratio: int = 4,
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width, hidden_ratio=hidden_ratio)
        whole(0, refinement_depth=refinement_depth)
        multiple_of(2, width=width)
        depths = whole_numbers("depths", depths, 4)

        def stage(channels: int, level: int, depth: int) -> Stage:
            return Stage(level + 1, *(RWKVBlock(channels, hidden_ratio) for _ in range(depth)))

        self.stem = ImageConv2d(in_channels, width, 3, padding=1)
        self.encoders = nn.ModuleList(
            stage(width * 2**level, level, depths[level]) for level in range(3)
        )
        self.downs = nn.ModuleList(Downsample(width * 2**level) for level in range(3))
        self.bottleneck = stage(width * 8, 3, depths[3])
        # From here on the deepest level comes first, in the order of execution.
        self.ups = nn.ModuleList(Upsample(width * 2**level) for level in (3, 2, 1))
        self.merges = nn.ModuleList(
            nn.Conv2d(width * 2 ** (level + 1), width * 2**level, 1) if level else nn.Identity()
            for level in (2, 1, 0)
        )
        self.decoders = nn.ModuleList(
            stage(width * 2 ** max(level, 1), level, depths[level]) for level in (2, 1, 0)
        )
        self.refinement = stage(2 * width, 0, refinement_depth)
        self.head = ImageConv2d(2 * width, in_channels, 3, padding=1)

    @property
    def follows_size(self) -> str | None:
        """WKV, whose chunks depend on the number of pixels."""
        return "mixes pixels in chunks"

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W), H and W multiples of 8."""
        # Channels-last: layer normalisation and the linear maps of a pixel need no copy.
        features = self.stem(lq).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(features))
            features = down(skips[-1])
        features = self.bottleneck(features)
        for up, merge, decoder in zip(self.ups, self.merges, self.decoders, strict=True):
            features = decoder(merge(torch.cat([up(features), skips.pop()], dim=1)))
        return lq + self.head(self.refinement(features))

    @classmethod
    def from_official(cls, source: str | Path | Mapping[str, object]) -> Self:
        """Build the network from a checkpoint of the authors' release.

        Args:
            source: Checkpoint file, or its parameters by official name.

        Raises:
            InputError: The file is unreadable, or a name or shape does not match the release.
        """
        return successors.load(cls, source, "patch_embed.weight", RESTORE_RWKV)


class RWKVBlock(nn.Module):
    """`x + gamma1 * SpatialMix(LN(x))`, then `x + gamma2 * ChannelMix(LN(x))`."""

    def __init__(self, channels: int, hidden_ratio: int) -> None:
        super().__init__()
        self.norm1 = LayerNorm(channels)
        self.spatial_mix = SpatialMix(channels)
        self.scale1 = nn.Parameter(torch.ones(channels))
        self.norm2 = LayerNorm(channels)
        self.channel_mix = ChannelMix(channels, hidden_ratio)
        self.scale2 = nn.Parameter(torch.ones(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Transform (B, C, H, W)."""
        scale1, scale2 = (scale[:, None, None] for scale in (self.scale1, self.scale2))
        features = features + scale1 * self.spatial_mix(self.norm1(features))
        return features + scale2 * self.channel_mix(self.norm2(features))


class OmniShift(nn.Module):
    """Depthwise 5x5 convolution whose kernel is a weighted sum of four parts.

    The parts are the identity and learned kernels of sides 1, 3 and 5.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(4))
        self.kernels = nn.ParameterList(
            nn.Conv2d(channels, channels, side, groups=channels, bias=False).weight
            for side in (1, 3, 5)
        )

    def kernel(self) -> Tensor:
        """Sum the parts, (C, 1, 5, 5)."""
        one, three, five = self.kernels
        identity, *weights = self.weights
        kernel = F.pad(identity + weights[0] * one, [2] * 4)
        return kernel + F.pad(weights[1] * three, [1] * 4) + weights[2] * five

    def forward(self, features: Tensor) -> Tensor:
        """Shift (B, C, H, W)."""
        kernel = self.kernel().to(features.dtype)
        return F.conv2d(features, kernel, padding=2, groups=len(kernel))


class SpatialMix(nn.Module):
    """Mix pixels: WKV along the rows, WKV of the result along the columns, then a gate."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = OmniShift(channels)
        self.decay = nn.Parameter(torch.randn(2, channels))
        self.bonus = nn.Parameter(torch.randn(2, channels))
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        self.receptance = nn.Linear(channels, channels, bias=False)
        self.output = nn.Linear(channels, channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Mix (B, C, H, W)."""
        height, width = features.shape[-2:]
        pixels = height * width
        tokens = self.shift(features).flatten(2)
        # Weight times tokens leaves the pixels of a channel contiguous, as WKV needs them.
        key, value, gate = (one.weight @ tokens for one in (self.key, self.value, self.receptance))
        # Divided by the number of pixels, so that the reach grows with the image.
        rows, columns = zip(self.decay / pixels, self.bonus / pixels, strict=True)
        value = bidirectional_wkv(*rows, key, value)
        key, value = (_turned(one, height, width) for one in (key, value))
        value = _turned(bidirectional_wkv(*columns, key, value), width, height)
        mixed = F.linear((gate.sigmoid() * value).mT, self.output.weight)
        return mixed.mT.unflatten(2, (height, width))


def _turned(tokens: Tensor, height: int, width: int) -> Tensor:
    """Reorder pixels (B, C, H W) from row by row to column by column."""
    return tokens.unflatten(2, (height, width)).transpose(2, 3).flatten(2)


class ChannelMix(nn.Module):
    """Mix channels: `sigmoid(W_r s) * W_v relu(W_k s)^2` of the shifted features s."""

    def __init__(self, channels: int, hidden_ratio: int) -> None:
        super().__init__()
        self.shift = OmniShift(channels)
        self.key = nn.Linear(channels, hidden_ratio * channels, bias=False)
        self.value = nn.Linear(hidden_ratio * channels, channels, bias=False)
        self.receptance = nn.Linear(channels, channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Mix (B, C, H, W)."""
        tokens = self.shift(features).permute(0, 2, 3, 1)
        if torch.is_grad_enabled() or features.is_cuda:
            return self._mix(tokens).permute(0, 3, 1, 2)
        # A few rows at a time: their hidden values stay in the CPU's cache. Those of a whole image
        # are a buffer of 100 MB for 256x256 pixels, whose page faults cost as much as the products.
        batch, _, width, _ = tokens.shape
        rows = max(1, _GROUP // (batch * width * self.key.out_features))
        mixed = torch.cat([self._mix(group) for group in tokens.split(rows, dim=1)], dim=1)
        return mixed.permute(0, 3, 1, 2)

    def _mix(self, tokens: Tensor) -> Tensor:
        """Mix the channels of tokens, (B, H, W, C)."""
        hidden = self.key(tokens).relu().square()
        return self.receptance(tokens).sigmoid() * self.value(hidden)
