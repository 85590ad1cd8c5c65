"""A model observer: channelised Hotelling with Laguerre-Gauss channels, and its area."""

import math

import numpy as np
from numpy.typing import NDArray

from amir_lightning.errors import InputError
from amir_lightning.metrics.clinical import Image, Spacing

Scores = NDArray[np.float64]


def laguerre_gauss(side: int, width_mm: float, spacing_mm: Spacing, count: int) -> Image:
    """Laguerre-Gauss channels of a square, (count, side, side), each of unit length.

    Args:
        side: Odd side of the square [pixels].
        width_mm: Width of the Gaussian, which falls to exp(-pi) at this radius [mm].
        spacing_mm: Distance between rows and columns [mm].
        count: Number of channels.
    """
    from scipy import special  # slow import, and intervals of other measures need this module

    at = np.arange(side) - side // 2
    radius = np.hypot((at * spacing_mm[0])[:, None], at * spacing_mm[1]) / width_mm
    square = 2 * np.pi * radius**2
    channels = np.array([special.eval_laguerre(j, square) for j in range(count)])
    channels *= np.exp(-square / 2)
    return channels / np.sqrt((channels**2).sum(axis=(1, 2), keepdims=True))


def channel_outputs(squares: Image, channels: Image) -> Image:
    """What the observer sees of squares, (N, C).

    Args:
        squares: Squares, (N, side, side).
        channels: Channels, (C, side, side).
    """
    return (
        squares.reshape(len(squares), -1).astype(np.float64) @ channels.reshape(len(channels), -1).T
    )


def folds_of(groups: NDArray[np.integer], folds: int, channels: int) -> NDArray[np.int64]:
    """Part of each place, so that the places of a patient share a part.

    Args:
        groups: Patient of each place, (N,).
        folds: Number of parts, or that of the patients if they are fewer.
        channels: Number of channels, which need more places to train on.

    Raises:
        InputError: There are too few places or patients to train on.
    """
    names = np.unique(groups)
    parts = min(folds, len(names))
    fold = np.searchsorted(names, groups) % max(parts, 1)
    least = len(groups) - max(np.bincount(fold), default=0)
    if parts < 2 or least <= channels:
        raise InputError(
            f"the model observer has {len(groups)} places in {len(names)} of the patients, "
            f"expected at least 2 patients and more than {channels} places to train on; type more "
            "measures.inserts.per_slice or fewer measures.observer.channels"
        )
    return fold


def hotelling_scores(
    absent: Image, present: Image, fold: NDArray[np.integer]
) -> tuple[Scores, Scores]:
    """Scores of each place by an observer that was trained on the places of the other folds.

    The template is the inverse of the mean covariance of the channel outputs times the difference
    of their means. Scores of a fold are divided by the observer's standard deviation, so that
    folds share one scale.

    Args:
        absent: Channel outputs without the lesion, (N, C).
        present: The same places with the lesion, (N, C).
        fold: Part of each place, (N,).

    Returns:
        Scores without and with the lesion, (N,) each.
    """
    seen = absent, present
    channels = absent.shape[1]
    scores = np.empty(len(fold)), np.empty(len(fold))
    for one in np.unique(fold):
        own, others = fold == one, fold != one
        means = [outputs[others].mean(axis=0) for outputs in seen]
        covariance = sum(np.cov(outputs[others], rowvar=False) for outputs in seen) / 2
        covariance = np.atleast_2d(covariance)
        # A channel without noise, as in an image of zeros, would make the matrix singular.
        covariance += np.eye(channels) * (1e-9 * np.trace(covariance) / channels + 1e-30)
        template = np.linalg.solve(covariance, means[1] - means[0])
        scale = math.sqrt(template @ covariance @ template) or 1.0
        for result, outputs in zip(scores, seen, strict=True):
            result[own] = (outputs[own] - (means[0] + means[1]) / 2) @ template / scale
    return scores


def area(absent: Scores, present: Scores) -> float:
    """Area under the receiver curve: chance that a score with the lesion is the higher one."""
    from scipy import stats

    ranks = stats.rankdata(np.concatenate([absent, present]))
    below = ranks[len(absent) :].sum() - len(present) * (len(present) + 1) / 2
    return float(below / (len(absent) * len(present)))


def receiver_curve(absent: Scores, present: Scores) -> tuple[Scores, Scores]:
    """Shares of findings without and with a lesion at every threshold, from the strictest on."""
    levels = np.concatenate([[np.inf], np.unique(np.concatenate([absent, present]))[::-1]])
    false, true = ((one[:, None] >= levels).mean(axis=0) for one in (absent, present))
    return false, true
