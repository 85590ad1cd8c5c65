"""Building blocks of Restormer.

S. W. Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR
2022. Written from the paper. No convolution has a bias.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.precision import widen, without_autocast


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel, with weight and bias.

    Channels move last only as a view, which costs nothing for tensors that are channels-last.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class BiasFreeLayerNorm(nn.Module):
    """The "BiasFree" normalisation of Restormer's denoising weights: `weight * x / std(x)`.

    It divides by the standard deviation over the channels without taking the mean off.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        variance = features.var(dim=1, keepdim=True, correction=0)
        return features * (variance + 1e-5).rsqrt() * self.weight[:, None, None]


class TransposedAttention(nn.Module):
    """Multi-Dconv head transposed attention (MDTA): attention between channels, not pixels.

    `softmax(temperature * q k^T / (|q| |k|)) v` with norms over the pixels and a temperature per
    head. The small product is divided by the norms, which spares normalised copies of q and k.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            fitting = ", ".join(str(n) for n in range(1, channels + 1) if channels % n == 0)
            raise InputError(
                f"heads has {heads}, which does not divide the {channels} channels of its level; "
                f"type one of {fitting} in its place"
            )
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.project_in = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.depthwise = nn.Conv2d(
            3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False
        )
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Mix the channels of (B, C, H, W)."""
        query, key, value = rearrange(
            self.depthwise(self.project_in(features)),
            "b (qkv head c) h w -> qkv b head c (h w)",
            qkv=3,
            head=self.heads,
        )
        with without_autocast(features):  # a sum over all pixels overflows float16
            query, key = widen(query), widen(key)
            norms = _norm(query) * _norm(key).transpose(-2, -1)
            cosine = query @ key.transpose(-2, -1) / norms
            attention = (cosine * self.temperature).softmax(dim=-1)
        mixed = rearrange(
            attention.to(value.dtype) @ value,
            "b head c (h w) -> b (head c) h w",
            h=features.shape[-2],
        )
        return self.project_out(mixed)


def _norm(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp_min(1e-12)


class GatedFeedForward(nn.Module):
    """Gated-Dconv feed-forward network (GDFN): `GELU(a) * b`, then back to C channels."""

    def __init__(self, channels: int, expansion_factor: float) -> None:
        super().__init__()
        hidden = int(channels * expansion_factor)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.depthwise = nn.Conv2d(
            2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False
        )
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Transform (B, C, H, W)."""
        gate, value = self.depthwise(self.project_in(features)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class TransformerBlock(nn.Module):
    """`x + MDTA(LN(x))`, then `x + GDFN(LN(x))`."""

    def __init__(
        self,
        channels: int,
        heads: int,
        ffn_expansion_factor: float,
        norm: Callable[[int], nn.Module] = LayerNorm,
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.attention = TransposedAttention(channels, heads)
        self.norm2 = norm(channels)
        self.feed_forward = GatedFeedForward(channels, ffn_expansion_factor)

    def forward(self, features: Tensor) -> Tensor:
        """Transform (B, C, H, W)."""
        features = features + self.attention(self.norm1(features))
        return features + self.feed_forward(self.norm2(features))


class Downsample(nn.Sequential):
    """(B, C, H, W) to (B, 2C, H/2, W/2) by convolution and pixel-unshuffle."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2)
        )


class Upsample(nn.Sequential):
    """(B, C, H, W) to (B, C/2, 2H, 2W) by convolution and pixel-shuffle."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=False), nn.PixelShuffle(2)
        )
