"""Interference between tasks against the definition it approximates: changes of the loss."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from amir_lightning.metrics.interference import gradient_conflict, interference

TASKS, SAMPLES = 3, 4


@pytest.fixture
def tiny() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network of two layers in double precision, and mini-batches of three tasks."""
    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    inputs = torch.randn(TASKS, SAMPLES, 8, 3, generator=rng, dtype=torch.float64)
    # Tasks share a part of their map, so that gradients of a task's mini-batches agree.
    maps = torch.randn(TASKS, 3, 2, generator=rng, dtype=torch.float64)
    targets = inputs @ maps[:, None] + 1
    return network, inputs, targets


def gradients(network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    weight = network[0].weight
    return torch.stack(
        [
            torch.stack(
                [
                    torch.autograd.grad(F.mse_loss(network(x), y), weight)[0].flatten()
                    for x, y in zip(xs, ys, strict=True)
                ]
            )
            for xs, ys in zip(inputs, targets, strict=True)
        ]
    )


def drop(network: nn.Module, acting: tuple, affected: tuple, step: float) -> float:
    """How much a step along the acting mini-batch's gradient lowers the affected one's loss."""
    (x_acting, y_acting), (x, y) = acting, affected
    weight = network[0].weight
    (gradient,) = torch.autograd.grad(F.mse_loss(network(x_acting), y_acting), weight)
    with torch.no_grad():
        kept = weight.clone()
        before = F.mse_loss(network(x), y).item()
        weight -= step * gradient / gradient.norm()
        after = F.mse_loss(network(x), y).item()
        weight.copy_(kept)
    return before - after


def test_both_definitions_are_ratios_of_loss_changes(tiny) -> None:
    network, inputs, targets = tiny
    batches = [
        [(inputs[t, n], targets[t, n]) for n in range(SAMPLES)] for t in range(TASKS)
    ]  # task, mini-batch

    def effect(j: int, i: int, n: int) -> float:
        others = [m for m in range(SAMPLES) if m != n]
        return sum(drop(network, batches[j][m], batches[i][n], 1e-6) for m in others) / len(others)

    found = interference(gradients(network, inputs, targets))
    for i in range(TASKS):
        for j in range(TASKS):
            acting = [effect(j, i, n) for n in range(SAMPLES)]
            own = [effect(i, i, n) for n in range(SAMPLES)]
            ratios = [a / o for a, o in zip(acting, own, strict=True)]
            assert found.mean_of_ratios[i, j] == pytest.approx(sum(ratios) / SAMPLES, rel=1e-3)
            assert found.ratio_of_means[i, j] == pytest.approx(sum(acting) / sum(own), rel=1e-3)
    assert not np.allclose(found.mean_of_ratios, found.mean_of_ratios.T)  # rows are affected


def test_a_task_helps_itself_by_one_and_its_opposite_hurts_as_much() -> None:
    one = torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    aside = torch.tensor([[0.0, 1.0], [0.0, 3.0], [0.0, 2.0]])
    found = interference(torch.stack([one, -5 * one, aside]))
    expected = [[1, -1, 0], [-1, 1, 0], [0, 0, 1]]
    np.testing.assert_allclose(found.mean_of_ratios, expected, atol=1e-12)
    np.testing.assert_allclose(found.ratio_of_means, expected, atol=1e-12)
    cosine = gradient_conflict(torch.stack([one, -5 * one, one + aside]))
    root = 4 / math.sqrt(4**2 + 6**2)
    np.testing.assert_allclose(cosine, [[1, -1, root], [-1, 1, -root], [root, -root, 1]], rtol=1e-6)


def test_bounds_hold_the_value_and_shrink_with_more_mini_batches() -> None:
    rng = torch.Generator().manual_seed(1)
    centre = torch.tensor([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0]])[:, None]
    noise = torch.randn(2, 400, 3, generator=rng)
    widths = []
    for count in (25, 400):
        found = interference(centre + 0.3 * noise[:, :count], bootstrap=300)
        low, high = found.ratio_of_means_bounds
        assert low[0, 1] < found.ratio_of_means[0, 1] < high[0, 1]
        assert low[0, 0] == high[0, 0] == pytest.approx(1)
        widths.append(high[0, 1] - low[0, 1])
    assert 2.5 < widths[0] / widths[1] < 6.5  # about sqrt(400 / 25)


def test_bounds_are_those_of_resampled_mini_batches() -> None:
    """A resample counts a mini-batch twice, but never lets it act on its own copy."""
    from amir_lightning.metrics.interference import _inner_products, _metrics

    g = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(2)).double() + 1
    counts = np.array([[[2, 0, 1, 1], [1, 1, 2, 0]]])
    ratios, means = _metrics(_inner_products(g), counts)
    drawn = [[0, 0, 2, 3], [0, 1, 2, 2]]

    def effect(j: int, i: int, n: int) -> float:
        terms = [g[j, m] / g[j, m].norm() @ g[i, n] for m in drawn[j] if m != n]
        return float(sum(terms) / len(terms))

    for i in range(2):
        for j in range(2):
            pairs = [(effect(j, i, n), effect(i, i, n)) for n in drawn[i]]
            assert ratios[0, i, j] == pytest.approx(sum(a / o for a, o in pairs) / 4)
            acting, own = map(sum, zip(*pairs, strict=True))
            assert means[0, i, j] == pytest.approx(acting / own)


def test_the_mean_over_pairs_has_the_error_of_its_resamples() -> None:
    rng = torch.Generator().manual_seed(3)
    centre = torch.tensor([[1.0, 0.0, 0.0], [-0.5, 1.0, 0.0], [0.0, -0.5, 1.0]])[:, None]
    noise = torch.randn(3, 100, 3, generator=rng)
    found = interference(centre + 0.3 * noise, bootstrap=500)
    apart = ~np.eye(3, dtype=bool)
    one = found.ratio_of_means_others
    assert one.value == pytest.approx(found.ratio_of_means[apart].mean())
    assert one.low < one.value < one.high
    assert one.error == pytest.approx((one.high - one.low) / (2 * 1.96), rel=0.2)
    # Errors of pairs that share mini-batches do not simply average out.
    low, high = found.ratio_of_means_bounds
    assert one.high - one.low < (high - low)[apart].mean()
    without = interference(centre + 0.3 * noise)
    assert without.ratio_of_means_others.value == one.value
    assert math.isnan(without.ratio_of_means_others.error)
