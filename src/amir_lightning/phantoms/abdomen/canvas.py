"""The sheet on which the abdomen is painted: a patient's own warped frame, organs laid one by one.

Anatomy is written once, in the frame of a standard patient; `Canvas` knows how this patient differs
(size, position, smooth bending), draws only where an organ can be, and softens edges by the voxel.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from amir_lightning.phantoms.fields import (
    Array,
    Grid,
    Points,
    Triple,
    capsule,
    cut,
    ellipsoid,
    lattice_noise,
    paint,
    rotation,
    soft_step,
    warp,
)

Window = tuple[slice, slice, slice]
_FAR = np.float32(1e3)
_REACH = 5.0  # beyond a tube, for the fat around it [mm]
_MARGIN = 11.0  # reach of the warp, four standard deviations, and of an edge [mm]


class Shape(NamedTuple):
    """A signed distance [mm] on a part of the volume."""

    window: Window
    distance: Array


class Segment(NamedTuple):
    """A straight piece of a vessel: ends (z, y, x) and their radii [mm]."""

    start: Triple
    end: Triple
    radii: tuple[float, float]


@dataclass
class Canvas:
    """An image in HU with the frame of one patient.

    Attributes:
        grid: Voxels of the volume.
        rng: Source of the patient's randomness.
        scale: Size of the patient relative to the standard one along (z, y, x).
        shift: Position of the standard frame's origin in the field of view (z, y, x) [mm].
    """

    grid: Grid
    rng: np.random.Generator
    scale: Triple
    shift: Triple
    image: Array = field(init=False)
    points: Points = field(init=False)
    edge: Array = field(init=False)
    fine: Array = field(init=False)
    inside: Array = field(init=False)

    def __post_init__(self) -> None:
        bent = warp(self.rng, self.grid, 2.4, 50.0)
        z, y, x = (
            (p - np.float32(t)) / np.float32(s)
            for p, t, s in zip(bent, self.shift, self.scale, strict=True)
        )
        self.points = z, y, x
        self.edge = lattice_noise(self.rng, self.grid, 13.0, octaves=2)
        self.fine = lattice_noise(self.rng, self.grid, 3.2)
        self.image = np.full(self.grid.shape, -1000, np.float32)
        self.inside = np.full(self.grid.shape, -_FAR, np.float32)

    @property
    def softness(self) -> float:
        """Half width of an edge [mm]: the scanner's own blur, or half a voxel if more."""
        return max(0.6, 0.55 * self.grid.spacing_mm[1])

    def window(self, low: ArrayLike, high: ArrayLike) -> Window:
        """Voxels that may lie between two corners (z, y, x) of the standard frame [mm]."""
        scale, shift = np.asarray(self.scale), np.asarray(self.shift)
        a = np.asarray(low, float) * scale + shift - _MARGIN
        b = np.asarray(high, float) * scale + shift + _MARGIN
        return self.grid.window((a[0], a[1], a[2]), (b[0], b[1], b[2]))

    def at(self, window: Window) -> Points:
        """Points of the standard frame in a window."""
        return cut(self.points, window)

    def blob(
        self,
        centre: Triple,
        radii: Triple,
        turn: Triple = (0, 0, 0),
        rough: float = 0.0,
        exponent: float = 2.0,
    ) -> Shape:
        """Superellipsoid, turned about (z, y, x) [degrees], its surface uneven by `rough` [mm]."""
        matrix = rotation(*turn) if any(turn) else None
        reach = np.full(3, max(radii)) if any(turn) else np.asarray(radii)
        window = self.window(np.asarray(centre) - reach, np.asarray(centre) + reach)
        distance = ellipsoid(self.at(window), centre, radii, matrix, exponent)
        return Shape(window, distance + np.float32(rough) * self.edge[window])

    def tube(self, nodes: ArrayLike, radii: ArrayLike, rough: float = 0.0) -> Shape:
        """Thick polyline: as `capsule`, but each piece is measured only where it is near."""
        line = np.asarray(nodes, float)
        width = np.broadcast_to(np.asarray(radii, float), len(line))
        pad = width.max() + _REACH
        whole = self.window(line.min(0) - pad, line.max(0) + pad)
        distance = np.full([w.stop - w.start for w in whole], _FAR)
        if not distance.size:
            return Shape(whole, distance)
        for a, b, r, s in zip(line, line[1:], width, width[1:], strict=False):
            reach = max(r, s) + _REACH
            near = self.window(np.minimum(a, b) - reach, np.maximum(a, b) + reach)
            if all(w.stop > w.start for w in near):
                local = tuple(
                    slice(n.start - w.start, n.stop - w.start)
                    for n, w in zip(near, whole, strict=True)
                )
                piece = capsule(self.at(near), [a, b], [r, s])
                distance[local] = np.minimum(distance[local], piece)
        return Shape(whole, distance + np.float32(rough) * self.edge[whole])

    def fill(
        self,
        shape: Shape,
        value: float | Array,
        grow: float = 0.0,
        grain: float = 0.0,
        within: Array | None = None,
    ) -> None:
        """Paint a tissue, inside the abdominal cavity or any other full-size distance `within`.

        Args:
            shape: Where.
            value: The tissue [HU], one number or an array of the shape's window.
            grow: Thickness added to the shape [mm].
            grain: Standard deviation of the fine unevenness of the tissue [HU].
            within: Signed distance of the volume that limits the shape [mm].
        """
        window, distance = shape
        if distance.size:
            limit = (self.inside if within is None else within)[window]
            share = soft_step(np.maximum(distance - np.float32(grow), limit), self.softness)
            tissue = value + np.float32(grain) * self.fine[window] if grain else value
            paint(self.image[window], share, tissue)


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
