"""`Volume`: one scan in physical units with its geometry."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Volume:
    """A scan in canonical LPS order: x to the left, y to posterior, z to superior.

    A slice ``array[z]`` with row 0 at the top is the usual radiological view.

    Attributes:
        array: Voxels in physical units, (Z, Y, X) float32.
        affine: 4x4 matrix from voxel index (x, y, z, 1) to world millimetres (RAS+, as in NIfTI).
        units: Physical units of the voxels: "HU", "SUV" or "a.u.".
        source: Origin of the data, without patient names; written into the prepared store.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    units: str
    source: str

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along (z, y, x) [mm]."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)


def lps_affine(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Affine of an axis-aligned LPS volume whose first voxel lies at the origin.

    Args:
        spacing_mm: Voxel size along (z, y, x) [mm].
    """
    z, y, x = spacing_mm
    return np.diag([-x, -y, z, 1.0])
