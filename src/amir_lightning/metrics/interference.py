"""Interference between tasks, Fig. 1 (b), and conflict of their gradients.

The interference metric is that of J. Zhu et al., "Uni-Perceiver-MoE: Learning Sparse Generalist
Models with Conditional MoEs", NeurIPS 2022, to first order in the step size. A step along the
normalised gradient of task j lowers the loss of task i by some amount; the metric is this amount
relative to that of a step along the gradient of task i itself.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Matrix = NDArray[np.float64]


class Mean(NamedTuple):
    """Mean over all pairs of two different tasks.

    Attributes:
        value: The mean.
        low: Lower bound of the 95 % interval of a bootstrap over the mini-batches.
        high: Upper bound.
        error: Standard deviation of the bootstrap.
    """

    value: float
    low: float
    high: float
    error: float


class Interference(NamedTuple):
    """Interference of the acting task (column j) on the affected task (row i), two definitions.

    Positive where task j helps task i, negative where it hurts; 1 on the diagonal. The bounds are
    the 95 % percentile interval of a bootstrap over the mini-batches.

    Attributes:
        mean_of_ratios: Original definition, the mean of the ratios of all mini-batches of task i,
            (T, T). It is unstable where a mini-batch gains little by a step of its own task.
        ratio_of_means: Ratio of the mean effects, (T, T), which is robust to such mini-batches.
        mean_of_ratios_bounds: Lower and upper bound, (2, T, T).
        ratio_of_means_bounds: Lower and upper bound, (2, T, T).
        mean_of_ratios_others: Mean over all pairs of two tasks.
        ratio_of_means_others: Mean over all pairs of two tasks.
    """

    mean_of_ratios: Matrix
    ratio_of_means: Matrix
    mean_of_ratios_bounds: NDArray[np.float64]
    ratio_of_means_bounds: NDArray[np.float64]
    mean_of_ratios_others: Mean
    ratio_of_means_others: Mean


def interference(gradients: Tensor, bootstrap: int = 0, seed: int = 0) -> Interference:
    """Compute the interference metric of every pair of tasks.

    With the gradient g_t^n of mini-batch n of task t, the effect of task j on mini-batch n of task
    i is `D_ji(n) = mean over m != n of <g_j^m / |g_j^m|, g_i^n>`. The metric is the mean over n of
    `D_ji(n) / D_ii(n)`, or the ratio of the two means.

    Args:
        gradients: Gradients of T tasks with S >= 2 mini-batches each with respect to P weights,
            (T, S, P).
        bootstrap: Number of resamples of the mini-batches; with 0 the bounds are NaN.
        seed: Seed of the resamples.
    """
    tasks, samples, _ = gradients.shape
    inner = _inner_products(gradients)
    every = np.ones((1, tasks, samples))
    ratios, means = (values[0] for values in _metrics(inner, every))
    if not bootstrap:
        unknown = np.full((2, tasks, tasks), np.nan)
        others = [_others(one, unknown) for one in (ratios, means)]
        return Interference(ratios, means, unknown, unknown, *others)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(samples, np.full(samples, 1 / samples), size=(bootstrap, tasks))
    drawn = _metrics(inner, counts)
    bounds = [np.nanpercentile(one, (2.5, 97.5), axis=0) for one in drawn]
    others = [_others(one, own) for one, own in zip((ratios, means), drawn, strict=True)]
    return Interference(ratios, means, bounds[0], bounds[1], *others)


def _others(values: Matrix, drawn: Matrix) -> Mean:
    """Mean over the pairs of two tasks, of the values (T, T) and of R resamples (R, T, T)."""
    apart = ~np.eye(len(values), dtype=bool)
    means = drawn[:, apart].mean(axis=1)
    means = means[np.isfinite(means)]
    if len(means) < 2:
        return Mean(float(values[apart].mean()), np.nan, np.nan, np.nan)
    low, high = np.percentile(means, (2.5, 97.5))
    return Mean(float(values[apart].mean()), float(low), float(high), float(means.std(ddof=1)))


def gradient_conflict(gradients: Tensor) -> Matrix:
    """Cosine between the mean gradients of every pair of tasks, (T, T).

    Args:
        gradients: Gradients of T tasks with S mini-batches each with respect to P weights,
            (T, S, P).
    """
    mean = gradients.mean(dim=1, dtype=torch.float64).numpy()
    length = np.linalg.norm(mean, axis=-1, keepdims=True)
    unit = mean / np.where(length > 0, length, 1)
    return unit @ unit.T


def _inner_products(gradients: Tensor) -> NDArray[np.float64]:
    """Compute `<g_j^m / |g_j^m|, g_i^n>`, indexed (j, i, m, n)."""
    tasks, samples, _ = gradients.shape
    inner = np.empty((tasks, tasks, samples, samples))
    for i, affected in enumerate(gradients.double()):
        for j, acting in enumerate(gradients.double()):
            length = acting.norm(dim=-1, keepdim=True).clamp_min(1e-300)
            inner[j, i] = ((acting / length) @ affected.T).numpy()
    return inner


def _metrics(inner: NDArray[np.float64], counts: NDArray[np.number]) -> tuple[Matrix, Matrix]:
    """Compute both definitions for R resamples of the mini-batches.

    Args:
        inner: Result of `_inner_products`, (T, T, S, S).
        counts: How often a resample has each mini-batch of each task, (R, T, S).

    Returns:
        Mean of ratios and ratio of means, each (R, affected task, acting task).
    """
    tasks, samples = counts.shape[1:]
    # A mini-batch does not act on itself or on its copies in a resample.
    others = inner * (1 - np.eye(samples))
    left = counts.sum(axis=-1, keepdims=True) - counts
    weights = counts.transpose(1, 0, 2) / samples
    # Without other mini-batches, or with an effect of zero, the value is NaN.
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.stack(
            [[counts[:, j] @ others[j, i] / left[:, j] for j in range(tasks)] for i in range(tasks)]
        )  # (i, j, R, n)
        own = effect[range(tasks), range(tasks)]  # (i, R, n)
        ratios = (weights[:, None] * effect / own[:, None]).sum(axis=-1)
        means = (weights[:, None] * effect).sum(axis=-1) / (weights * own).sum(axis=-1)[:, None]
    return ratios.transpose(2, 0, 1), means.transpose(2, 0, 1)
