"""VDSR against SciPy, and its first weights; counts, shapes and arguments: test_plain_cnns."""

import numpy as np
import pytest
import torch
from by_hand import convolutions, convolve
from torch import nn

from amir_lightning.networks import VDSR


def test_against_scipy() -> None:
    """ReLU between the convolutions, none after the last, and the input on top."""
    torch.manual_seed(0)
    network = VDSR(width=3, depth=4).double()
    for conv in convolutions(network):
        nn.init.normal_(conv.bias)
    lq = torch.randn(1, 1, 11, 16, dtype=torch.float64)
    features = lq[0].numpy()
    for conv in convolutions(network)[:-1]:
        features = np.maximum(convolve(features, conv), 0)
    expected = lq[0].numpy() + convolve(features, convolutions(network)[-1])
    np.testing.assert_allclose(network(lq)[0].detach().numpy(), expected, atol=1e-12)


def test_every_layer_starts_from_the_fan_in_of_he() -> None:
    """The first and the last layer tell the fan-in from the fan-out; the others cannot."""
    torch.manual_seed(0)
    for conv in convolutions(VDSR(depth=3)):
        deviation = (2 / (9 * conv.in_channels)) ** 0.5
        assert float(conv.weight.detach().std()) == pytest.approx(deviation, rel=0.1)
        assert not conv.bias.any()
