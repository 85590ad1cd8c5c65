"""PromptIR, Restormer with learned prompts in the decoder, mixed by the features of the image.

V. Potlapalli et al., "PromptIR: Prompting for All-in-One Blind Image Restoration", NeurIPS 2023,
Sec. 3.

Source: layers and widths are those of the released code.

Deviation: six convolutions that the release creates and never uses are left out; 35.37 of its
35.59 M parameters remain.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amir_lightning.networks.layers.blocks import Downsample, Stage, TransformerBlock, Upsample
from amir_lightning.networks.layers.image_conv import ImageConv2d
from amir_lightning.networks.precision import widen, without_autocast
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.networks.validate import at_least, divides, multiple_of, whole, whole_numbers


class PromptIR(RestorationNetwork):
    """Encoder, bottleneck and decoder of transposed-attention blocks, with prompts between levels.

    Level l has `width * 2 ** (l - 1)` channels. Before each of the three upsamplings, a prompt is
    concatenated to the features, one block mixes both, and a convolution reduces the channels.

    Args:
        in_channels: Channels of the images.
        width: Channels C of the first level, an even number.
        depths: Blocks of levels 1 to 4, the same in encoder and decoder.
        refinement_depth: Blocks after the decoder.
        heads: Attention heads of levels 1 to 4.
        ffn_expansion_factor: Hidden channels of the feed-forward network per channel, rounded down.
        num_prompts: Learned maps N that are mixed to a prompt.
        prompt_channels: Channels of the prompts at levels 2 to 4.
        prompt_heads: Attention heads of the blocks that mix features and prompt.
        prompt_size: Side in pixels, a multiple of 8, of images for which the learned maps are not
            resized.

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
        num_prompts: int = 5,
        prompt_channels: Sequence[int] = (64, 128, 320),
        prompt_heads: int = 4,
        prompt_size: int = 128,
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width, num_prompts=num_prompts)
        whole(1, prompt_heads=prompt_heads)
        whole(0, refinement_depth=refinement_depth)
        whole(8, prompt_size=prompt_size)
        at_least(1, ffn_expansion_factor=ffn_expansion_factor)
        multiple_of(2, width=width)
        multiple_of(8, prompt_size=prompt_size)
        depths = whole_numbers("depths", depths, 4)
        heads = whole_numbers("heads", heads, 4)
        prompt_channels = whole_numbers("prompt_channels", prompt_channels, 3)
        prompted = [width * 2**level + prompt_channels[level - 1] for level in (1, 2, 3)]
        divides("prompt_heads", prompt_heads, *prompted, of="features and prompt")

        def stage(channels: int, level: int, depth: int) -> Stage:
            return Stage(
                level + 1,
                *(
                    TransformerBlock(channels, heads[level], ffn_expansion_factor)
                    for _ in range(depth)
                ),
            )

        self.stem = ImageConv2d(in_channels, width, 3, padding=1, bias=False)
        self.encoders = nn.ModuleList(
            stage(width * 2**level, level, depths[level]) for level in range(3)
        )
        self.downs = nn.ModuleList(Downsample(width * 2**level) for level in range(3))
        self.bottleneck = stage(width * 8, 3, depths[3])

        # The decoder, in the order of execution: the deepest level comes first.
        self.prompts = nn.ModuleList()
        self.mixers = nn.ModuleList()
        self.ups = nn.ModuleList()
        self.merges = nn.ModuleList()
        self.decoders = nn.ModuleList()
        channels = width * 8
        for level in (2, 1, 0):
            # As released, the bottleneck is reduced twice as much as the levels above it.
            narrowed = width * 4 if level == 2 else channels
            block = TransformerBlock(prompted[level], prompt_heads, ffn_expansion_factor)
            self.prompts.append(
                PromptGenerator(
                    channels, num_prompts, prompt_channels[level], prompt_size // 2 ** (level + 1)
                )
            )
            self.mixers.append(
                nn.Sequential(block, nn.Conv2d(prompted[level], narrowed, 1, bias=False))
            )
            self.ups.append(Upsample(narrowed))
            with_skip = narrowed // 2 + width * 2**level
            # The first level keeps the channels of skip and upsampled features.
            channels = width * 2**level if level else with_skip
            self.merges.append(
                nn.Conv2d(with_skip, channels, 1, bias=False) if level else nn.Identity()
            )
            self.decoders.append(stage(channels, level, depths[level]))
        self.refinement = stage(channels, 0, refinement_depth)
        self.head = ImageConv2d(channels, in_channels, 3, padding=1, bias=False)

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W), H and W multiples of 8."""
        # Channels-last: layer normalisation needs no copy.
        features = self.stem(lq).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(features))
            features = down(skips[-1])
        features = self.bottleneck(features)
        for prompt, mixer, up, merge, decoder in zip(
            self.prompts, self.mixers, self.ups, self.merges, self.decoders, strict=True
        ):
            features = mixer(torch.cat([features, prompt(features)], dim=1))
            features = decoder(merge(torch.cat([up(features), skips.pop()], dim=1)))
        return lq + self.head(self.refinement(features))


class PromptGenerator(nn.Module):
    """Mix learned maps by weights from the features, and resize the sum to their size.

    Args:
        channels: Channels C of the features.
        num_prompts: Learned maps N.
        prompt_channels: Channels P of a map.
        side: Height and width of a map.
    """

    def __init__(self, channels: int, num_prompts: int, prompt_channels: int, side: int) -> None:
        super().__init__()
        self.maps = nn.Parameter(torch.rand(num_prompts, prompt_channels, side, side))
        self.weigh = nn.Linear(channels, num_prompts)
        self.conv = nn.Conv2d(prompt_channels, prompt_channels, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Compute the prompt (B, P, H, W) of features (B, C, H, W)."""
        with without_autocast(features):
            weights = self.weigh(widen(features.mean(dim=(-2, -1)))).softmax(dim=-1)
            prompt = torch.einsum("bn,nphw->bphw", weights, self.maps)
            prompt = F.interpolate(prompt, features.shape[-2:], mode="bilinear")
        return self.conv(prompt)
