"""Parameters and multiply-adds, counted without computing anything."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
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
    build: Callable[[], RestorationNetwork], channels: int = 1, height: int = 128, width: int = 128
) -> Size:
    """Count a network on one slice in evaluation.

    Normalisations, activations, interpolations and element-wise products are not counted.

    Args:
        build: Makes the network; its tensors get shapes and no memory.
        channels: Image channels.
        height: Rows of the slice.
        width: Columns of the slice.
    """
    with FakeTensorMode(), torch.no_grad():
        network = build().eval()
        # Of fused attention the counter knows the GPU's kernels alone; plain products it knows all.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            network(torch.rand(1, channels, height, width))
        parameters = sum(one.numel() for one in network.parameters() if one.requires_grad)
    return Size(parameters, counter.get_total_flops() / 2e9)
