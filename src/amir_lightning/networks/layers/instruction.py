"""Routing instruction network (RIN), Sec. 2.2, Eq. (1)."""

from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.precision import widen, without_autocast
from amir_lightning.networks.validate import one_of, whole

MixtureHead = Literal["linear", "pooled"]
InstructionActivation = Literal["gelu", "none"]
DictionaryMode = Literal["learned", "frozen", "none"]

_FEATURES = 64  # channels inside the encoder, as released
_POOLED = 32  # channels of the pooled encoder output that the released linear head receives


class Instruction(NamedTuple):
    """Instruction of each image and how it was mixed.

    Attributes:
        mixture: Weights alpha of the dictionary entries, sum 1, (B, N); None without a dictionary.
        query: Instruction before its activation, (B, instruction_size).
        vector: Routing instruction I^IR, (B, instruction_size).
    """

    mixture: Tensor | None
    query: Tensor
    vector: Tensor


class RoutingInstructionNetwork(nn.Module):
    """Mix a learned dictionary D with weights alpha that are predicted from the image I.

    Eq. (1): `I^IR = sum_i alpha_i D_i` with `alpha = softmax(GAP(E(I)))`. The encoder E has five
    convolutions, GAP is global average pooling. The network runs in float32 under autocast.

    Deviation: as released, a linear layer follows the pooling and a GELU follows the sum.
    `mixture_head="pooled"` with `activation="none"` is Eq. (1).

    Without a dictionary (Table 4, "w/o D"), a linear layer maps the pooled encoder output to the
    instruction. Deviation: the paper does not say what replaces D. This reading gives AMIR
    23,539,698 parameters, which round to 23.54 M. The table prints 23.53 M. That is what a
    dictionary frozen at its random initial values gives: 23,532,306 trained parameters.

    Args:
        in_channels: Channels of the image.
        num_instructions: Dictionary entries N.
        instruction_size: Length of one entry.
        mixture_head: "linear": alpha = softmax(linear(GAP(E))); "pooled": alpha = softmax(GAP(E)).
        activation: "gelu": GELU(alpha D); "none": alpha D.
        dictionary: "learned", "frozen" at its random initial values, or "none".

    Raises:
        InputError: A value is out of range or not among its choices.
    """

    def __init__(
        self,
        in_channels: int,
        num_instructions: int,
        instruction_size: int,
        mixture_head: MixtureHead,
        activation: InstructionActivation,
        dictionary: DictionaryMode = "learned",
    ) -> None:
        super().__init__()
        whole(1, num_instructions=num_instructions, instruction_size=instruction_size)
        one_of("mixture_head", mixture_head, get_args(MixtureHead))
        one_of("instruction_activation", activation, get_args(InstructionActivation))
        one_of("dictionary", dictionary, get_args(DictionaryMode))
        if dictionary == "none" and mixture_head == "pooled":
            raise InputError(
                "mixture_head=pooled mixes a dictionary and there is none; type mixture_head=linear"
            )
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
        if dictionary == "none":
            self.head: nn.Module = nn.Linear(pooled, instruction_size)
            self.register_buffer("dictionary", None)
            return
        self.head = (
            nn.Linear(pooled, num_instructions) if mixture_head == "linear" else nn.Identity()
        )
        entries = torch.randn(num_instructions, instruction_size)
        if dictionary == "frozen":
            self.register_buffer("dictionary", entries)
        else:
            self.dictionary = nn.Parameter(entries)

    def forward(self, lq: Tensor) -> Instruction:
        """Predict the instruction of (B, C, H, W), H and W at least 9."""
        with without_autocast(lq):
            pooled = self.encoder(widen(lq)).mean(dim=(-2, -1))  # GAP(E(I))
            if self.dictionary is None:
                mixture, query = None, self.head(pooled)
            else:  # Eq. (1), where the head is the identity
                mixture = self.head(pooled).softmax(dim=-1)
                query = mixture @ self.dictionary
            vector = F.gelu(query) if self.activation == "gelu" else query
            return Instruction(mixture, query, vector)
