"""A bank of experts, evaluated densely, and their fusion, Sec. 2.2, Eq. (3)."""

from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.layers.channel_padding import filled, fills
from amir_lightning.networks.layers.onednn import conv_gelu
from amir_lightning.networks.validate import at_least

Fusion = Literal["logsumexp", "sum"]


class Experts(nn.Module):
    """M perceptrons `C -> int(ratio C) -> C` with GELU; their weights are stacked.

    All experts see all pixels: products of static shape instead of sorting the pixels by expert,
    and an expert that nobody chose is no special case.

    Args:
        channels: Channels C of a token.
        num_experts: Experts M.
        expert_ratio: Hidden units per channel, rounded down.
    """

    def __init__(self, channels: int, num_experts: int, expert_ratio: float) -> None:
        super().__init__()
        at_least(0, expert_ratio=expert_ratio)
        hidden = int(channels * expert_ratio)
        if hidden < 1:
            raise InputError(
                f"expert_ratio is {expert_ratio}, which leaves no hidden unit for {channels} "
                f"channels; type expert_ratio={1 / channels:.3f} or more"
            )
        self.hidden_weight = _uniform(channels, num_experts, hidden, channels)
        self.hidden_bias = _uniform(channels, num_experts, hidden)
        self.output_weight = _uniform(hidden, num_experts, channels, hidden)
        self.output_bias = _uniform(hidden, num_experts, channels)

    def forward(self, features: Tensor) -> list[Tensor]:
        """Evaluate all experts on (B, C, H, W), giving M of (B, C, H, W)."""
        weights: list[Tensor] = [self.hidden_weight, self.hidden_bias, self.output_weight]
        if fills(features):
            weights = [filled(one, dim) for one, dim in zip(weights, (1, 1, 2), strict=True)]
        hidden_weight, hidden_bias, output_weight = weights
        parts = zip(
            hidden_weight[..., None, None],
            hidden_bias,
            output_weight[..., None, None],
            self.output_bias,
            strict=True,
        )
        return [
            F.conv2d(conv_gelu(features, weight, bias), projection, output_bias)
            for weight, bias, projection, output_bias in parts
        ]


def _uniform(fan_in: int, *shape: int) -> nn.Parameter:
    """Initialise as nn.Linear does."""
    return nn.Parameter(torch.empty(shape).uniform_(-(fan_in**-0.5), fan_in**-0.5))


def fuse(outputs: Sequence[Tensor], log_weights: Tensor, fusion: Fusion) -> Tensor:
    """Combine the experts of each pixel.

    "sum" is Eq. (3), `sum_e g_e E_e`; "logsumexp" is the released `log sum_e g_e exp(E_e)`.

    Deviation: the release takes exponentials of raw activations and replaces a zero under the
    logarithm by 2.2e-16. Here the largest `E_e + log g_e` is taken off before the exponentials and
    put back after the logarithm, which is the same value without overflow; it does not underflow
    either, so that the floor is dropped.

    Args:
        outputs: Expert outputs E_e, M of (B, C, H, W).
        log_weights: Logarithms of the gates g_e, -inf where not chosen, (B, M, H, W).
        fusion: "logsumexp" or "sum".

    Returns:
        Fused features, (B, C, H, W).
    """
    logarithms = log_weights.split(1, dim=1)
    if fusion == "sum":
        return reduce(
            torch.add, [w.exp() * one for w, one in zip(logarithms, outputs, strict=True)]
        )
    # Thrice as fast as torch.logsumexp over a stack, which does not vectorise this axis.
    terms = [one + w for w, one in zip(logarithms, outputs, strict=True)]
    largest = reduce(torch.maximum, [term.detach() for term in terms])
    return largest + reduce(torch.add, [(term - largest).exp() for term in terms]).log()
