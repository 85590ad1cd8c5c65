"""TAT, Restormer whose depthwise kernels adapt to the task that the image shows.

Z. Yang et al., "TAT: Task-Adaptive Transformer for All-in-One Medical Image Restoration", MICCAI
2025.

Deviation: where the paper's figure and the released code differ, this is the code: decoder level 1
keeps the channels of skip and upsampled features, a refinement and a fusion of three features
follow it, kernels are `shared + share * generated` with a share that starts at zero, and the
features are pixel-shuffled before the task is read from them.

Deviation: the windows of attention at test time belong to a level. In the release they belong to a
number of heads, which is the same with the released heads; there they need a batch of one image.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.arguments import at_least, one_of, whole, whole_numbers
from amir_lightning.networks.checkpoints import successors
from amir_lightning.networks.checkpoints.names import TAT as NAMES
from amir_lightning.networks.layers.blocks import (
    Downsample,
    GatedFeedForward,
    LayerNorm,
    Stage,
    TransformerBlock,
    TransposedAttention,
    Upsample,
)
from amir_lightning.networks.layers.gated import gated_feed_forward
from amir_lightning.networks.layers.image_conv import ImageConv2d
from amir_lightning.networks.precision import widen, without_autocast
from amir_lightning.networks.restoration import Report, RestorationNetwork

KernelActivation = Literal["gelu", "none"]
LEVELS = ("level1", "level2", "level3", "bottleneck")


class TAT(RestorationNetwork):
    """Restormer's encoder, then blocks whose depthwise kernels are partly made for each image.

    What the encoder found is read once, and one pair of kernels for each level comes of it; the
    blocks of a level differ in their shared kernels and in how much of the generated ones they add.

    Args:
        in_channels: Channels of the images.
        width: Channels C of the first level, an even number.
        depths: Blocks of levels 1 to 4, in the encoder as in the decoder.
        refinement_depth: Blocks after the decoder.
        heads: Attention heads of levels 1 to 4.
        ffn_expansion_factor: Hidden channels of the feed-forward network per channel, rounded down.
        test_window: In evaluation attention looks at overlapping windows of that side in pixels of
            the image, a multiple of 8; None: at the whole image, as in training. The release has
            1.5 times the side of its training patches.
        task_size: Length of the task representation.
        stop_gradient: Whether the encoder is left alone by what the kernels learn.
        kernel_activation: "gelu" of the generated kernels, or "none".
        first_share: Share of the generated kernels at the start.

    Raises:
        InputError: An argument is out of range, or heads do not divide channels.
    """

    size_multiple = 8

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 48,
        depths: Sequence[int] = (4, 6, 6, 8),
        refinement_depth: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        test_window: int | None = 192,
        task_size: int = 256,
        stop_gradient: bool = True,
        kernel_activation: KernelActivation = "gelu",
        first_share: float = 0.0,
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width, task_size=task_size)
        whole(0, refinement_depth=refinement_depth)
        at_least(1, ffn_expansion_factor=ffn_expansion_factor)
        at_least(0, first_share=first_share)
        one_of("stop_gradient", stop_gradient, (True, False))
        one_of("kernel_activation", kernel_activation, get_args(KernelActivation))
        if width % 2:
            raise InputError(f"width is {width}, expected an even number; type width={width + 1}")
        if test_window is not None:
            whole(8, test_window=test_window)
            if test_window % 8:
                raise InputError(
                    f"test_window is {test_window}, expected a multiple of 8; "
                    f"type test_window={test_window + -test_window % 8}"
                )
        depths = whole_numbers("depths", depths, 4)
        heads = whole_numbers("heads", heads, 4)
        self.test_window = test_window
        self.stop_gradient = stop_gradient
        windows = [None if test_window is None else test_window >> level for level in range(4)]

        def plain(level: int) -> Stage:
            return Stage(
                level + 1,
                *(
                    TransformerBlock(
                        width * 2**level,
                        heads[level],
                        ffn_expansion_factor,
                        window=windows[level],
                    )
                    for _ in range(depths[level])
                ),
            )

        def adaptive(level: int, depth: int) -> Stage:
            return Stage(
                level + 1,
                *(
                    AdaptiveBlock(
                        channels[level],
                        heads[level],
                        ffn_expansion_factor,
                        windows[level],
                        first_share,
                    )
                    for _ in range(depth)
                ),
            )

        channels = [2 * width, 2 * width, 4 * width, 8 * width]  # of the adaptive blocks
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.encoders = nn.ModuleList(plain(level) for level in range(3))
        self.downs = nn.ModuleList(Downsample(width * 2**level) for level in range(3))
        self.kernels = KernelGenerator(
            width // 2,
            task_size,
            {
                level: (2 * int(channels[i] * ffn_expansion_factor), 3 * channels[i])
                for i, level in enumerate(LEVELS)
            },
            kernel_activation,
        )
        self.bottleneck = adaptive(3, depths[3])
        # From here on the deepest level comes first, in the order of execution.
        self.ups = nn.ModuleList(Upsample(width * 2**level) for level in (3, 2, 1))
        self.merges = nn.ModuleList(
            nn.Conv2d(width * 2 ** (level + 1), width * 2**level, 1, bias=False)
            if level
            else nn.Identity()
            for level in (2, 1, 0)
        )
        self.decoders = nn.ModuleList(adaptive(level, depths[level]) for level in (2, 1, 0))
        self.refinement = adaptive(0, refinement_depth)
        self.fuse = nn.Sequential(
            nn.Conv2d(5 * width, width, 3, padding=1, bias=False),
            nn.GELU(),
            nn.Conv2d(width, width, 1, bias=False),
        )
        self.head = ImageConv2d(width, in_channels, 3, padding=1, bias=False)

    @property
    def follows_size(self) -> str | None:
        """The windows of attention, unless it looks at whole images."""
        return None if self.test_window is None else "attends in windows"

    def trace(self, lq: Tensor) -> Report:
        """Restore (B, in_channels, H, W), sides multiples of 8, and report the task's vector."""
        # Channels-last makes layer normalisation a view.
        features = self.stem(lq).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(features))
            features = down(skips[-1])
        first = skips[0]
        task, kernels = self.kernels(features.detach() if self.stop_gradient else features)
        features = self.bottleneck(features, *kernels["bottleneck"])
        for level, up, merge, decoder in zip(
            (3, 2, 1), self.ups, self.merges, self.decoders, strict=True
        ):
            features = merge(torch.cat([up(features), skips.pop()], dim=1))
            features = decoder(features, *kernels[f"level{level}"])
        refined = self.refinement(features, *kernels["level1"])
        fused = self.fuse(torch.cat([first, features, refined], dim=1))
        return Report(lq + self.head(fused), instruction=task)

    @classmethod
    def from_official(cls, source: str | Path | Mapping[str, object]) -> Self:
        """Build the network of a checkpoint of the authors' release.

        Args:
            source: The checkpoint file, or its parameters by official name.

        Raises:
            InputError: The file is unreadable, or a name or shape is not that of the release.
        """
        return successors.load(cls, source, "patch_embed.proj.weight", NAMES)


