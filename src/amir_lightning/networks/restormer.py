"""Restormer, the baseline of the paper and the backbone of AMIR.

S. W. Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR
2022. By default the layer normalisation has a bias: with one image channel this gives the 26.12 M
parameters of the AMIR paper (Table 4).

Source: the article, and the released code for numbers that the article does not print.
"""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from amir_lightning.networks.layers.blocks import (
    BiasFreeLayerNorm,
    Downsample,
    LayerNorm,
    Stage,
    TransformerBlock,
    Upsample,
)
from amir_lightning.networks.layers.image_conv import ImageConv2d
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.networks.validate import at_least, multiple_of, one_of, whole, whole_numbers

LayerNormMode = Literal["with_bias", "bias_free"]
Route = Callable[[str, Tensor], Tensor]
"""Map of (name of a stage, its input features (B, C', H', W')) to features of the same shape."""


class Restormer(RestorationNetwork):
    """Encoder, bottleneck and decoder of transposed-attention blocks on four scales.

    The stages are named encoder1 to encoder3, bottleneck, decoder3 to decoder1 and refinement.
    Level l has `width * 2 ** (l - 1)` channels. Exceptions are decoder1 and refinement: they keep
    the `2 * width` channels of skip and upsampled features, with the heads of level 1.

    Args:
        in_channels: Channels of the images.
        width: Channels C of the first level, an even number.
        depths: Blocks of levels 1 to 4, the same in encoder and decoder.
        refinement_depth: Blocks after the decoder.
        heads: Attention heads of levels 1 to 4.
        ffn_expansion_factor: Hidden channels of the feed-forward network per channel, rounded down.
        layer_norm: "with_bias", or "bias_free" as in the public denoising weights.

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
        layer_norm: LayerNormMode = "with_bias",
    ) -> None:
        super().__init__()
        one_of("layer_norm", layer_norm, get_args(LayerNormMode))
        norm = LayerNorm if layer_norm == "with_bias" else BiasFreeLayerNorm
        whole(1, in_channels=in_channels, width=width)
        whole(0, refinement_depth=refinement_depth)
        at_least(1, ffn_expansion_factor=ffn_expansion_factor)
        multiple_of(2, width=width)
        depths = whole_numbers("depths", depths, 4)
        heads = whole_numbers("heads", heads, 4)
        self.stage_channels = stage_channels(width)

        def stage(name: str, depth: int, level: int) -> Stage:
            channels = self.stage_channels[name]
            return Stage(
                level + 1,
                *(
                    TransformerBlock(channels, heads[level], ffn_expansion_factor, norm)
                    for _ in range(depth)
                ),
            )

        self.stem = ImageConv2d(in_channels, width, 3, padding=1, bias=False)
        self.encoders = nn.ModuleList(
            stage(f"encoder{level + 1}", depths[level], level) for level in range(3)
        )
        self.downs = nn.ModuleList(Downsample(width * 2**level) for level in range(3))
        self.bottleneck = stage("bottleneck", depths[3], 3)
        # From here on the deepest level comes first, in the order of execution.
        self.ups = nn.ModuleList(Upsample(width * 2**level) for level in (3, 2, 1))
        self.merges = nn.ModuleList(
            nn.Conv2d(width * 2 ** (level + 1), width * 2**level, 1, bias=False)
            if level
            else nn.Identity()
            for level in (2, 1, 0)
        )
        self.decoders = nn.ModuleList(
            stage(f"decoder{level + 1}", depths[level], level) for level in (2, 1, 0)
        )
        self.refinement = stage("refinement", refinement_depth, 0)
        self.head = ImageConv2d(2 * width, in_channels, 3, padding=1, bias=False)

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W), H and W multiples of 8."""
        return self.traverse(lq, lambda _stage, features: features)

    def traverse(self, lq: Tensor, route: Route) -> Tensor:
        """Run all stages and pass the input features of each through `route` first.

        Args:
            lq: Low-quality images, (B, in_channels, H, W), H and W multiples of 8.
            route: Called before each stage; the baseline returns the features unchanged.

        Returns:
            `lq` plus the predicted residual, (B, in_channels, H, W).
        """
        # Channels-last: layer normalisation and expert tokens need no copy; 10 % faster on a CPU.
        features = self.stem(lq).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for level, (encoder, down) in enumerate(zip(self.encoders, self.downs, strict=True), 1):
            skips.append(encoder(route(f"encoder{level}", features)))
            features = down(skips[-1])
        features = self.bottleneck(route("bottleneck", features))
        for level, up, merge, decoder in zip(
            (3, 2, 1), self.ups, self.merges, self.decoders, strict=True
        ):
            features = merge(torch.cat([up(features), skips.pop()], dim=1))
            features = decoder(route(f"decoder{level}", features))
        return lq + self.head(self.refinement(route("refinement", features)))


def stage_channels(width: int) -> dict[str, int]:
    """Channels of the features that enter each stage."""
    encoder = {f"encoder{level + 1}": width * 2**level for level in range(3)}
    decoder = {"decoder3": width * 4, "decoder2": width * 2, "decoder1": width * 2}
    return encoder | {"bottleneck": width * 8} | decoder | {"refinement": width * 2}
