"""Reorder slices between the voxel order of a file and the canonical LPS order."""

from dataclasses import dataclass
from typing import Self, TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from amir_lightning.errors import InputError

Number = TypeVar("Number", bound=np.generic)

Where = tuple[slice | int, ...]
"""Index of one slice in the canonical (Z, Y, X) array, for NumPy arrays and HDF5 datasets."""

_LPS = nib.orientations.axcodes2ornt(("L", "P", "S"))


@dataclass(frozen=True)
class Placement:
    """Place of the stored slices of a scan in the canonical (Z, Y, X) array.

    Voxels are only reordered, never resampled: the affine of an oblique scan stays oblique.

    Attributes:
        shape: Shape of the canonical array, (Z, Y, X).
        affine: 4x4 matrix from canonical (x, y, z, 1) to world millimetres (RAS+).
        axes: Canonical axis (0 for x, 1 for y, 2 for z) of each stored axis.
        flips: Whether each stored axis runs in the opposite direction of its canonical axis.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @classmethod
    def of(cls, affine: NDArray[np.float64], shape: tuple[int, int, int], name: str) -> Self:
        """Compute the placement of a stored volume.

        Args:
            affine: 4x4 matrix from stored (i, j, k, 1) to world millimetres (RAS+).
            shape: Stored (I, J, K); a slice has constant k.
            name: Name of the scan in errors, usually its path.

        Raises:
            InputError: The affine is singular or not finite.
        """
        regular = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) >= 1e-9
        axes = nib.orientations.io_orientation(affine) if regular else np.array(np.nan)
        if not np.isfinite(axes).all():
            raise InputError(
                f"{name} has a singular or non-finite affine; "
                "expected one with voxel sizes in mm: correct it and save the file again"
            )
        turn = nib.orientations.ornt_transform(axes, _LPS)
        i, j, k = (int(axis) for axis in turn[:, 0])
        lengths = dict(zip((i, j, k), shape, strict=True))
        moved = affine @ nib.orientations.inv_ornt_aff(turn, shape)
        return cls(
            shape=(lengths[2], lengths[1], lengths[0]),
            affine=np.asarray(moved, dtype=np.float64),
            axes=(i, j, k),
            flips=(bool(turn[0, 1] < 0), bool(turn[1, 1] < 0), bool(turn[2, 1] < 0)),
        )

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along (z, y, x) [mm]."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @property
    def num_slices(self) -> int:
        """Number of stored slices, K."""
        return self.shape[2 - self.axes[2]]

    def where(self, index: int) -> Where:
        """Index of the stored slice k = ``index`` in the canonical array."""
        place: list[slice | int] = [slice(None)] * 3
        place[2 - self.axes[2]] = self.num_slices - 1 - index if self.flips[2] else index
        return tuple(place)

    def orient(self, stored: NDArray[Number]) -> NDArray[Number]:
        """Turn a stored slice (I, J) into its orientation in the canonical array."""
        turned = self._flip(stored)
        return turned if self.axes[0] > self.axes[1] else turned.T

    def unorient(self, image: NDArray[Number]) -> NDArray[Number]:
        """Turn a slice of the canonical array into its stored orientation (I, J)."""
        return self._flip(image if self.axes[0] > self.axes[1] else image.T)

    def _flip(self, stored: NDArray[Number]) -> NDArray[Number]:
        return stored[:: -1 if self.flips[0] else 1, :: -1 if self.flips[1] else 1]
