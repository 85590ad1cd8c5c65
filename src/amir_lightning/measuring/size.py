"""Parameters and multiply-adds, counted without computing anything."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from amir_lightning.networks import RestorationNetwork


class Size(NamedTuple):
    """What a network weighs.

    Attributes:
        parameters: Trainable parameters.
        gmacs: Multiply-adds of convolutions and matrix products of one forward pass, in 10^9.
    """

    parameters: int
    gmacs: float


def network_size(
    build: Callable[[], RestorationNetwork], height: int = 128, width: int = 128
) -> Size:
    """Count a network on one slice in evaluation.

    Normalisations, activations, interpolations and element-wise products are not counted.

    Args:
        build: Makes the network; its tensors get shapes and no memory.
        height: Rows of the slice.
        width: Columns of the slice.
    """
    with FakeTensorMode(), torch.no_grad():
        network = build().eval()
        channels = next(p.shape[1] for p in network.parameters() if p.ndim == 4)
        with FlopCounterMode(display=False) as counter:
            network(torch.rand(1, channels, height, width))
        parameters = sum(one.numel() for one in network.parameters() if one.requires_grad)
    return Size(parameters, counter.get_total_flops() / 2e9)
