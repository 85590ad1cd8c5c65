"""Courses of bowel and vessels: smooth curves, and trees that fork."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from amir_lightning.phantoms.fields import Triple


class Segment(NamedTuple):
    """A straight piece of a vessel: ends (z, y, x) and their radii [mm]."""

    start: Triple
    end: Triple
    radii: tuple[float, float]


def smooth_path(nodes: ArrayLike, pieces: int = 4) -> np.ndarray:
    """Catmull-Rom curve through the rows of `nodes`, with `pieces` steps between each two."""
    p = np.asarray(nodes, float)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = (np.arange(pieces) / pieces)[:, None]
    curve = [
        b
        + t / 2 * (c - a)
        + t**2 * (a - 2.5 * b + 2 * c - d / 2)
        + t**3 / 2 * (3 * (b - c) + d - a)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return np.concatenate([*curve, p[-2:-1]])


def vessel_tree(
    rng: np.random.Generator,
    root: ArrayLike,
    direction: ArrayLike,
    radius: float,
    length: float,
    levels: int,
) -> Iterator[Segment]:
    """A vessel that tapers, bends and forks at random; Murray's law, r^3 = a^3 + b^3, at the forks.

    Args:
        rng: Source of randomness.
        root: Start (z, y, x) [mm].
        direction: Where it heads; any length.
        radius: Radius at the root [mm].
        length: Length of the first branch [mm].
        levels: Generations of branches.
    """
    start = np.asarray(root, float)
    heading = np.asarray(direction, float) / np.linalg.norm(direction)
    for _ in range(2):  # two pieces a branch, so that branches bend
        heading = heading + rng.normal(0, 0.16, 3)
        heading /= np.linalg.norm(heading)
        end = start + heading * length / 2
        yield Segment(tuple(start), tuple(end), (radius, 0.97 * radius))
        start, radius = end, 0.97 * radius
    if levels > 1:
        side = np.cross(heading, rng.normal(0, 1, 3))
        side /= np.linalg.norm(side)
        share = rng.uniform(0.3, 0.7)
        for part, sign in ((share, 1), (1 - share, -1)):
            branch = heading + sign * side * rng.uniform(0.45, 0.95)
            yield from vessel_tree(
                rng, start, branch, radius * part ** (1 / 3), length * 0.82, levels - 1
            )
