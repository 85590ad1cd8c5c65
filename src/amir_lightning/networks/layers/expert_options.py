"""Settings of the experts of a spatial routing module, Eqs. (2) and (3)."""

from dataclasses import dataclass
from typing import Literal, get_args

from amir_lightning.errors import InputError
from amir_lightning.networks.validate import at_least, one_of, whole

GateMap = Literal["noisy", "plain"]
GateOrder = Literal["topk_softmax", "softmax_topk"]
Fusion = Literal["logsumexp", "sum"]


@dataclass(frozen=True)
class ExpertOptions:
    """How many experts there are, how a pixel chooses among them, and how they are combined.

    Attributes:
        num_experts: Experts M.
        top_k: Experts K that each pixel uses.
        expert_ratio: Hidden units of an expert per channel, rounded down.
        gate_map: "noisy" adds learned noise and has no bias (released code); "plain" is the fully
            connected layer of Eq. (2).
        gate_order: "topk_softmax" gives gates that sum to 1 (released code); "softmax_topk" is
            Eq. (2), whose gates sum to less.
        fusion: "logsumexp" (released code), or the weighted "sum" of Eq. (3).
        residual: Add the features to the fused experts (released code); False is Eq. (3).

    Raises:
        InputError: A value is out of range or not among its choices.
    """

    num_experts: int
    top_k: int
    expert_ratio: float
    gate_map: GateMap
    gate_order: GateOrder
    fusion: Fusion
    residual: bool

    def __post_init__(self) -> None:
        whole(1, num_experts=self.num_experts, top_k=self.top_k)
        if self.top_k > self.num_experts:
            raise InputError(
                f"top_k is {self.top_k} with num_experts={self.num_experts}; "
                f"type top_k= with a number from 1 to {self.num_experts}"
            )
        at_least(0, expert_ratio=self.expert_ratio)
        one_of("gate_map", self.gate_map, get_args(GateMap))
        one_of("gate_order", self.gate_order, get_args(GateOrder))
        one_of("fusion", self.fusion, get_args(Fusion))
        one_of("spatial_residual", self.residual, (True, False))
