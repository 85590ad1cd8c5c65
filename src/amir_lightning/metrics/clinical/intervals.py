"""95 % bootstrap intervals over patients, which are the units of every measure."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from amir_lightning.metrics.clinical.observer import Scores, area

Interval = tuple[float, float] | None


def of_mean(values: Sequence[float], resamples: int, seed: int = 0) -> Interval:
    """Interval of the mean over patients; None without resamples or with fewer than two."""
    if not resamples or len(values) < 2:
        return None
    drawn = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    return _middle(np.asarray(values)[drawn].mean(axis=1))


def of_area(
    absent: Scores, present: Scores, absent_of: Scores, present_of: Scores, resamples: int
) -> Interval:
    """Interval of the area under a receiver curve, whose cases belong to patients.

    Args:
        absent: Scores without the lesion.
        present: Scores with it.
        absent_of: Patient of each score without the lesion.
        present_of: Patient of each score with it.
        resamples: Number of resamples; 0 gives None.
    """

    def drawn(weight: Callable[[Scores], NDArray[np.integer]]) -> float:
        first, second = np.repeat(absent, weight(absent_of)), np.repeat(present, weight(present_of))
        return area(first, second) if len(first) and len(second) else np.nan

    return _resampled(np.unique(np.concatenate([absent_of, present_of])), drawn, resamples)


def of_area_gain(
    before: tuple[Scores, Scores], after: tuple[Scores, Scores], groups: Scores, resamples: int
) -> Interval:
    """Interval of the difference of two areas of the same places.

    Args:
        before: Scores without and with the lesion in the input, (N,) each.
        after: The same places in the restored image.
        groups: Patient of each place, (N,).
        resamples: Number of resamples; 0 gives None.
    """

    def drawn(weight: Callable[[Scores], NDArray[np.integer]]) -> float:
        own = weight(groups)
        old, new = ([np.repeat(one, own) for one in scores] for scores in (before, after))
        return area(new[0], new[1]) - area(old[0], old[1])

    return _resampled(np.unique(groups), drawn, resamples)


def _resampled(
    names: Scores,
    value: Callable[[Callable[[Scores], NDArray[np.integer]]], float],
    resamples: int,
) -> Interval:
    if not resamples or len(names) < 2:
        return None
    rng = np.random.default_rng(0)
    found = []
    for _ in range(resamples):
        times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        found.append(value(lambda groups, times=times: times[np.searchsorted(names, groups)]))
    return _middle(np.array(found))


def _middle(values: Scores) -> Interval:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
