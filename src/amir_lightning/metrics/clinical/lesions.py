"""Contrast and recovery of a region, and the rule by which a lesion counts as visible."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from amir_lightning.errors import InputError
from amir_lightning.metrics.clinical import Image, Mask, Spacing
from amir_lightning.metrics.clinical.places import disc

PEAK_MM = 12.4
"""Diameter of a sphere of 1 cm³, over which SUVpeak averages [mm]."""

_FEWEST = 4  # pixels of a ring, of which a standard deviation can be taken


class Contrast(NamedTuple):
    """Mean of a region, and mean and standard deviation of the ring around it [units of the image].

    Attributes:
        inside: Mean of the region.
        around: Mean of the ring.
        noise: Standard deviation of the ring.
    """

    inside: float
    around: float
    noise: float

    @property
    def difference(self) -> float:
        """Contrast: mean of the region minus mean of the ring."""
        return self.inside - self.around

    @property
    def to_noise(self) -> float:
        """Contrast in standard deviations of the ring; infinite in a ring without noise."""
        if self.noise > 0:
            return self.difference / self.noise
        return float(np.copysign(np.inf, self.difference)) if self.difference else 0.0


def contrast(image: Image, mask: Mask, around: Mask) -> Contrast:
    """Measure a region against the ring around it.

    Args:
        image: Slices, (S, H, W).
        mask: Pixels of the region, (S, H, W).
        around: Pixels of its ring, (S, H, W).

    Raises:
        InputError: The shapes differ, or region or ring have too few pixels.
    """
    if not image.shape == mask.shape == around.shape:
        raise InputError(
            f"the image is {image.shape} pixels, its mask {mask.shape} and the ring "
            f"{around.shape}; expected the same grid: resample the mask onto the image"
        )
    if not mask.any():
        raise InputError(
            "the mask of a lesion has no pixel, expected at least one; leave lesions that are "
            "smaller than a pixel out"
        )
    if np.count_nonzero(around) < _FEWEST:
        raise InputError(
            f"the ring around a lesion has {np.count_nonzero(around)} pixels, expected at least "
            f"{_FEWEST}; type a larger measures.lesions.ring_mm"
        )
    outside = image[around].astype(np.float64)
    inside = float(image[mask].mean(dtype=np.float64))
    return Contrast(inside, float(outside.mean()), float(outside.std(ddof=1)))


def recovery(measured: Contrast, true: Contrast) -> float:
    """Contrast recovery: measured contrast over true contrast; NaN where the truth has none."""
    return measured.difference / true.difference if true.difference else float("nan")


def is_found(seen: Contrast, threshold: float, sign: float = 0.0) -> bool:
    """The rule of detection: the contrast is at least so many standard deviations of the ring.

    Args:
        seen: Contrast of the place.
        threshold: Least contrast-to-noise ratio.
        sign: Sign that the contrast has to have; 0 for any.
    """
    value = abs(seen.to_noise) if sign == 0 else seen.to_noise * np.sign(sign)
    return bool(value >= threshold)


def suv_peak(image: Image, mask: Mask, spacing_mm: Spacing) -> float:
    """Largest mean of a disc of 12.4 mm whose centre lies in the region, SUVpeak in one slice.

    Args:
        image: Slices, (S, H, W) [SUV].
        mask: Pixels of the region, (S, H, W).
        spacing_mm: Distance between rows and columns [mm].
    """
    weights = disc(PEAK_MM / 2, spacing_mm)
    own = np.flatnonzero(mask.any(axis=(1, 2)))
    means = (
        ndimage.convolve(image[one].astype(np.float64), weights / weights.sum(), mode="nearest")
        for one in own
    )
    return max(float(mean[mask[one]].max()) for one, mean in zip(own, means, strict=True))
