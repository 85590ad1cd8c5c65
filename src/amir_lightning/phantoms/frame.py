"""The standard patient's coordinates in the field of view of one patient."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from amir_lightning.phantoms.fields import Grid, Points, Triple, warp

Window = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Frame:
    """Where a patient lies and how large he is: anatomy is written once, for a standard patient.

    Attributes:
        grid: Voxels of the scan.
        scale: Size relative to the standard patient along (z, y, x).
        origin: The standard patient's origin in the field of view (z, y, x) [mm].
        margin_mm: Windows grow by this much; more than `bent` moves an organ [mm].
    """

    grid: Grid
    scale: Triple
    origin: Triple
    margin_mm: float

    @property
    def straight(self) -> Points:
        """Open coordinates of the standard patient (z, y, x) at each voxel [mm]."""
        return self._standard(self.grid.points)

    def bent(self, rng: np.random.Generator, amplitude_mm: float, scale_mm: float) -> Points:
        """Dense coordinates of the standard patient, bent as by `fields.warp` [mm]."""
        return self._standard(warp(rng, self.grid, amplitude_mm, scale_mm))

    def window(self, low: ArrayLike, high: ArrayLike) -> Window:
        """Voxels that may lie between two corners (z, y, x) of the standard patient [mm]."""
        scale, origin = np.asarray(self.scale), np.asarray(self.origin)
        a = np.asarray(low, float) * scale + origin - self.margin_mm
        b = np.asarray(high, float) * scale + origin + self.margin_mm
        return self.grid.window((a[0], a[1], a[2]), (b[0], b[1], b[2]))

    def _standard(self, points: Points) -> Points:
        parts = zip(points, self.origin, self.scale, strict=True)
        z, y, x = ((p - np.float32(o)) / np.float32(s) for p, o, s in parts)
        return z, y, x
