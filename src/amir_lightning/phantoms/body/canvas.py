"""Canvas of the whole-body phantom: patient coordinates, random textures, windowed painting."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amir_lightning.phantoms import fields
from amir_lightning.phantoms.fields import Array, Grid, Points, Triple

Floats = NDArray[np.floating]  # numpy types float32 times float as any precision

_MARGIN_MM = 16.0  # windows grow by more than the warp moves an organ


@dataclass(frozen=True)
class Region:
    """A window of the canvas: painting on it changes the image.

    Attributes:
        points: Warped patient coordinates (z, y, x) [mm].
        image: View of the image [SUV].
        fine: Random field of zero mean and unit variance, structures of about 16 mm.
        coarse: The same with structures of about 60 mm.
        softness_mm: Half width of an edge [mm].
    """

    points: Points
    image: Array
    fine: Array
    coarse: Array
    softness_mm: float

    def paint(self, distance: Array, value: float | Floats) -> None:
        """Lay a tissue of this uptake [SUV] over the inside of a signed distance [mm]."""
        fields.paint(
            self.image, fields.soft_step(distance, self.softness_mm), np.asarray(value, np.float32)
        )

    def mix(self, share: Array, value: float | Floats) -> None:
        """Lay a tissue of this uptake [SUV] over the image by its share of each voxel."""
        fields.paint(self.image, share, np.asarray(value, np.float32))


@dataclass(frozen=True)
class Canvas:
    """An image in patient coordinates: millimetres of a reference adult.

    The reference has its crotch at z = 0, its vertex at z = 880 and its spine near y = +40; a
    patient is the reference scaled along each axis and bent by a smooth warp.

    Attributes:
        grid: Voxels of the scan.
        scale: Patient size over reference size along (z, y, x).
        origin: Where the origin of the reference lies in the field of view (z, y, x) [mm].
        points: Dense warped patient coordinates [mm].
        straight: Open patient coordinates without the warp, for the skin [mm].
        image: Tracer concentration (Z, Y, X) [SUV].
        fine: Random field, see `Region`.
        coarse: Random field, see `Region`.
    """

    grid: Grid
    scale: Triple
    origin: Triple
    points: Points
    straight: Points
    image: Array
    fine: Array
    coarse: Array

    @classmethod
    def blank(cls, rng: np.random.Generator, grid: Grid, scale: Triple, origin: Triple) -> "Canvas":
        """An empty canvas for a patient of this scale at this place."""

        def patient(points: Points) -> Points:
            parts = zip(points, scale, origin, strict=True)
            z, y, x = ((p - np.float32(o)) / np.float32(s) for p, s, o in parts)
            return z, y, x

        return cls(
            grid=grid,
            scale=scale,
            origin=origin,
            points=patient(fields.warp(rng, grid, amplitude_mm=3.5, scale_mm=38.0)),
            straight=patient(grid.points),
            image=np.zeros(grid.shape, np.float32),
            fine=fields.lattice_noise(rng, grid, 8.0),
            coarse=fields.lattice_noise(rng, grid, 30.0, octaves=2),
        )

    @property
    def softness_mm(self) -> float:
        """Half a voxel in patient millimetres: the partial volume of an edge."""
        steps = zip(self.grid.spacing_mm, self.scale, strict=True)
        return 0.5 * float(np.mean([step / s for step, s in steps]))

    def window(self, low: Sequence[float], high: Sequence[float]) -> tuple[slice, slice, slice]:
        """Voxels between two corners (z, y, x) in patient coordinates [mm], with a margin."""
        corners = [
            tuple(
                c * s + o + margin for c, s, o in zip(corner, self.scale, self.origin, strict=True)
            )
            for corner, margin in ((low, -_MARGIN_MM), (high, _MARGIN_MM))
        ]
        (z0, y0, x0), (z1, y1, x1) = corners
        return self.grid.window((z0, y0, x0), (z1, y1, x1))

    def region(self, low: Sequence[float], high: Sequence[float]) -> Region:
        """The window between two corners (z, y, x) in patient coordinates [mm], with a margin."""
        w = self.window(low, high)
        return Region(
            points=fields.cut(self.points, w),
            image=self.image[w],
            fine=self.fine[w],
            coarse=self.coarse[w],
            softness_mm=self.softness_mm,
        )

    def around(self, nodes: Sequence[Triple], reach_mm: float) -> Region:
        """The window around some points (z, y, x) in patient coordinates [mm]."""
        corners = np.asarray(nodes)
        return self.region(corners.min(0) - reach_mm, corners.max(0) + reach_mm)

    def ellipsoid(
        self,
        centre: Triple,
        radii: Triple,
        value: float,
        texture: float = 0.0,
        tilt: Triple = (0.0, 0.0, 0.0),
    ) -> None:
        """Paint an ellipsoid.

        Args:
            centre: Centre (z, y, x) [mm].
            radii: Semi-axes (z, y, x) [mm].
            value: Uptake [SUV].
            texture: Relative standard deviation of the uptake inside; it roughens the surface too.
            tilt: Rotation about the z, y and x axis [degrees].
        """
        region = self.around([centre], max(radii))
        turn = fields.rotation(*tilt) if any(tilt) else None
        distance = fields.ellipsoid(region.points, centre, radii, turn)
        if texture:
            distance = distance + np.float32(0.07 * min(radii)) * region.fine
        region.paint(distance, value * (1 + texture * region.fine))

    def tube(self, nodes: Sequence[Triple], radii: float | Sequence[float], value: float) -> None:
        """Paint a thick polyline through nodes (z, y, x) [mm]."""
        region = self.around(nodes, float(np.max(radii)))
        region.paint(fields.capsule(region.points, nodes, radii), value)


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
            result = -fields.smooth_min(-result, -distance, fillet_mm)
        else:
            result = np.maximum(result, distance)
    return result
