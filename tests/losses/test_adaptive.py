import math

import numpy as np
import pytest
import torch
from torch import Tensor

from amir_lightning.losses import ErrorBalance


def image(seed: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(seed).rand(4, 1, 32, 32).astype(np.float32))


def test_at_the_start_every_image_weighs_the_same() -> None:
    balance = ErrorBalance()
    assert sum(parameter.numel() for parameter in balance.parameters()) == 8_577
    restored, lq, hq = (image(seed) for seed in (1, 2, 3))
    expected = (restored - hq).abs().mean() / 2 + math.log(2) / 2
    torch.testing.assert_close(balance(restored, lq, hq), expected)


def test_loss_and_gradient_are_those_of_the_release() -> None:
    """Estimator and images are drawn from fixed seeds; the two numbers are the release's.

    Processors round float32 differently: two kinds differ by 3e-6 of the loss.
    """
    balance = ErrorBalance()
    names = ["entry.weight", "entry.bias", "expand.weight", "expand.bias"]
    names += ["project.weight", "project.bias", "norm.weight", "norm.bias"]
    names += ["exit.weight", "exit.bias"]
    state = balance.state_dict()
    for k, name in enumerate(names):
        shape = tuple(state[name].shape)
        values = np.random.RandomState(4000 + k).standard_normal(shape).astype(np.float32)
        values = values * (np.prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.1)
        state[name] = torch.from_numpy(values.astype(np.float32)) + (name == "norm.weight")
    balance.load_state_dict(state)
    lq, hq, other = (image(seed) for seed in (41, 42, 43))
    restored = (0.7 * hq + 0.3 * other).requires_grad_()
    loss = balance(restored, lq, hq)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(14.47962, rel=1e-5)
    assert float(restored.grad.abs().sum()) == pytest.approx(144.472, rel=1e-5)


def test_an_easy_image_comes_to_count_more() -> None:
    """For an error l the best w^2 is (l + sqrt(l^2 + 4 l)) / 2."""
    torch.manual_seed(0)
    balance = ErrorBalance()
    optimizer = torch.optim.Adam(balance.parameters(), lr=1e-2)
    hq = torch.zeros(2, 1, 8, 8)
    restored = torch.stack([torch.full((1, 8, 8), 0.01), torch.full((1, 8, 8), 0.2)])
    lq = restored * 2
    for _ in range(400):
        optimizer.zero_grad()
        balance(restored, lq, hq).backward()
        optimizer.step()
    errors = torch.tensor([0.01, 0.2])
    square = balance.estimate(torch.stack([2 * errors, errors, errors], dim=1)).square()
    expected = (errors + (errors.square() + 4 * errors).sqrt()) / 2
    torch.testing.assert_close(square, expected, rtol=0.1, atol=0)
