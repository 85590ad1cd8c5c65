"""Choice of the experts of each token, Sec. 2.2, Eq. (2), and the balance of that choice.

The gate is that of N. Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated
Mixture-of-Experts Layer", ICLR 2017, with the routing instruction as second input.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.validate import one_of, whole

GateMap = Literal["noisy", "plain"]
GateOrder = Literal["topk_softmax", "softmax_topk"]

_NOISE_FLOOR = 0.01  # smallest standard deviation of the gate noise, as released


class Gating(NamedTuple):
    """Expert weights of each token.

    Attributes:
        log_weights: Logarithm of the gates, -inf for experts that are not chosen, (B, T, M).
        balance: Balance loss, scalar.
    """

    log_weights: Tensor
    balance: Tensor


class TopKGate(nn.Module):
    """Weigh K of M experts for each token x under the instruction p.

    Eq. (2): `gates = TopK(softmax(FC([x, p])))`; p is the instruction, projected to C channels.

    Deviation: as released, the map has no bias and adds learned Gaussian noise while training, and
    the K largest logits are chosen before the softmax, so that the gates sum to one. `gate_map` and
    `gate_order` choose between this and the literal equation.

    The balance loss is the squared variation, over the experts, of their importance (sum of their
    gates) plus that of their load (smooth count of their tokens). The plain gate has no smooth
    count, so that its balance loss is the importance alone; in evaluation the noisy gate takes the
    plain count.

    Attributes:
        over_processes: Whether importance and load of a training step are summed over the patches
            of all processes; otherwise each process balances its own patches, which is another
            loss, as variation is no mean.
        noise: Standard normal noise of training passes, (B, T, M), see `draw_noise`. None draws
            from torch's process-wide generator in each pass.

    Args:
        channels: Channels C of a token.
        num_experts: Experts M.
        top_k: Experts K that each token uses.
        gate_map: "noisy": learned noise and no bias, "plain": a fully connected layer.
        gate_order: "topk_softmax": gates sum to 1, "softmax_topk": to less than 1.
    """

    def __init__(
        self,
        channels: int,
        num_experts: int,
        top_k: int,
        gate_map: GateMap,
        gate_order: GateOrder,
    ) -> None:
        super().__init__()
        whole(1, num_experts=num_experts, top_k=top_k)
        if top_k > num_experts:
            raise InputError(
                f"top_k is {top_k} with num_experts={num_experts}; "
                f"type top_k= with a number from 1 to {num_experts}"
            )
        one_of("gate_map", gate_map, get_args(GateMap))
        self.over_processes = True
        self.noise: Tensor | None = None
        self._noises: dict[object, Tensor] = {}
        one_of("gate_order", gate_order, get_args(GateOrder))
        self.num_experts, self.top_k, self.gate_order = num_experts, top_k, gate_order
        if gate_map == "noisy":
            self.weight = nn.Parameter(torch.randn(2 * channels, num_experts))
            self.noise_weight = nn.Parameter(torch.zeros(2 * channels, num_experts))
            self.register_parameter("bias", None)
        else:
            bound = (2 * channels) ** -0.5  # the initialisation of nn.Linear
            self.weight = nn.Parameter(
                torch.empty(2 * channels, num_experts).uniform_(-bound, bound)
            )
            self.bias = nn.Parameter(torch.empty(num_experts).uniform_(-bound, bound))
            self.register_parameter("noise_weight", None)

    def draw_noise(
        self, generators: Sequence[torch.Generator], tokens: int, dtype: torch.dtype
    ) -> None:
        """Draw the noise of training passes until the next draw, of each image its own.

        Noise of one shape keeps its place in memory, from where a recorded pass reads it.

        Args:
            generators: One of each image, on the device of the logits.
            tokens: Pixels of an image.
            dtype: Type of the logits.
        """
        if self.noise_weight is None:
            return
        shape = (len(generators), tokens, self.num_experts)
        kind = (shape, dtype, generators[0].device)
        if kind not in self._noises:
            self._noises[kind] = torch.empty(shape, dtype=dtype, device=kind[-1])
        self.noise = self._noises[kind]
        for image, generator in zip(self.noise, generators, strict=True):
            image.normal_(generator=generator)

    def forward(self, tokens: Tensor, context: Tensor) -> Gating:
        """Choose and weigh experts.

        Evaluation has no noise.

        Args:
            tokens: Features of each pixel, (B, T, C).
            context: Projected instruction of each image, (B, C).
        """
        clean = _joint_map(tokens, context, self.weight)
        if self.bias is not None:
            clean = clean + self.bias
        logits, deviation = clean, None
        if self.noise_weight is not None and self.training:
            deviation = F.softplus(_joint_map(tokens, context, self.noise_weight)) + _NOISE_FLOOR
            noise = torch.randn_like(clean) if self.noise is None else self.noise
            logits = clean + deviation * noise

        # A choice by index stays K experts when logits tie.
        chosen = torch.zeros_like(logits, dtype=torch.bool)
        chosen = chosen.scatter(-1, logits.topk(self.top_k, dim=-1).indices, True)
        if self.gate_order == "topk_softmax":
            log_weights = logits.masked_fill(~chosen, -torch.inf).log_softmax(dim=-1)
        else:
            log_weights = logits.log_softmax(dim=-1).masked_fill(~chosen, -torch.inf)

        used = [log_weights.exp().sum(dim=(0, 1))]
        if deviation is not None and self.top_k < clean.shape[-1]:
            used.append(expected_load(clean, logits, deviation, self.top_k).sum(dim=(0, 1)))
        elif self.noise_weight is not None:
            used.append(chosen.sum(dim=(0, 1)).to(used[0].dtype))
        amounts = torch.stack(used)
        if self.training and self.over_processes:
            amounts = sum_over_processes(amounts)
        return Gating(log_weights, torch.stack([squared_variation(one) for one in amounts]).sum())


class _Sum(torch.autograd.Function):
    """Sum over the processes of values, and of their gradients."""

    @staticmethod
    def forward(_ctx: object, amounts: Tensor) -> Tensor:
        total = amounts.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: object, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total


def sum_over_processes(amounts: Tensor) -> Tensor:
    """Sum of what all processes hold, with gradients; a process alone gets back its own.

    The gradient that reaches a process's amounts is summed, too, so that the mean that DDP takes
    over the processes is the gradient of one loss over all patches.
    """
    several = distributed.is_available() and distributed.is_initialized()
    return _Sum.apply(amounts) if several and distributed.get_world_size() > 1 else amounts


def _joint_map(tokens: Tensor, context: Tensor, weight: Tensor) -> Tensor:
    """Return `[x; p] W` without copying p to every token, (B, T, M)."""
    channels = tokens.shape[-1]
    return tokens @ weight[:channels] + (context @ weight[channels:]).unsqueeze(1)


def expected_load(clean: Tensor, logits: Tensor, deviation: Tensor, top_k: int) -> Tensor:
    """Probability that new noise would leave an expert among the K of its token.

    This is the smooth stand-in for the count of tokens of an expert: `Phi((c_e - t_e) / sigma_e)`,
    where t_e is the K-th largest of the other experts' noisy logits.

    Args:
        clean: Logits c without noise, (..., M), M > K.
        logits: Logits with noise, (..., M).
        deviation: Standard deviations sigma of the noise, (..., M).
        top_k: Chosen experts K.
    """
    largest = logits.topk(top_k + 1, dim=-1).values
    first_out, last_in = largest[..., top_k:], largest[..., top_k - 1 : top_k]
    threshold = torch.where(logits > first_out, first_out, last_in)
    return torch.special.ndtr((clean - threshold) / deviation)


def squared_variation(amounts: Tensor) -> Tensor:
    """Squared coefficient of variation, `var / (mean^2 + 1e-10)` with unbiased variance.

    Zero for equal amounts, and for a single one.
    """
    if amounts.numel() < 2:
        return torch.zeros_like(amounts).sum()
    return amounts.var() / (amounts.mean().square() + 1e-10)
