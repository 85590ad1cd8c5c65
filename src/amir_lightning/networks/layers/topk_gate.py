"""Choice of K of M experts for each token, Sec. 2.2, Eq. (2), and its balance loss.

The gate is that of N. Shazeer et al., "Outrageously Large Neural Networks: The Sparsely-Gated
Mixture-of-Experts Layer", ICLR 2017, with the routing instruction as a second input.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from amir_lightning.networks.layers.expert_options import ExpertOptions

_NOISE_FLOOR = 0.01  # smallest standard deviation of the gate noise, as released


class Gating(NamedTuple):
    """Expert weights of each token.

    Attributes:
        log_weights: Logarithm of the gates G, -inf for experts that are not chosen, (B, T, M).
        balance: Balance loss, scalar.
    """

    log_weights: Tensor
    balance: Tensor


class TopKGate(nn.Module):
    """Routing function G(x, I^IR) of Eq. (2): sparse expert weights of each token.

    `gate_map="plain"` with `gate_order="softmax_topk"` is the equation as printed.

    Deviation: by default the gate is the released one. Its map has no bias and adds learned
    Gaussian noise in training, and it keeps the K largest logits before the softmax, so that the
    gates sum to one.

    Attributes:
        over_processes: Sum importance and load of a training step over the patches of all
            processes. If False, each process balances its own patches, which is a different loss:
            the coefficient of variation does not average over ranks.
        noise: Standard normal noise of training passes, (B, T, M), see `draw_noise`. If None,
            each pass draws from torch's global generator.

    Args:
        channels: Channels C of a token.
        options: Uses `num_experts`, `top_k`, `gate_map` and `gate_order`.
    """

    def __init__(self, channels: int, options: ExpertOptions) -> None:
        super().__init__()
        self.over_processes = True
        self.noise: Tensor | None = None
        self._noises: dict[object, Tensor] = {}
        self.num_experts, self.top_k = options.num_experts, options.top_k
        self.gate_order = options.gate_order
        shape = (2 * channels, options.num_experts)
        if options.gate_map == "noisy":
            self.weight = nn.Parameter(torch.randn(shape))
            self.noise_weight = nn.Parameter(torch.zeros(shape))
            self.register_parameter("bias", None)
        else:
            bound = (2 * channels) ** -0.5  # the initialisation of nn.Linear
            self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
            self.bias = nn.Parameter(torch.empty(options.num_experts).uniform_(-bound, bound))
            self.register_parameter("noise_weight", None)

    def draw_noise(
        self, generators: Sequence[torch.Generator], tokens: int, dtype: torch.dtype
    ) -> None:
        """Draw per-image noise, which training passes use until the next draw.

        Noise of the same shape is written to the same memory, because a recorded CUDA graph reads
        it there.

        Args:
            generators: One per image, on the device of the logits.
            tokens: Pixels per image.
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
        """Compute Eq. (2), `G(x, I^IR) = Top-K(Softmax(FC([x, FC(I^IR)])))`, in logarithms.

        Args:
            tokens: Features x of each pixel, (B, T, C).
            context: Projected instruction FC(I^IR) of each image, (B, C).
        """
        clean = _linear(tokens, context, self.weight)  # FC([x, FC(I^IR)])
        if self.bias is not None:
            clean = clean + self.bias
        logits, deviation = clean, None
        if self.noise_weight is not None and self.training:
            deviation = F.softplus(_linear(tokens, context, self.noise_weight)) + _NOISE_FLOOR
            noise = torch.randn_like(clean) if self.noise is None else self.noise
            logits = clean + deviation * noise

        # Chosen by index, so that tied logits still give K experts.
        best = logits.topk(self.top_k, dim=-1).indices
        chosen = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, best, True)

        def top_k(scores: Tensor) -> Tensor:
            return scores.masked_fill(~chosen, -torch.inf)

        if self.gate_order == "softmax_topk":  # Eq. (2); softmax keeps the order of the logits
            log_weights = top_k(logits.log_softmax(dim=-1))
        else:  # Deviation: as released
            log_weights = top_k(logits).log_softmax(dim=-1)
        return Gating(log_weights, self._balance(log_weights, chosen, clean, logits, deviation))

    def _balance(
        self,
        log_weights: Tensor,
        chosen: Tensor,
        clean: Tensor,
        logits: Tensor,
        deviation: Tensor | None,
    ) -> Tensor:
        """Balance loss of Shazeer et al.: CV^2 of the importance plus CV^2 of the load.

        The importance of an expert is the sum of its gates. Its load is the number of its tokens:
        a smooth estimate where the gate is noisy, the plain count for the noisy gate in evaluation.
        The plain gate has no load term.
        """
        used = [log_weights.exp().sum(dim=(0, 1))]
        if deviation is not None and self.top_k < self.num_experts:
            used.append(expected_load(clean, logits, deviation, self.top_k).sum(dim=(0, 1)))
        elif self.noise_weight is not None:
            used.append(chosen.sum(dim=(0, 1)).to(used[0].dtype))
        amounts = torch.stack(used)
        if self.training and self.over_processes:
            amounts = sum_over_processes(amounts)
        return torch.stack([squared_variation(one) for one in amounts]).sum()


class _Sum(torch.autograd.Function):
    """All-reduce by sum, of the values forward and of their gradients backward."""

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
    """Sum a tensor over all processes, with gradients; a single process gets its own back.

    Gradients are summed over the processes, too. DDP's mean over the processes is then the
    gradient of one loss over all patches.
    """
    several = distributed.is_available() and distributed.is_initialized()
    return _Sum.apply(amounts) if several and distributed.get_world_size() > 1 else amounts


def _linear(tokens: Tensor, context: Tensor, weight: Tensor) -> Tensor:
    """Compute `[x, p] W`, (B, T, M), without a copy of the context p for every token x."""
    channels = tokens.shape[-1]
    return tokens @ weight[:channels] + (context @ weight[channels:]).unsqueeze(1)


def expected_load(clean: Tensor, logits: Tensor, deviation: Tensor, top_k: int) -> Tensor:
    """Probability that an expert is among the K of its token if its noise is drawn again.

    It is `Phi((c_e - t_e) / sigma_e)`, where the threshold t_e is the K-th largest noisy logit of
    the other experts. Its sum over the tokens is a differentiable estimate of the expert's load.

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

    It is zero for equal amounts, and for a single one.
    """
    if amounts.numel() < 2:
        return torch.zeros_like(amounts).sum()
    return amounts.var() / (amounts.mean().square() + 1e-10)
