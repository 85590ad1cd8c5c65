"""Building blocks of Restormer.

S. W. Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR
2022. No convolution has a bias.

Source: the article for attention, feed-forward network and resampling; the released code for both
layer normalisations, their epsilon, and the rounding of hidden channels. No code was copied.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from amir_lightning.errors import InputError
from amir_lightning.networks.layers.cells import Windows
from amir_lightning.networks.layers.depthwise import depthwise
from amir_lightning.networks.layers.gated_ffn import gated_feed_forward
from amir_lightning.networks.precision import widen, without_autocast


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel, with weight and bias.

    Moving the channels last is a view, which costs nothing for tensors that are channels-last.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class BiasFreeLayerNorm(nn.Module):
    """The "BiasFree" normalisation of Restormer's denoising weights: `weight * x / std(x)`.

    The mean is not subtracted. That is what the released code does; the article does not describe
    it.
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

    `W softmax(temperature * q k^T / (|q| |k|)) v` with norms over the pixels and a temperature per
    head. Two changes of order save work per pixel: the small product q k^T is divided by the norms
    instead of q and k themselves, and the projection W is multiplied with the attention before it
    is applied to v.

    Args:
        channels: Channels C of the features.
        heads: Attention heads, a divisor of the channels.
        window: Side in pixels of overlapping windows that attention uses for larger images in
            evaluation; None for whole images, as in training.
    """

    def __init__(self, channels: int, heads: int, window: int | None = None) -> None:
        super().__init__()
        if channels % heads:
            fitting = ", ".join(str(n) for n in range(1, channels + 1) if channels % n == 0)
            raise InputError(
                f"heads has {heads}, which does not divide the {channels} channels of its level; "
                f"type one of {fitting} in its place"
            )
        self.heads = heads
        self.window = window
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.project_in = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.depthwise = nn.Conv2d(
            3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False
        )
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Mix the channels of (B, C, H, W)."""
        return self.mix(features, self.depthwise.weight)

    def mix(self, features: Tensor, filters: Tensor) -> Tensor:
        """Mix the channels of (B, C, H, W) with depthwise filters, shapes as in `depthwise`."""
        channels, (height, width) = features.shape[1], features.shape[-2:]
        windows = Windows(height, width, None if self.training else self.window)
        if torch.is_grad_enabled():
            query, key, value = self._expand(features, filters, slice(None)).chunk(3, dim=-1)
            mixtures = self._mixtures(query, key, windows)
        else:  # the value only after query and key are freed, for a lower memory peak
            query, key = self._expand(features, filters, slice(2 * channels)).chunk(2, dim=-1)
            mixtures = self._mixtures(query, key, windows)
            del query, key
            value = self._expand(features, filters, slice(2 * channels, None))
        return windows.apply(mixtures, value)

    def _expand(self, features: Tensor, filters: Tensor, part: slice) -> Tensor:
        """Compute some channels of query, key and value, (B, H W, up to 3C)."""
        expanded = F.conv2d(features, self.project_in.weight[part])
        filters = filters[..., part, :, :, :].to(expanded.dtype)
        return rearrange(depthwise(expanded, filters), "b c h w -> b (h w) c")

    def _mixtures(self, query: Tensor, key: Tensor, windows: Windows) -> list[Tensor]:
        """Compute attention times projection for each cell of the windows.

        Args:
            query: (B, H W, C).
            key: (B, H W, C).
            windows: Windows of the image.

        Returns:
            Maps from value channels to output channels, (B, C, C) each, float32 at least.
        """
        with without_autocast(query):
            if query.dtype == torch.float16:  # a sum over all pixels would overflow
                query, key = query.float(), key.float()
            parts = zip(windows.cells(query), windows.cells(key), strict=True)
            found = [(self._products(q, k), _squares(q), _squares(k)) for q, k in parts]
            sums = (windows.sums(part) for part in zip(*found, strict=True))
            return windows.means([self._mixture(*one) for one in zip(*sums, strict=True)])

    def _products(self, query: Tensor, key: Tensor) -> Tensor:
        """Multiply query and key channels of each head, (B, heads, C / heads, C / heads)."""
        if torch.compiler.is_exporting():  # OpenVINO cannot read the diagonal below
            query, key = (
                rearrange(one, "b n (head c) -> b head c n", head=self.heads)
                for one in (query, key)
            )
            return widen(query @ key.mT)
        # One product over all channels needs no copy of the pixels; products between heads are
        # few and dropped.
        products = rearrange(
            widen(query.mT @ key),
            "b (head c) (other d) -> b head c other d",
            head=self.heads,
            other=self.heads,
        )
        return products.diagonal(dim1=1, dim2=3).movedim(-1, 1)

    def _mixture(self, products: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Turn products and squared norms into attention times projection, (B, C, C)."""
        query, key = (one.clamp_min(1e-24).sqrt() for one in (query, key))
        norms = rearrange(query, "b (head c) -> b head c 1", head=self.heads)
        norms = norms * rearrange(key, "b (head d) -> b head 1 d", head=self.heads)
        attention = (products / norms * self.temperature).softmax(dim=-1)
        projection = rearrange(
            self.project_out.weight, "o (head c) 1 1 -> head c o", head=self.heads
        )
        return rearrange(attention.mT @ widen(projection), "b head d o -> b (head d) o")


def _squares(vectors: Tensor) -> Tensor:
    """Squared norms over the pixels, (B, C) from (B, H W, C)."""
    wide = torch.promote_types(vectors.dtype, torch.float32)
    return vectors.square().sum(dim=1, dtype=wide)


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
        return gated_feed_forward(
            features, self.project_in.weight, self.depthwise.weight, self.project_out.weight
        )


class TransformerBlock(nn.Module):
    """`x + MDTA(LN(x))`, then `x + GDFN(LN(x))`."""

    def __init__(
        self,
        channels: int,
        heads: int,
        ffn_expansion_factor: float,
        norm: Callable[[int], nn.Module] = LayerNorm,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = norm(channels)
        self.attention = TransposedAttention(channels, heads, window)
        self.norm2 = norm(channels)
        self.feed_forward = GatedFeedForward(channels, ffn_expansion_factor)

    def forward(self, features: Tensor) -> Tensor:
        """Transform (B, C, H, W)."""
        features = features + self.attention(self.norm1(features))
        return features + self.feed_forward(self.norm2(features))


class Stage(nn.Sequential):
    """Blocks on one level of resolution, with optional activation checkpointing.

    On the finest level, blocks add to float32 features under autocast. The residual image is a
    small difference of features, and bfloat16 would round their sum in every block.

    Args:
        level: 1 for the finest.
        blocks: Each maps (B, C, H, W) to the same shape, without randomness.

    Attributes:
        recomputed: Keep only the inputs of the blocks for the backward pass, which computes the
            rest again.
        runs_compiled: Run the blocks that `compile` made.
    """

    def __init__(self, level: int, *blocks: nn.Module) -> None:
        super().__init__(*blocks)
        self.level = level
        self.recomputed = False
        self.runs_compiled = False
        self._compiled: list[Callable[..., Tensor]] = []

    def compile(self, **options: Any) -> None:
        """Compile each block for images of one shape; `runs_compiled` turns the result on.

        Blocks of the same shape share the compiled code, so that this takes seconds, not minutes.

        Args:
            options: Passed to `torch.compile`.
        """
        self._compiled = [torch.compile(block, dynamic=False, **options) for block in self]

    def forward(self, features: Tensor, *rest: Tensor) -> Tensor:
        """Run all blocks on (B, C, H, W), each with the same further arguments."""
        if self.level == 1:
            features = widen(features)
        for block in self._compiled if self.runs_compiled else self:
            if self.recomputed and torch.is_grad_enabled():
                features = checkpoint(
                    block, features, *rest, use_reentrant=False, preserve_rng_state=False
                )
            else:
                features = block(features, *rest)
        return features


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
