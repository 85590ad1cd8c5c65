"""Match the full and the reduced scan of a patient by the position of their slices."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amir_lightning.data.pairs import RawScan
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.scan import DicomScan
from amir_lightning.io.dicom.series import read_dicom_series
from amir_lightning.io.nifti.file import is_nifti
from amir_lightning.io.nifti.scan import read_nifti
from amir_lightning.io.volume import Volume
from amir_lightning.system.wording import counted

log = logging.getLogger(__name__)

_SAME_PLACE = 0.1  # tolerance for equal positions, as a fraction of the voxel size
_ENOUGH = 0.5  # fraction of the shorter scan's slices that need a partner


def read_pair(hq: Sequence[Path], lq: Sequence[Path], units: str) -> RawScan:
    """Read both scans and keep the slices at the same positions.

    Args:
        hq: NIfTI file or DICOM series of the full scan.
        lq: NIfTI file or DICOM series of the reduced scan.
        units: Units of NIfTI voxels.

    Raises:
        InputError: The scans are of different patients, differ in the geometry of their slices, or
            fewer than half of the slices match.
    """
    if is_nifti(hq[0]) and is_nifti(lq[0]):
        return _overlap(read_nifti(hq[0], units), read_nifti(lq[0], units), str(hq[0]))
    if is_nifti(hq[0]) or is_nifti(lq[0]):
        full = read_nifti(hq[0], units) if is_nifti(hq[0]) else read_dicom_series(hq)
        reduced = read_nifti(lq[0], units) if is_nifti(lq[0]) else read_dicom_series(lq)
        return _overlap(full, reduced, str(hq[0]))
    return _matched(DicomScan(hq, with_pixels=True), DicomScan(lq, with_pixels=True))


def _matched(hq: DicomScan, lq: DicomScan) -> RawScan:
    first, other = hq.reference, lq.reference
    if first.get("PatientID") != other.get("PatientID"):
        raise InputError(
            f"{hq.path} and {lq.path} carry different Patient IDs; expected two series of one "
            "patient: correct the folders"
        )
    tolerance = _SAME_PLACE * min(hq.spacing_mm)
    same_plane = all(
        np.allclose(first[keyword].value, other[keyword].value, atol=limit)
        for keyword, limit in (
            ("PixelSpacing", 1e-3),
            ("ImageOrientationPatient", 1e-3),
        )
    ) and (first.Rows, first.Columns) == (other.Rows, other.Columns)
    gap = np.abs(hq.heights[:, None] - lq.heights[None])
    partner = gap.argmin(1)
    kept = np.flatnonzero(gap[np.arange(len(partner)), partner] <= tolerance)
    if same_plane and len(kept):
        place, other_place = hq.positions[kept[0]], lq.positions[partner[kept[0]]]
        same_plane = np.allclose(place, other_place, atol=tolerance)
    _check_match(hq.path, lq.path, same_plane, len(kept), min(len(hq.files), len(lq.files)))
    dropped = len(hq.files) + len(lq.files) - 2 * len(kept)
    if dropped:
        log.warning(
            "%s and %s: left out %s without a partner at the same position",
            hq.path,
            lq.path,
            counted("slice", dropped),
        )
    return RawScan(_select(hq, kept), _select(lq, partner[kept]))


def _select(scan: DicomScan, stored: NDArray[np.integer]) -> Volume:
    """Read a series and keep the given slices, in canonical order."""
    volume = scan.read()
    if len(stored) == len(scan.files):
        return volume
    axis = 2 - scan.placement.axes[2]
    places = sorted(int(scan.placement.where(int(index))[axis]) for index in stored)  # type: ignore
    affine = volume.affine.copy()
    affine[:, 3] += affine[:, 2 - axis] * places[0]
    return Volume(volume.array.take(places, axis), affine, volume.units, volume.source)


def _overlap(hq: Volume, lq: Volume, name: str) -> RawScan:
    """Crop two volumes to the box in which they overlap, if their voxels lie on one lattice."""
    to_hq = np.linalg.inv(hq.affine) @ lq.affine
    offset = np.rint(to_hq[:3, 3])
    same = np.allclose(to_hq[:3, :3], np.eye(3), atol=1e-3) and np.allclose(
        to_hq[:3, 3], offset, atol=_SAME_PLACE
    )
    shift = offset[::-1].astype(int)  # (z, y, x): lq[i] lies at hq[i + shift]
    start = np.maximum(shift, 0)
    stop = np.minimum(hq.array.shape, np.array(lq.array.shape) + shift)
    size = np.maximum(stop - start, 0)
    whole = np.minimum(hq.array.shape, lq.array.shape)
    _check_match(Path(name), Path(name), same, int(size.prod()), int(whole.prod()))
    if tuple(size) != hq.array.shape or tuple(size) != lq.array.shape:
        log.warning("%s: LQ and HQ overlap in %s voxels; the rest is left out", name, tuple(size))
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    other = tuple(slice(a, b) for a, b in zip(start - shift, stop - shift, strict=True))
    affine = hq.affine @ np.block(
        [[np.eye(3), start[::-1, None].astype(float)], [np.zeros((1, 3)), np.ones((1, 1))]]
    )
    return RawScan(
        Volume(hq.array[box], affine, hq.units, hq.source),
        Volume(lq.array[other], affine, lq.units, lq.source),
    )


def _check_match(hq: Path, lq: Path, same_plane: bool, matched: int, of: int) -> None:
    if not same_plane:
        raise InputError(
            f"{hq} and {lq} differ in size, spacing, orientation or place of their slices; "
            "expected the same grid: resample one onto the other"
        )
    if matched < _ENOUGH * of:
        raise InputError(
            f"only {matched} of {of} slices (or voxels) of {hq} and {lq} lie at the same place; "
            "expected at least half: check that the two belong together"
        )
