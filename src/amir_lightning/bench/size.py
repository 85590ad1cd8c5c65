"""Count parameters and multiply-adds without computing anything."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from amir_lightning.networks import RestorationNetwork


class Size(NamedTuple):
    """Size of a network.

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
        build: Builds the network; its tensors have shapes but no memory.
        channels: Image channels.
        height: Rows of the slice.
        width: Columns of the slice.
    """
    with FakeTensorMode(), torch.no_grad():
        network = build().eval()
        # The counter knows fused attention only on GPUs, but all plain products.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            network(torch.rand(1, channels, height, width))
        parameters = sum(one.numel() for one in network.parameters() if one.requires_grad)
    return Size(parameters, counter.get_total_flops() / 2e9)
