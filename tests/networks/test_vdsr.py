"""VDSR against SciPy, and its first weights; counts, shapes and arguments: test_plain_cnns."""

import numpy as np
import pytest
import torch
from scipy import signal
from torch import nn

from amir_lightning.networks import VDSR


def convs(network: VDSR) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def convolve(maps: np.ndarray, conv: nn.Conv2d) -> np.ndarray:
    """Correlate (I, H, W) with every kernel, zeros outside, map by map."""
    assert conv.bias is not None
    out = []
    for kernels, bias in zip(conv.weight.detach().numpy(), conv.bias.detach().numpy(), strict=True):
        pairs = zip(maps, kernels, strict=True)
        out.append(bias + sum(signal.correlate2d(image, k, mode="same") for image, k in pairs))
    return np.stack(out)


def test_against_scipy() -> None:
    """ReLU between the convolutions, none after the last, and the input on top."""
    torch.manual_seed(0)
    network = VDSR(width=3, depth=4).double()
    for conv in convs(network):
        nn.init.normal_(conv.bias)
    lq = torch.randn(1, 1, 11, 16, dtype=torch.float64)
    features = lq[0].numpy()
    for conv in convs(network)[:-1]:
        features = np.maximum(convolve(features, conv), 0)
    expected = lq[0].numpy() + convolve(features, convs(network)[-1])
    np.testing.assert_allclose(network(lq)[0].detach().numpy(), expected, atol=1e-12)


def test_every_layer_starts_from_the_fan_in_of_he() -> None:
    """The first and the last layer tell the fan-in from the fan-out; the others cannot."""
    torch.manual_seed(0)
    for conv in convs(VDSR(depth=3)):
        deviation = (2 / (9 * conv.in_channels)) ** 0.5
        assert float(conv.weight.detach().std()) == pytest.approx(deviation, rel=0.1)
        assert not conv.bias.any()
