"""Settings of experts, and what tests of networks count and compute without the package."""

from typing import Any

import numpy as np
from scipy import signal
from torch import nn

from amir_lightning.networks.layers.expert_options import ExpertOptions


def released(**changes: Any) -> ExpertOptions:
    """Settings of the released experts, or some of them changed."""
    values = {
        "num_experts": 4,
        "top_k": 2,
        "expert_ratio": 2.66,
        "gate_map": "noisy",
        "gate_order": "topk_softmax",
        "fusion": "logsumexp",
        "residual": True,
    }
    return ExpertOptions(**{**values, **changes})


def literal(**changes: Any) -> ExpertOptions:
    """Settings of Eqs. (2) and (3) as printed, or some of them changed."""
    printed = {
        "gate_map": "plain",
        "gate_order": "softmax_topk",
        "fusion": "sum",
        "residual": False,
    }
    return released(**{**printed, **changes})


def parameters(network: nn.Module) -> int:
    """Number of weights, trained or not."""
    return sum(parameter.numel() for parameter in network.parameters())


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """All convolutions, in their order."""
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def convolve(maps: np.ndarray, conv: nn.Conv2d) -> np.ndarray:
    """Correlate (I, H, W) or (B, I, H, W) with every kernel, zeros outside, map by map."""
    if maps.ndim == 4:
        return np.stack([convolve(one, conv) for one in maps])
    kernels = conv.weight.detach().numpy()
    bias = np.zeros(len(kernels)) if conv.bias is None else conv.bias.detach().numpy()
    sums = [
        sum(signal.correlate2d(image, k, mode="same") for image, k in zip(maps, own, strict=True))
        for own in kernels
    ]
    return np.stack(sums) + bias[:, None, None]
