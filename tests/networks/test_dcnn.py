"""DCNN against NumPy, and its first weights; counts, shapes and arguments: test_plain_cnns."""

import numpy as np
import pytest
import torch
from by_hand import convolutions, convolve
from torch import nn

from amir_lightning.networks import DCNN


@pytest.mark.parametrize("batch_norm", [True, False])
def test_against_numpy(batch_norm: bool) -> None:
    """In training: convolution, statistics of the batch in layers 2 to 7, ReLU; then the input."""
    torch.manual_seed(0)
    network = DCNN(width=3, batch_norm=batch_norm).double()
    for name, parameter in network.named_parameters():
        if not name.endswith("weight") or parameter.ndim == 1:  # else all biases are zero
            nn.init.normal_(parameter, mean=0.5)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == (6 if batch_norm else 0)
    lq = torch.randn(4, 1, 11, 16, dtype=torch.float64)
    features = lq.numpy()
    for layer, conv in enumerate(convolutions(network)[:-1]):
        features = convolve(features, conv)
        if batch_norm and layer:
            norm = norms[layer - 1]
            features = features - features.mean((0, 2, 3), keepdims=True)
            features = features / np.sqrt(features.var((0, 2, 3), keepdims=True) + 1e-5)
            scale, shift = norm.weight.detach().numpy(), norm.bias.detach().numpy()
            features = features * scale[:, None, None] + shift[:, None, None]
        features = np.maximum(features, 0)
    expected = lq.numpy() + convolve(features, convolutions(network)[-1])
    np.testing.assert_allclose(network(lq).detach().numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_convolutions_start_from_he_and_norms_from_one(batch_norm: bool) -> None:
    torch.manual_seed(0)
    network = DCNN(depth=4, batch_norm=batch_norm)
    for conv in convolutions(network):
        deviation = (2 / (9 * conv.in_channels)) ** 0.5
        assert float(conv.weight.detach().std()) == pytest.approx(deviation, rel=0.1)
        assert conv.bias is None or not conv.bias.any()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(bool((norm.weight == 1).all()) and not norm.bias.any() for norm in norms)
