"""Sharpness across a border: edge profile, its 10-90 % width and the modulation transfer."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from amir_lightning.metrics.clinical import Image

BINS_PER_PIXEL = 4
_PLATEAU = 0.3  # outer share of each side of a profile, whose mean is the level of that side


class Edge(NamedTuple):
    """Profile across a border.

    Attributes:
        position: Distance to the border, negative inside [mm].
        value: Mean of the image at that distance [units].
    """

    position: Image
    value: Image

    @property
    def levels(self) -> tuple[float, float]:
        """Level of the inner and of the outer side [units]."""
        count = max(1, round(_PLATEAU * len(self.value) / 2))
        return float(self.value[:count].mean()), float(self.value[-count:].mean())

    @property
    def step(self) -> float:
        """Height of the step, the outer level minus the inner one [units]."""
        inner, outer = self.levels
        return outer - inner


def edge_profile(image: Image, distance: Image, reach_mm: float, pixel_mm: float) -> Edge | None:
    """Average an image over all pixels of equal distance to a border.

    Args:
        image: Slices, any shape.
        distance: Signed distance of each pixel to the border, of the same shape; infinite for
            pixels that are left out [mm].
        reach_mm: Largest distance on both sides [mm].
        pixel_mm: Size of a pixel; bins are a quarter of it [mm].

    Returns:
        The profile; None if no pixel lies in a stretch of a pixel. Bins without a pixel are
        interpolated.
    """
    half = max(1, round(reach_mm / pixel_mm * BINS_PER_PIXEL))
    near = np.abs(distance) <= reach_mm  # the middle of a lesion has just that distance
    number = np.floor(distance[near] / pixel_mm * BINS_PER_PIXEL).astype(int) + half
    inside = (number >= 0) & (number < 2 * half)
    number, values = number[inside], image[near][inside].astype(np.float64)
    counts = np.bincount(number, minlength=2 * half)
    full = np.flatnonzero(counts)
    gaps = np.diff(np.concatenate([[-1], full, [2 * half]]))
    if not len(full) or gaps.max() > BINS_PER_PIXEL:
        return None
    mean = np.bincount(number, values, 2 * half)[full] / counts[full]
    # Pixels crowd unevenly in a bin of a curved border, so their own mean distance counts.
    at = np.bincount(number, distance[near][inside], 2 * half)[full] / counts[full]
    even = (np.arange(2 * half) + 0.5 - half) * pixel_mm / BINS_PER_PIXEL
    return Edge(even, np.interp(even, at, mean))


def edge_width(edge: Edge) -> float:
    """Distance over which a border rises from 10 to 90 % of its step [mm]; NaN without a step.

    It begins at the last crossing of 10 % near the border.
    """
    inner, _ = edge.levels
    if not edge.step:
        return math.nan
    share = (edge.value - inner) / edge.step
    below, above = np.flatnonzero(share < 0.1), np.flatnonzero(share > 0.9)
    middle = len(share) // 2
    start = int(_last(below, middle + len(share) // 4))
    after = above[above > start] if start >= 0 else above[:0]
    if start < 0 or not len(after):
        return math.nan
    low = _crossing(edge.position, share, start, 0.1)
    high = _crossing(edge.position, share, int(after[0]) - 1, 0.9)
    return high - low


def modulation(edge: Edge) -> tuple[Image, Image]:
    """Modulation transfer of an edge: magnitude of the Fourier transform of its derivative.

    The derivative is tapered to zero in the outer half of each side; a window that falls from the
    border on would make edges seem sharper.

    Returns:
        Frequencies up to that of a pixel [1/mm], and transfer, 1 at frequency 0.
    """
    step = float(edge.position[1] - edge.position[0])
    line = np.diff(edge.value) * signal.windows.tukey(len(edge.value) - 1, 0.5)
    length = 16 * len(line)
    frequency = np.fft.rfftfreq(length, step)
    transfer = np.abs(np.fft.rfft(line, length))
    # Averaging in bins and differences of bins damp high frequencies by a known factor.
    transfer = transfer / np.sinc(frequency * step) ** 2
    kept = frequency <= 1 / (BINS_PER_PIXEL * step)
    total = transfer[0]
    return frequency[kept], transfer[kept] / total if total > 0 else transfer[kept] * math.nan


def half_frequency(edge: Edge) -> float:
    """Lowest frequency at which the transfer falls to 50 % [1/mm]; NaN if it never does."""
    frequency, transfer = modulation(edge)
    below = np.flatnonzero(transfer < 0.5)
    if not len(below) or below[0] == 0:
        return math.nan
    return _crossing(frequency, transfer, int(below[0]) - 1, 0.5)


def is_step(edge: Edge, most: float) -> bool:
    """Whether a profile is one step between two plateaus.

    Args:
        edge: Profile of the truth, or of the high-quality image.
        most: Largest standard deviation of a plateau, as a share of the step.
    """
    count = max(2, round(_PLATEAU * len(edge.value)))
    sides = edge.value[:count], edge.value[-count:]
    return bool(edge.step) and max(float(one.std()) for one in sides) <= most * abs(edge.step)


def _last(indices: NDArray[np.integer], most: int) -> int:
    inside = indices[indices <= most]
    return int(inside[-1]) if len(inside) else -1


def _crossing(position: Image, value: Image, index: int, level: float) -> float:
    """Where a line between two neighbouring values meets a level."""
    first, second = float(value[index]), float(value[index + 1])
    part = (level - first) / (second - first) if second != first else 0.0
    return float(position[index] + part * (position[index + 1] - position[index]))
