"""Drawing kit of the phantoms: grids, random fields, signed distances and soft edges.

Conventions: lengths are millimetres; axes are ordered (z, y, x) in LPS, so z grows to superior, y
to posterior and x to the patient's left; the centre of the field of view is the origin; `Points` is
a triple of float32 arrays (z, y, x) that broadcast; a signed distance is negative inside.
"""

from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]
Floats = NDArray[np.floating]  # numpy types float32 times float as any precision
Points = tuple[Array, Array, Array]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Grid:
    """Voxel centres of an axis-aligned volume around the origin.

    Attributes:
        shape: Voxels along (z, y, x).
        spacing_mm: Voxel size along (z, y, x) [mm].
    """

    shape: tuple[int, int, int]
    spacing_mm: Triple

    @classmethod
    def over(cls, field_mm: Triple, size: int, num_slices: int) -> "Grid":
        """The grid that cuts a field of view (z, y, x) [mm] into slices of `size` x `size`."""
        shape = (num_slices, size, size)
        z, y, x = (field / n for field, n in zip(field_mm, shape, strict=True))
        return cls(shape, (z, y, x))

    @property
    def extent_mm(self) -> Triple:
        """Field of view along (z, y, x) [mm], rounded so that every size gives the same number."""
        z, y, x = (round(n * step, 3) for n, step in zip(self.shape, self.spacing_mm, strict=True))
        return z, y, x

    @cached_property
    def axes(self) -> Points:
        """Coordinates along each axis [mm]: three vectors."""
        z, y, x = (
            ((np.arange(n) - (n - 1) / 2) * step).astype(np.float32)
            for n, step in zip(self.shape, self.spacing_mm, strict=True)
        )
        return z, y, x

    @property
    def points(self) -> Points:
        """Open coordinate grids of shapes (Z, 1, 1), (1, Y, 1) and (1, 1, X) [mm]."""
        z, y, x = self.axes
        return z[:, None, None], y[None, :, None], x[None, None, :]

    def window(self, low: Triple, high: Triple) -> tuple[slice, slice, slice]:
        """Slices of the voxels between two corners (z, y, x) [mm]; draw small organs only there."""
        z, y, x = (
            slice(int(np.searchsorted(axis, a)), int(np.searchsorted(axis, b, side="right")))
            for axis, a, b in zip(self.axes, low, high, strict=True)
        )
        return z, y, x


def cut(points: Points, window: tuple[slice, slice, slice]) -> Points:
    """Restrict open or dense points to a window of `Grid.window`."""
    z, y, x = (
        p[tuple(w if n > 1 else slice(None) for w, n in zip(window, p.shape, strict=True))]
        for p in points
    )
    return z, y, x


def lattice_noise(
    rng: np.random.Generator, grid: Grid, scale_mm: float | Triple, octaves: int = 1
) -> Array:
    """Smooth random field that is the same at every resolution, zero mean, unit variance.

    White coefficients on a lattice fixed in millimetres are interpolated by cubic B-splines. Draws
    depend on the field of view and the scale alone, never on the number of voxels.

    Args:
        rng: Source of randomness.
        grid: Where the field is evaluated.
        scale_mm: Lattice step along (z, y, x); structures are about twice as large [mm].
        octaves: Each further octave has half the scale and half the amplitude.
    """
    steps = np.broadcast_to(np.asarray(scale_mm, float), 3)
    total, power = np.zeros(grid.shape, np.float32), 0.0
    for octave in range(octaves):
        weights = [
            _spline_weights(axis, extent, step / 2**octave)
            for axis, extent, step in zip(grid.axes, grid.extent_mm, steps, strict=True)
        ]
        field = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
        for w in weights:  # contracts the first axis and appends it: after three, the order is back
            field = np.tensordot(field, w, axes=(0, 1))
        total += field * np.float32(0.5**octave)
        power += 0.25**octave
    return total / np.float32(np.sqrt(power))


def _spline_weights(axis: Array, extent: float, step: float) -> Array:
    """Cubic B-spline weights (points, nodes), each row of unit length for unit variance."""
    nodes = np.arange(int(np.ceil(extent / step)) + 4) - 1.5
    t = np.abs((axis[:, None].astype(float) + extent / 2) / step - nodes)
    w = np.where(t < 1, 2 / 3 - t**2 + t**3 / 2, np.clip(2 - t, 0, None) ** 3 / 6)
    return (w / np.linalg.norm(w, axis=1, keepdims=True)).astype(np.float32)


def interpolate(lattice: Array, step_mm: float | Triple, points: Points) -> Array:
    """Linear interpolation of a lattice (Z, Y, X) around the origin, constant beyond its border."""
    steps = np.broadcast_to(np.asarray(step_mm, np.float32), 3)
    low, part = [], []
    for n, step, p in zip(lattice.shape, steps, points, strict=True):
        position = np.clip(p / step + np.float32((n - 1) / 2), 0, n - 1)
        index = np.minimum(position.astype(np.int32), max(n - 2, 0))
        low.append(index)
        part.append(position - index.astype(np.float32))
    values: Array = np.zeros((), np.float32)
    for corner in np.ndindex(2, 2, 2):
        weight = reduce(np.multiply, [f if c else 1 - f for c, f in zip(corner, part, strict=True)])
        sizes = zip(low, corner, lattice.shape, strict=True)
        values = values + weight * lattice[tuple(np.minimum(i + c, n - 1) for i, c, n in sizes)]
    return values


