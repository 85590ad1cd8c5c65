"""Any voxel order to the project's canonical LPS `Volume`, and back to NIfTI's (x, y, z) axes."""

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from amir_lightning.errors import InputError
from amir_lightning.io.volume import Volume

_LPS = nib.orientations.axcodes2ornt(("L", "P", "S"))


def canonical_volume(
    voxels: NDArray[np.generic], affine: NDArray[np.float64], units: str, source: str, name: str
) -> Volume:
    """Flip and permute the axes so that they run to the left, to posterior and to superior.

    Voxels are only reordered, never resampled: an oblique scan keeps its obliqueness in the affine.

    Args:
        voxels: Values in physical units, indexed (x, y, z) as in ``affine``.
        affine: 4x4 matrix from (x, y, z, 1) to world millimetres (RAS+).
        units: Physical units of the values.
        source: Where the scan came from, free of patient names.
        name: What to call the scan in an error, usually its path.

    Raises:
        InputError: A value is NaN or infinite, or the affine is singular.
    """
    finite = np.isfinite(affine).all()
    if not finite or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(
            f"{name} has a singular or non-finite affine; "
            "expected one with voxel sizes in mm: write it anew"
        )
    array = np.asarray(voxels, dtype=np.float32)
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise InputError(
            f"{name} has {bad} NaN or infinite voxels; replace them with finite values in {units} "
            "or leave the file out"
        )
    current = nib.orientations.io_orientation(affine)
    to_lps = nib.orientations.ornt_transform(current, _LPS)
    reordered = nib.orientations.apply_orientation(array, to_lps)
    moved = affine @ nib.orientations.inv_ornt_aff(to_lps, array.shape)
    return Volume(
        array=np.ascontiguousarray(reordered.transpose(2, 1, 0)),
        affine=np.asarray(moved, dtype=np.float64),
        units=units,
        source=source,
    )
