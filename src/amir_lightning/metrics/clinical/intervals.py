"""95 % bootstrap intervals over patients, which are the units of every measure."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from amir_lightning.metrics.clinical.observer import Scores, area

Interval = tuple[float, float] | None

FEWEST = 4
"""Patients that an interval needs.

Of three patients, one resample in 27 draws the same one three times. That is more than 2.5 %, so
that the interval would end at single patients. That of an observer, which is trained on other
patients than it scores, would have no width at all with two.
"""


def of_mean(values: Sequence[float], resamples: int, seed: int = 0) -> Interval:
    """Interval of the mean over patients; None without resamples or with too few patients."""
    if not resamples or len(values) < FEWEST:
        return None
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    return middle(np.asarray(values)[drawn].mean(axis=1))


def of_area(
    absent: Scores, present: Scores, absent_of: Scores, present_of: Scores, resamples: int
) -> Interval:
    """Interval of the area under a receiver curve, whose cases belong to patients.

    Args:
        absent: Scores without the lesion.
        present: Scores with it.
        absent_of: Patient of each score without the lesion.
        present_of: Patient of each score with it.
        resamples: Number of resamples; 0 gives None, as do too few patients.
    """
    names = np.unique(np.concatenate([absent_of, present_of]))
    if not resamples or len(names) < FEWEST:
        return None
    first, second = (np.searchsorted(names, groups) for groups in (absent_of, present_of))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        drawn = np.repeat(absent, times[first]), np.repeat(present, times[second])
        found.append(area(*drawn) if len(drawn[0]) and len(drawn[1]) else np.nan)
    return middle(np.array(found))


def of_places(
    groups: NDArray[np.integer],
    values: Callable[[NDArray[np.integer]], Sequence[float]],
    resamples: int,
) -> list[Interval]:
    """Intervals of numbers that are computed from places, drawing patients with all their places.

    Args:
        groups: Patient of each place, (N,).
        values: Computes the numbers from the places with some indices; NaN where it cannot.
        resamples: Number of resamples; 0 gives None for every number, as do too few patients.
    """
    own = [np.flatnonzero(groups == name) for name in np.unique(groups)]
    if not resamples or len(own) < FEWEST:
        return [None] * len(values(np.arange(len(groups))))
    rng = np.random.default_rng(0)
    found = []
    for _ in range(resamples):
        drawn = rng.integers(len(own), size=len(own))
        found.append(values(np.concatenate([own[at] for at in drawn])))
    return [middle(column) for column in np.array(found).T]


def middle(values: Scores) -> Interval:
    """Middle 95 % of the finite values of resamples."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
