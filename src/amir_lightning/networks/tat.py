"""TAT, Restormer with depthwise kernels that adapt to the task of the image.

Z. Yang et al., "TAT: Task-Adaptive Transformer for All-in-One Medical Image Restoration", MICCAI
2025.

Deviation: where the paper's figure and the code differ, this file follows the code. Decoder level 1
keeps the channels of skip and upsampled features; a refinement and a fusion of three features
follow it. Kernels are `shared + share * generated` with a share that starts at zero. The features
are pixel-shuffled before the task is encoded.

Deviation: the size of the attention windows at test time depends on the level. In the release it
depends on the number of heads, which is the same for the released heads, and the batch has to be a
single image.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self, get_args

import torch
from torch import Tensor, nn

from amir_lightning.networks.checkpoints import successors
from amir_lightning.networks.checkpoints.names import TAT as NAMES
from amir_lightning.networks.layers.adaptive import (
    AdaptiveBlock,
    KernelActivation,
    KernelGenerator,
)
from amir_lightning.networks.layers.blocks import (
    Downsample,
    Stage,
    TransformerBlock,
    Upsample,
)
from amir_lightning.networks.layers.image_conv import ImageConv2d
from amir_lightning.networks.restoration_network import Report, RestorationNetwork
from amir_lightning.networks.validate import at_least, multiple_of, one_of, whole, whole_numbers

LEVELS = ("level1", "level2", "level3", "bottleneck")


class TAT(RestorationNetwork):
    """Restormer's encoder, then blocks whose depthwise kernels are partly generated per image.

    From the output of the encoder, one pair of kernels is generated for each level. The
    blocks of a level have their own shared kernels and their own shares of the generated ones.

    Args:
        in_channels: Channels of the images.
        width: Channels C of the first level, an even number.
        depths: Blocks of levels 1 to 4, the same in encoder and decoder.
        refinement_depth: Blocks after the decoder.
        heads: Attention heads of levels 1 to 4.
        ffn_expansion_factor: Hidden channels of the feed-forward network per channel, rounded down.
        test_window: Side in image pixels, a multiple of 8, of overlapping windows for attention in
            evaluation; None for whole images, as in training. The release uses 1.5 times the side
            of its training patches.
        task_size: Length of the task representation.
        stop_gradient: Keep gradients of the generated kernels out of the encoder.
        kernel_activation: "gelu" of the generated kernels, or "none".
        first_share: Initial share of the generated kernels.

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
        multiple_of(2, width=width)
        if test_window is not None:
            whole(8, test_window=test_window)
            multiple_of(8, test_window=test_window)
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
        self.stem = ImageConv2d(in_channels, width, 3, padding=1, bias=False)
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
        """Attention in windows; None if it uses whole images."""
        return None if self.test_window is None else "attends in windows"

    def trace(self, lq: Tensor) -> Report:
        """Restore (B, in_channels, H, W), sides multiples of 8, and report the task vector."""
        # Channels-last: layer normalisation needs no copy.
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
        """Build the network from a checkpoint of the authors' release.

        Args:
            source: Checkpoint file, or its parameters by official name.

        Raises:
            InputError: The file is unreadable, or a name or shape does not match the release.
        """
        return successors.load(cls, source, "patch_embed.proj.weight", NAMES)
