"""A stage of the auto-context CNN against SciPy; the chain of stages is in test_plain_cnns."""

import numpy as np
import torch
from by_hand import convolve
from torch import nn

from amir_lightning.networks import AutoContextCNN


def test_a_stage_against_scipy() -> None:
    """Four convolutions of two channels, estimate and image, with ReLU between them only."""
    torch.manual_seed(0)
    stage = AutoContextCNN(width=3).double().stages[1]
    convs = [module for module in stage.modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 4
    pair = torch.randn(1, 2, 11, 16, dtype=torch.float64)
    features = pair[0].numpy()
    for conv in convs[:-1]:
        features = np.maximum(convolve(features, conv), 0)
    expected = convolve(features, convs[-1])
    np.testing.assert_allclose(stage(pair)[0].detach().numpy(), expected, atol=1e-12)
