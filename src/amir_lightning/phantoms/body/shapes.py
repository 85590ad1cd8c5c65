"""Profiles and cross-sections of the body along z, and their intersections."""

from collections.abc import Sequence

import numpy as np

from amir_lightning.phantoms.fields import Array, Floats, smooth_max


def profile(z: Array | float, knots: Sequence[float], values: Sequence[float]) -> Array:
    """Smooth curve through a table along z [mm], constant beyond its ends."""
    fine = np.arange(knots[0] - 20, knots[-1] + 21)
    kernel = np.hanning(35)
    curve = np.convolve(np.pad(np.interp(fine, knots, values), 17, "edge"), kernel, "valid")
    return np.asarray(np.interp(z, fine, curve / kernel.sum()), np.float32)


def ramp(values: Array, knots: Sequence[float], levels: Sequence[float]) -> Array:
    """Piecewise linear function of an array, constant beyond its table."""
    return np.interp(values, knots, levels).astype(np.float32)


def section(
    y: Array, x: Array, depth: Array | float, width: Array | float, exponent: float = 2.4
) -> Array:
    """Signed radial distance to a superellipse in each transaxial plane [mm].

    Args:
        y: Coordinate from the centre of the section [mm].
        x: Coordinate from the centre of the section [mm].
        depth: Half axis along y [mm].
        width: Half axis along x [mm].
        exponent: 2 is an ellipse, more is boxier.
    """
    p = np.float32(exponent)
    level = (np.abs(y / depth) ** p + np.abs(x / width) ** p) ** (1 / p)
    level = np.maximum(level, np.float32(0.05))
    return (1 - 1 / level) * np.maximum(np.sqrt(y * y + x * x), np.float32(1))


def both(*distances: Floats, fillet_mm: float = 0.0) -> Array:
    """Intersection of shapes, with rounded edges on request."""
    result, *others = (np.asarray(distance, np.float32) for distance in distances)
    for distance in others:
        if fillet_mm:
            result = smooth_max(result, distance, fillet_mm)
        else:
            result = np.maximum(result, distance)
    return result
