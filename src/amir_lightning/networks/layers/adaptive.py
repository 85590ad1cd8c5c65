"""Depthwise kernels that adapt to the task of each image, and Restormer's block with them (TAT)."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from amir_lightning.networks.layers.blocks import (
    GatedFeedForward,
    LayerNorm,
    TransformerBlock,
    TransposedAttention,
)
from amir_lightning.networks.layers.gated_ffn import gated_feed_forward
from amir_lightning.networks.precision import widen, without_autocast

KernelActivation = Literal["gelu", "none"]


class AdaptiveKernel(nn.Module):
    """Depthwise 3x3 kernel, `shared + share * generated`.

    Convolution is linear in its kernel, so that the sum needs only one convolution.
    """

    def __init__(self, channels: int, first_share: float) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.empty(channels, 1, 3, 3))
        self.share = nn.Parameter(torch.full((channels,), first_share))

    def forward(self, generated: Tensor) -> Tensor:
        """Combine with generated kernels of each image, (B, C, 1, 3, 3)."""
        return self.shared + self.share[:, None, None, None] * generated


class KernelGenerator(nn.Module):
    """Encode the task of each image and generate depthwise kernels for all levels from it.

    Args:
        channels: Channels of the bottleneck's features after a pixel-shuffle by 4.
        task_size: Length D of the task representation.
        kernels: Numbers of kernels in feed-forward network and attention, by level.
        activation: "gelu" of the kernels, or "none".
    """

    def __init__(
        self,
        channels: int,
        task_size: int,
        kernels: Mapping[str, tuple[int, int]],
        activation: KernelActivation,
    ) -> None:
        super().__init__()

        def conv(before: int, after: int, bias: bool = False) -> nn.Module:
            return nn.Conv2d(before, after, 3, padding=1, bias=bias)

        self.shuffle = nn.PixelShuffle(4)
        self.encoder = nn.Sequential(
            conv(channels, 64, bias=True),
            nn.GELU(),
            ResidualBlock(64),
            ResidualBlock(64),
            conv(64, 64),
            nn.GELU(),
            conv(64, 128),
            nn.GELU(),
            conv(128, 256),
            nn.GELU(),
        )
        self.mlp = nn.Sequential(
            nn.Linear(256, task_size, bias=False),
            nn.GELU(),
            nn.Linear(task_size, task_size, bias=False),
            nn.GELU(),
        )
        self.feed_forward = nn.ModuleDict(
            {level: nn.Linear(task_size, 9 * n, bias=False) for level, (n, _) in kernels.items()}
        )
        self.attention = nn.ModuleDict(
            {level: nn.Linear(task_size, 9 * n, bias=False) for level, (_, n) in kernels.items()}
        )
        self.activation = nn.GELU() if activation == "gelu" else nn.Identity()

    def forward(self, features: Tensor) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """Generate kernels from the features of the bottleneck, (B, C, H, W).

        Returns:
            Task representation, (B, D), and kernels of attention and feed-forward network by
            level, (B, C', 1, 3, 3) each.
        """
        pooled = self.encoder(self.shuffle(features)).mean(dim=(2, 3))
        with without_autocast(features):
            task = self.mlp(widen(pooled))
            kernels = {
                level: (self._kernel(head, task), self._kernel(self.feed_forward[level], task))
                for level, head in self.attention.items()
            }
        return task, kernels

    def _kernel(self, head: nn.Module, task: Tensor) -> Tensor:
        return self.activation(head(task)).unflatten(1, (-1, 1, 3, 3))


class ResidualBlock(nn.Module):
    """`x + conv(GELU(conv(x)))`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Transform (B, C, H, W)."""
        return features + self.body(features)


class AdaptiveAttention(TransposedAttention):
    """Transposed attention with per-image depthwise kernels."""

    depthwise: AdaptiveKernel  # type: ignore[assignment]

    def __init__(self, channels: int, heads: int, window: int | None, first_share: float) -> None:
        super().__init__(channels, heads, window)
        self.depthwise = AdaptiveKernel(3 * channels, first_share)
        nn.init.normal_(self.depthwise.shared)

    def forward(self, features: Tensor, generated: Tensor) -> Tensor:  # type: ignore[override]
        """Mix the channels of (B, C, H, W)."""
        return self.mix(features, self.depthwise(generated))


class AdaptiveFeedForward(GatedFeedForward):
    """Gated feed-forward network with per-image depthwise kernels."""

    depthwise: AdaptiveKernel  # type: ignore[assignment]

    def __init__(self, channels: int, expansion_factor: float, first_share: float) -> None:
        super().__init__(channels, expansion_factor)
        self.depthwise = AdaptiveKernel(2 * int(channels * expansion_factor), first_share)
        # Kaiming initialisation; the fan-in is the 9 pixels of a kernel.
        nn.init.normal_(self.depthwise.shared, std=(2 / 9) ** 0.5)

    def forward(self, features: Tensor, generated: Tensor) -> Tensor:  # type: ignore[override]
        """Transform (B, C, H, W)."""
        return gated_feed_forward(
            features,
            self.project_in.weight,
            self.depthwise(generated),
            self.project_out.weight,
        )


class AdaptiveBlock(TransformerBlock):
    """Restormer's block with adaptive kernels in attention and feed-forward network."""

    attention: AdaptiveAttention
    feed_forward: AdaptiveFeedForward

    def __init__(
        self,
        channels: int,
        heads: int,
        ffn_expansion_factor: float,
        window: int | None,
        first_share: float,
    ) -> None:
        super().__init__(channels, heads, ffn_expansion_factor, LayerNorm, window)
        self.attention = AdaptiveAttention(channels, heads, window, first_share)
        self.feed_forward = AdaptiveFeedForward(channels, ffn_expansion_factor, first_share)

    def forward(  # type: ignore[override]
        self, features: Tensor, attention: Tensor, feed_forward: Tensor
    ) -> Tensor:
        """Transform (B, C, H, W) with generated kernels for both parts, (B, C', 1, 3, 3)."""
        features = features + self.attention(self.norm1(features), attention)
        return features + self.feed_forward(self.norm2(features), feed_forward)
