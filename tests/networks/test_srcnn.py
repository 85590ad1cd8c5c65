"""SRCNN against SciPy; its counts, shapes and arguments are in test_plain_cnns."""

import numpy as np
import pytest
import torch
from by_hand import convolve

from amir_lightning.networks import SRCNN


@pytest.mark.parametrize("kernel_sizes", [(9, 5, 5), (9, 3, 5)])
def test_against_scipy(kernel_sizes: tuple[int, int, int]) -> None:
    """ReLU after the first and the second convolution, and nothing after the third."""
    torch.manual_seed(0)
    network = SRCNN(kernel_sizes=kernel_sizes, widths=(4, 3)).double()
    lq = torch.randn(1, 1, 14, 19, dtype=torch.float64)
    features = np.maximum(convolve(lq[0].numpy(), network.extract), 0)
    features = np.maximum(convolve(features, network.map), 0)
    expected = convolve(features, network.reconstruct)
    np.testing.assert_allclose(network(lq)[0].detach().numpy(), expected, atol=1e-12)
