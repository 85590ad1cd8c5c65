"""Routing instruction network (RIN), Sec. 2.2, Eq. (1): which task is this image of?"""

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amir_lightning.networks.arguments import one_of, whole
from amir_lightning.networks.precision import widen, without_autocast

MixtureHead = Literal["linear", "pooled"]
InstructionActivation = Literal["gelu", "none"]

_FEATURES = 64  # channels inside the encoder, as released
_POOLED = 32  # channels of the pooled encoder output that the released linear head receives


class Instruction(NamedTuple):
    """What the image says about its task.

    Attributes:
        mixture: Weights alpha of the dictionary entries, sum 1, (B, N).
        vector: Routing instruction I^IR, (B, instruction_size).
    """

    mixture: Tensor
    vector: Tensor


class RoutingInstructionNetwork(nn.Module):
    """Mix a learned dictionary D with weights predicted from the image.

    Eq. (1): `instruction = sum_i alpha_i D_i` with `alpha = softmax(GAP(E(image)))`; E has five
    convolutions. Runs in float32 under autocast.

    Deviation: as released, a linear layer follows the pooling and a GELU the sum; `mixture_head`
    and `activation` choose between this and the literal equation.

    Args:
        in_channels: Channels of the image.
        num_instructions: Dictionary entries N.
        instruction_size: Length of one entry.
        mixture_head: "linear": alpha = softmax(linear(GAP(E))), "pooled": alpha = softmax(GAP(E)).
        activation: "gelu": GELU(alpha D), "none": alpha D.
    """

    def __init__(
        self,
        in_channels: int,
        num_instructions: int,
        instruction_size: int,
        mixture_head: MixtureHead,
        activation: InstructionActivation,
    ) -> None:
        super().__init__()
        whole(1, num_instructions=num_instructions, instruction_size=instruction_size)
        one_of("mixture_head", mixture_head, get_args(MixtureHead))
        one_of("instruction_activation", activation, get_args(InstructionActivation))
        self.activation = activation
        pooled = _POOLED if mixture_head == "linear" else num_instructions
        self.encoder = nn.Sequential(
            nn.Conv2d(in_channels, _FEATURES, 3, stride=3),
            nn.LeakyReLU(0.1),
            nn.Conv2d(_FEATURES, _FEATURES, 3, stride=3),
            nn.LeakyReLU(0.1),
            nn.Conv2d(_FEATURES, _FEATURES, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(_FEATURES, _FEATURES, 1),
            nn.LeakyReLU(0.1),
            nn.Conv2d(_FEATURES, pooled, 1),
        )
        self.head = (
            nn.Linear(pooled, num_instructions) if mixture_head == "linear" else nn.Identity()
        )
        self.dictionary = nn.Parameter(torch.randn(num_instructions, instruction_size))

    def forward(self, lq: Tensor) -> Instruction:
        """Derive the instruction from (B, C, H, W), H and W at least 9."""
        with without_autocast(lq):
            pooled = self.encoder(widen(lq)).mean(dim=(-2, -1))
            mixture = self.head(pooled).softmax(dim=-1)
            vector = mixture @ self.dictionary
            return Instruction(mixture, F.gelu(vector) if self.activation == "gelu" else vector)
