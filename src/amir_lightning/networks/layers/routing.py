"""Task-adaptive routing of features by an instruction, Sec. 2.2, Eqs. (2) to (4)."""

from typing import Literal, NamedTuple, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from amir_lightning.networks.layers.experts import Experts, Fusion, fuse
from amir_lightning.networks.layers.topk_gate import GateMap, GateOrder, TopKGate
from amir_lightning.networks.precision import widen, without_autocast
from amir_lightning.networks.validate import one_of

SpatialMode = Literal["mixture", "projection", "none"]
ChannelMode = Literal["affine", "mask", "none"]


class SpatiallyRouted(NamedTuple):
    """Result of a spatial routing module.

    Attributes:
        features: Routed features, (B, C, H, W).
        gates: Weight of each expert for each pixel, K of M not zero, (B, H, W, M).
        balance: Balance loss, scalar.
    """

    features: Tensor
    gates: Tensor
    balance: Tensor


class SpatialRouting(nn.Module):
    """Spatial routing module (SRM): each pixel goes through its own K of M experts.

    Eqs. (2) and (3). Gates, balance and fusion stay in float32 under autocast.

    Deviation: as released, the module has a residual connection; `residual=False` is the literal
    Eq. (3). See `topk_gate` and `experts` for the other differences.

    Args:
        channels: Channels C of the features.
        instruction_size: Length of the instruction.
        num_experts: Experts M.
        top_k: Experts K that each pixel uses.
        expert_ratio: Hidden units of an expert per channel.
        gate_map: "noisy" or "plain", see `TopKGate`.
        gate_order: "topk_softmax" or "softmax_topk", see `TopKGate`.
        fusion: "logsumexp" or "sum", see `fuse`.
        residual: Whether the features are added to the fused experts.
    """

    def __init__(
        self,
        channels: int,
        instruction_size: int,
        num_experts: int,
        top_k: int,
        expert_ratio: float,
        gate_map: GateMap,
        gate_order: GateOrder,
        fusion: Fusion,
        residual: bool,
    ) -> None:
        super().__init__()
        one_of("fusion", fusion, get_args(Fusion))
        one_of("spatial_residual", residual, (True, False))
        self.fusion, self.residual = fusion, residual
        self.project = nn.Linear(instruction_size, channels)
        self.gate = TopKGate(channels, num_experts, top_k, gate_map, gate_order)
        self.experts = Experts(channels, num_experts, expert_ratio)

    def forward(self, features: Tensor, instruction: Tensor) -> SpatiallyRouted:
        """Route (B, C, H, W) under the instruction (B, instruction_size)."""
        height, width = features.shape[-2:]
        outputs = self.experts(features)
        with without_autocast(features):
            context = self.project(widen(instruction))
            tokens = rearrange(features, "b c h w -> b (h w) c")
            log_weights, balance = self.gate(widen(tokens), context)
            log_weights = rearrange(log_weights, "b (h w) m -> b h w m", h=height, w=width)
            fused = fuse(
                [widen(one) for one in outputs], log_weights.movedim(-1, 1), self.fusion
            ).to(features.dtype)
        return SpatiallyRouted(
            features=features + fused if self.residual else fused,
            gates=log_weights.exp(),
            balance=balance,
        )


class ChannelRouting(nn.Module):
    """Channel routing module (CRM): each task uses its own channels.

    Eq. (4): `X * m` with `m = sigmoid(FC(instruction))`. The mask stays in float32 under autocast.

    Deviation: as released, "affine" gives `X + m * (scale * X + shift)` with scale and shift
    learned per channel from zero, so that a new module is the identity; "mask" is the literal
    Eq. (4).

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
            channel_mask = self.project(widen(instruction)).sigmoid()[..., None, None]
            if self.mode == "mask":
                return (channel_mask * features).to(features.dtype)
            factor = 1 + channel_mask * self.scale
            return torch.addcmul(channel_mask * self.shift, factor, features).to(features.dtype)
