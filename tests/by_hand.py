"""What tests of networks count and compute without the package."""

import numpy as np
from scipy import signal
from torch import nn


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