def warp(rng: np.random.Generator, grid: Grid, amplitude_mm: float, scale_mm: float) -> Points:
    """Dense points of the grid, displaced by smooth random fields: bends whatever is drawn on them.

    Args:
        rng: Source of randomness.
        grid: The points before the displacement.
        amplitude_mm: Standard deviation along each axis [mm].
        scale_mm: As in `lattice_noise`; a few times the amplitude, or space folds [mm].
    """
    z, y, x = (
        p + np.float32(amplitude_mm) * lattice_noise(rng, grid, scale_mm) for p in grid.points
    )
    return z, y, x


def rotation(
    about_z: float = 0.0, about_y: float = 0.0, about_x: float = 0.0
) -> NDArray[np.float64]:
    """Rotation matrix for (z, y, x) vectors: about x, then y, then z [degrees].

    ``about_z`` turns in the transaxial plane, from the x towards the y axis.
    """
    matrix = np.eye(3)
    for angle, (a, b) in ((about_x, (1, 0)), (about_y, (0, 2)), (about_z, (2, 1))):
        turn = np.eye(3)
        cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = cos, -sin, sin, cos
        matrix = turn @ matrix
    return matrix


def place(points: Points, centre: Triple, turn: NDArray[np.float64] | None = None) -> Points:
    """Points in the frame of an object at `centre` [mm] that was turned by `rotation`."""
    z, y, x = (p - np.float32(c) for p, c in zip(points, centre, strict=True))
    if turn is None:
        return z, y, x
    m = turn.astype(np.float32)  # the inverse of a rotation is its transpose: columns of m
    return (
        m[0, 0] * z + m[1, 0] * y + m[2, 0] * x,
        m[0, 1] * z + m[1, 1] * y + m[2, 1] * x,
        m[0, 2] * z + m[1, 2] * y + m[2, 2] * x,
    )


def ellipsoid(
    points: Points,
    centre: Triple,
    radii: Triple,
    turn: NDArray[np.float64] | None = None,
    exponent: float = 2.0,
) -> Array:
    """Signed distance to a superellipsoid [mm]: exact for a sphere, close near the surface.

    `radii` lie along (z, y, x) before `turn`; `exponent` 2 is an ellipsoid, 4 a rounded box.
    """
    p = np.float32(exponent)
    scaled = [
        np.abs(q) / np.float32(r) for q, r in zip(place(points, centre, turn), radii, strict=True)
    ]
    norm = sum(q**p for q in scaled)
    # First order: (f - 1) / |grad f| with f the p-norm, whose level sets are the scaled shapes.
    slope = sum((q ** (p - 1) / np.float32(r)) ** 2 for q, r in zip(scaled, radii, strict=True))
    level = norm ** (1 / p)
    slope = np.sqrt(slope) / np.maximum(level, np.float32(1e-3)) ** (p - 1)
    return np.asarray((level - 1) / np.maximum(slope, np.float32(1 / max(radii))), np.float32)


def capsule(points: Points, nodes: ArrayLike, radii: ArrayLike) -> Array:
    """Signed distance to a thick polyline [mm]: vessels, bowel, ribs, horns of the ventricles.

    Args:
        points: Where to measure.
        nodes: Corners (N, 3), N >= 2 [mm].
        radii: Radius at each corner, linear in between, or one for all [mm].
    """
    line = np.asarray(nodes, np.float32)
    width = np.broadcast_to(np.asarray(radii, np.float32), len(line))
    distance: Array | None = None
    for a, b, r, s in zip(line, line[1:], width, width[1:], strict=False):
        away = [p - c for p, c in zip(points, a, strict=True)]
        along = b - a
        length = max(float(along @ along), 1e-6)
        t = np.clip(sum(q * c for q, c in zip(away, along / length, strict=True)), 0, 1)
        gap = np.sqrt(sum((q - t * c) ** 2 for q, c in zip(away, along, strict=True)))
        gap -= r + t * (s - r)
        distance = gap if distance is None else np.minimum(distance, gap)
    assert distance is not None, "a polyline has two nodes or more"
    return distance


def smooth_min(a: Array, b: Array, radius_mm: float) -> Array:
    """Union of two shapes with a fillet."""
    h = np.clip(np.float32(radius_mm) - np.abs(a - b), 0, None) / np.float32(radius_mm)
    return np.minimum(a, b) - h * h * np.float32(radius_mm / 4)


def smooth_max(a: Array, b: Array, radius_mm: float) -> Array:
    """Intersection of two shapes with a rounded edge; with `-b` it carves b out of a."""
    return -smooth_min(-a, -b, radius_mm)


def soft_step(distance: Array, softness_mm: float | Array) -> Array:
    """Share of a voxel inside a shape: 1 inside, 0 outside, a smooth ramp of +-`softness_mm`.

    Half a voxel of softness models partial volume. It may differ from voxel to voxel.
    """
    t = np.clip(np.float32(0.5) - distance / np.float32(2 * softness_mm), 0, 1)
    return t * t * (3 - 2 * t)


def paint(image: Array, share: Array, value: float | Array) -> None:
    """Lay a tissue over an image in place: `value` where `share` is 1, nothing where it is 0."""
    image += share * (value - image)
