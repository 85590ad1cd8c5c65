"""Intervals that hold for all comparisons of a claim at once."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amir_lightning.claims.comparisons import ByTask, Comparison

Values = NDArray[np.float64]

_CONFIDENCE = 0.95
_FEWEST = 4  # of three patients, one resample in nine has a single one and no standard error


class Interval(NamedTuple):
    """Advantage of a comparison, with the bounds of its corrected interval."""

    value: float
    low: float
    high: float
    patients: int


def simultaneous(found: Sequence[Comparison], resamples: int, seed: int = 0) -> list[Interval]:
    """Compute the intervals of the comparisons of one claim.

    All hold together with a probability of 95 %. Patients are resampled for all comparisons at
    once; where the units are no patients, the level is divided by the number of comparisons
    (Bonferroni).

    Args:
        found: The comparisons; none is missing.
        resamples: Bootstrap resamples of the patients.
        seed: Seed of the resamples.
    """
    if all(one.measured is not None for one in found):
        z = NormalDist().inv_cdf(1 - (1 - _CONFIDENCE) / (2 * len(found)))
        pairs = [one.measured for one in found if one.measured is not None]
        return [Interval(value, value - z * error, value + z * error, 0) for value, error in pairs]
    return _max_t([one.advantages for one in found], resamples, seed)


def _max_t(found: Sequence[ByTask], resamples: int, seed: int) -> list[Interval]:
    """Bootstrap the largest studentised deviation of any comparison.

    For each resample of the patients, t is the deviation of a comparison's mean from the mean that
    was found, over its standard error in that resample. The 95 % quantile of the largest |t| of all
    comparisons gives every interval its width. Comparisons that share patients share the resample,
    which keeps their correlation.

    Args:
        found: Advantage of each patient by task, of each of C comparisons.
        resamples: Number of resamples R.
        seed: Seed of the resamples.
    """
    rng = np.random.default_rng(seed)
    shape = len(found), resamples
    means, variances = np.zeros(len(found)), np.zeros(len(found))
    drawn_means, drawn_variances = np.zeros(shape), np.zeros(shape)
    counts = np.zeros(len(found), dtype=int)
    for task in dict.fromkeys(task for one in found for task in one):
        own = [at for at, one in enumerate(found) if task in one]
        shared = set.intersection(*(set(found[at][task]) for at in own))
        table = np.array([[found[at][task][name] for at in own] for name in sorted(shared)])
        share = np.array([1 / len(found[at]) for at in own])  # an average is over several tasks
        size = len(table)
        counts[own] += size
        means[own] += share * (table.mean(axis=0) if size else 0)
        if size < _FEWEST:
            variances[own] = math.inf
            continue
        variances[own] += share**2 * table.var(axis=0, ddof=1) / size
        drawn = table[rng.integers(size, size=(resamples, size))]  # (R, patients, comparisons)
        drawn_means[own] += (share * drawn.mean(axis=1)).T
        drawn_variances[own] += (share**2 * drawn.var(axis=1, ddof=1) / size).T
    if not np.isfinite(variances).all():  # too few patients
        return [
            Interval(value, -math.inf, math.inf, int(count))
            for value, count in zip(means, counts, strict=True)
        ]
    deviation = np.abs(drawn_means - means[:, None])
    deviation[deviation <= 1e-12 * np.abs(means)[:, None]] = 0  # rounding of equal advantages
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.nan_to_num(deviation / np.sqrt(drawn_variances), nan=0.0, posinf=math.inf)
    quantile = np.quantile(t.max(axis=0), _CONFIDENCE, method="inverted_cdf")
    half = np.full(len(found), math.inf)
    if math.isfinite(quantile):
        half = quantile * np.sqrt(variances)
    return [
        Interval(float(value), float(value - width), float(value + width), int(count))
        for value, width, count in zip(means, half, counts, strict=True)
    ]
