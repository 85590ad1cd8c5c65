"""A bank of experts, evaluated densely, and their fusion, Sec. 2.2, Eq. (3)."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.arguments import at_least

Fusion = Literal["logsumexp", "sum"]


class Experts(nn.Module):
    """M perceptrons `C -> int(ratio C) -> C` with GELU; their weights are stacked.

    All experts see all tokens: two batched products of static shape instead of sorting the tokens
    by expert, and an expert that nobody chose is no special case.

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

    def forward(self, tokens: Tensor) -> Tensor:
        """Evaluate all experts on (T, C), giving (M, T, C)."""
        tokens = tokens.expand(self.hidden_weight.shape[0], -1, -1)
        hidden = torch.baddbmm(self.hidden_bias[:, None], tokens, self.hidden_weight.mT)
        return torch.baddbmm(self.output_bias[:, None], F.gelu(hidden), self.output_weight.mT)


def _uniform(fan_in: int, *shape: int) -> nn.Parameter:
    """Initialise as nn.Linear does."""
    return nn.Parameter(torch.empty(shape).uniform_(-(fan_in**-0.5), fan_in**-0.5))


def fuse(outputs: Tensor, log_weights: Tensor, fusion: Fusion) -> Tensor:
    """Combine the experts of each token.

    "sum" is Eq. (3), `sum_e g_e E_e`; "logsumexp" is the released `log sum_e g_e exp(E_e)`.

    Deviation: the release takes exponentials of raw activations and replaces a zero under the
    logarithm by 2.2e-16. Here `logsumexp(E_e + log g_e)` has the same value without overflow; it
    does not underflow either, so that the floor is dropped.

    Args:
        outputs: Expert outputs E_e, (M, T, C).
        log_weights: Logarithms of the gates g_e, -inf where not chosen, (T, M).
        fusion: "logsumexp" or "sum".

    Returns:
        Fused tokens, (T, C).
    """
    log_weights = log_weights.T.unsqueeze(-1)
    if fusion == "sum":
        return (log_weights.exp() * outputs).sum(dim=0)
    return torch.logsumexp(outputs + log_weights, dim=0)