class AdaptiveKernel(nn.Module):
    """A depthwise 3x3 kernel, `shared + share * generated`: one convolution, as it is linear."""

    def __init__(self, channels: int, first_share: float) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.empty(channels, 1, 3, 3))
        self.share = nn.Parameter(torch.full((channels,), first_share))

    def forward(self, generated: Tensor) -> Tensor:
        """The kernels of each image, (B, C, 1, 3, 3), from generated ones of that shape."""
        return self.shared + self.share[:, None, None, None] * generated


class KernelGenerator(nn.Module):
    """Read the task from features, and generate depthwise kernels for each image and level.

    Args:
        channels: Channels of the bottleneck's features after a pixel-shuffle by 4.
        task_size: Length of the task representation.
        kernels: Channels of feed-forward network and attention of each level.
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
        """Task representation (B, D); kernels (B, C, 1, 3, 3) of attention and feed-forward."""
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
    """Transposed attention with kernels of each image's own."""

    depthwise: AdaptiveKernel  # type: ignore[assignment]

    def __init__(self, channels: int, heads: int, window: int | None, first_share: float) -> None:
        super().__init__(channels, heads, window)
        self.depthwise = AdaptiveKernel(3 * channels, first_share)
        nn.init.normal_(self.depthwise.shared)

    def forward(self, features: Tensor, generated: Tensor) -> Tensor:  # type: ignore[override]
        """Mix the channels of (B, C, H, W)."""
        return self.mix(features, self.depthwise(generated))


class AdaptiveFeedForward(GatedFeedForward):
    """Gated feed-forward network with depthwise kernels of each image's own."""

    depthwise: AdaptiveKernel  # type: ignore[assignment]

    def __init__(self, channels: int, expansion_factor: float, first_share: float) -> None:
        super().__init__(channels, expansion_factor)
        self.depthwise = AdaptiveKernel(2 * int(channels * expansion_factor), first_share)
        # Kaiming's rule with a fan of the 9 pixels of a kernel.
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
    """Restormer's block, both halves with kernels that are partly generated."""

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
        """Transform (B, C, H, W) with generated kernels of both halves, (B, C', 1, 3, 3)."""
        features = features + self.attention(self.norm1(features), attention)
        return features + self.feed_forward(self.norm2(features), feed_forward)
