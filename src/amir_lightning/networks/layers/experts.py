"""Bank of experts and their fusion, Sec. 2.2, Eq. (3)."""

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.layers.channel_padding import filled, fills
from amir_lightning.networks.layers.expert_options import ExpertOptions, Fusion
from amir_lightning.networks.layers.onednn import conv_gelu


class Experts(nn.Module):
    """Expert bank E_1 to E_M of Eq. (3): perceptrons `C -> int(ratio C) -> C` with GELU.

    Every expert is evaluated on every pixel. Shapes are then static, pixels need no sorting by
    expert, and an expert that no pixel chose needs no special case.

    Args:
        channels: Channels C of the features.
        options: Uses `num_experts` and `expert_ratio`.

    Raises:
        InputError: The ratio leaves no hidden unit.
    """

    def __init__(self, channels: int, options: ExpertOptions) -> None:
        super().__init__()
        num_experts, expert_ratio = options.num_experts, options.expert_ratio
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
        """Evaluate all experts E_e(x) on (B, C, H, W); returns M tensors of that shape."""
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
    """Draw a parameter as nn.Linear initialises it."""
    return nn.Parameter(torch.empty(shape).uniform_(-(fan_in**-0.5), fan_in**-0.5))


def fuse(outputs: Sequence[Tensor], log_weights: Tensor, fusion: Fusion) -> Tensor:
    """Combine the experts of each pixel.

    "sum" is Eq. (3), `x' = sum_e G_e E_e(x)`.

    Deviation: "logsumexp" is the released `x' = log sum_e G_e exp(E_e(x))`. The release
    exponentiates raw activations and replaces a zero under the logarithm by 2.2e-16. Here the
    largest `E_e(x) + log G_e` is subtracted before the exponentials and added after the logarithm.
    The value is the same, nothing overflows or underflows, and no floor is needed.

    Args:
        outputs: Expert outputs E_e(x), M of (B, C, H, W).
        log_weights: Logarithms of the gates G_e, -inf where not chosen, (B, M, H, W).
        fusion: "logsumexp" or "sum".

    Returns:
        Fused features, (B, C, H, W).
    """
    pairs = list(zip(log_weights.split(1, dim=1), outputs, strict=True))
    if fusion == "sum":  # Eq. (3)
        return reduce(torch.add, [log_gate.exp() * output for log_gate, output in pairs])
    # Three times as fast as torch.logsumexp over a stack, which does not vectorise this axis.
    terms = [output + log_gate for log_gate, output in pairs]
    largest = reduce(torch.maximum, [term.detach() for term in terms])
    return largest + reduce(torch.add, [(term - largest).exp() for term in terms]).log()
