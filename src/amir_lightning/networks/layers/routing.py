"""Spatial and channel routing under an instruction, Sec. 2.2, Eqs. (2) to (4)."""

from typing import Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from amir_lightning.networks.layers.expert_options import ExpertOptions
from amir_lightning.networks.layers.experts import Experts, fuse
from amir_lightning.networks.layers.topk_gate import TopKGate
from amir_lightning.networks.precision import widen, without_autocast
from amir_lightning.networks.validate import one_of

SpatialMode = Literal["mixture", "projection", "none"]
ChannelMode = Literal["affine", "mask", "none"]


class SpatiallyRouted(NamedTuple):
    """Result of a spatial routing module.

    Attributes:
        features: Routed features, (B, C, H, W).
        gates: Weight G of each expert for each pixel, K of M are not zero, (B, H, W, M).
        balance: Balance loss, scalar.
    """

    features: Tensor
    gates: Tensor
    balance: Tensor


class SpatialRouting(nn.Module):
    """Spatial routing module (SRM): each pixel goes through K of M experts that it chooses.

    `TopKGate` is Eq. (2), `fuse` is Eq. (3), `x' = sum_e G(x, I^IR)_e E_e(x)`. Gates, balance and
    fusion stay in float32 under autocast.

    Deviation: as released, the module has a residual connection, `x + x'`; `residual=False` is
    Eq. (3). `TopKGate` and `fuse` describe the other differences.

    Args:
        channels: Channels C of the features.
        instruction_size: Length of the instruction.
        options: Settings of gate, experts and fusion.
    """

    def __init__(self, channels: int, instruction_size: int, options: ExpertOptions) -> None:
        super().__init__()
        self.fusion, self.residual = options.fusion, options.residual
        self.project = nn.Linear(instruction_size, channels)
        self.gate = TopKGate(channels, options)
        self.experts = Experts(channels, options)

    def forward(self, features: Tensor, instruction: Tensor) -> SpatiallyRouted:
        """Route (B, C, H, W) under the instruction (B, instruction_size)."""
        height, width = features.shape[-2:]
        outputs = self.experts(features)  # E_e(x)
        with without_autocast(features):
            context = self.project(widen(instruction))  # FC(I^IR)
            tokens = rearrange(features, "b c h w -> b (h w) c")
            log_weights, balance = self.gate(widen(tokens), context)  # Eq. (2)
            log_weights = rearrange(log_weights, "b (h w) m -> b h w m", h=height, w=width)
            fused = fuse(  # Eq. (3)
                [widen(one) for one in outputs], log_weights.movedim(-1, 1), self.fusion
            ).to(features.dtype)
        return SpatiallyRouted(
            features=features + fused if self.residual else fused,
            gates=log_weights.exp(),
            balance=balance,
        )


class ChannelRouting(nn.Module):
    """Channel routing module (CRM): the instruction masks channels.

    Mode "mask" is Eq. (4), `X' = X * m` with `m = sigmoid(FC(I^IR))`. The mask stays in float32
    under autocast.

    Deviation: mode "affine" is the released `X' = X + m * (scale * X + shift)`. Scale and shift
    are learned per channel and start at zero, so that a new module is the identity.

    Args:
        channels: Channels C of the features.
        instruction_size: Length of the instruction.
        mode: "affine" or "mask".
    """

    def __init__(self, channels: int, instruction_size: int, mode: ChannelMode) -> None:
        super().__init__()
        one_of("channel_mode", mode, ("affine", "mask"))
        self.mode = mode
        self.project = nn.Linear(instruction_size, channels)
        if mode == "affine":
            self.scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
            self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, features: Tensor, instruction: Tensor) -> Tensor:
        """Route (B, C, H, W) under the instruction (B, instruction_size)."""
        with without_autocast(features):
            m = self.project(widen(instruction)).sigmoid()[..., None, None]  # (B, C, 1, 1)
            if self.mode == "mask":  # Eq. (4)
                return (features * m).to(features.dtype)
            # X + m (scale X + shift), with one multiply-add per pixel.
            return torch.addcmul(m * self.shift, 1 + m * self.scale, features).to(features.dtype)
