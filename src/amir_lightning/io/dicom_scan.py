"""`DicomScan`: one series, sorted by geometry, read slice by slice in physical units."""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from amir_lightning.errors import InputError
from amir_lightning.io.dicom_file import (
    QUANTITY,
    NotDicomError,
    read_dataset,
    read_header,
    rescaled_pixels,
    unusable,
)
from amir_lightning.io.orientation import Number, Placement, Where
from amir_lightning.io.suv import acquisition_time, suvbw_factor
from amir_lightning.io.volume import Volume

log = logging.getLogger(__name__)

_SAME = (
    "PatientID",
    "Modality",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "Units",
)
_PARALLEL = 1e-3  # largest difference of direction cosines and of spacing [mm] in one series
_UNEVEN = 0.05  # relative deviation of a gap that is worth a warning; PET beds overlap to 2 %
_MISSING = 1.5  # a gap this many times the usual one is a missing slice


class DicomScan:
    """A DICOM series as a `Scan`: HU for CT, body-weight SUV for PET, rescaled values for MR.

    Slices are sorted along the normal of the image plane by their position. A missing slice or an
    uneven gap is warned about. Padding outside the field of view keeps its value below air.

    Args:
        files: Image files of one series, in any order.

    Attributes:
        path: Folder of the series.
        files: The files, as the stored slices follow each other.
        heights: Position of each file along the normal of the image plane [mm].
        scale: Factor from rescaled values to `units`: that of SUVbw for PET, else 1.
        placement: Where the stored slices lie in canonical LPS order.

    Raises:
        InputError: A file is damaged, a PET header lacks a tag that SUV needs, or files do not form
            one stack: other size, orientation or patient, or two at the same position.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        paths = sorted(files)
        if not paths:
            raise InputError("a DICOM series without files was given; expected at least one image")
        headers = {path: _header(path) for path in paths}
        reference = headers[paths[0]]
        for path in paths[1:]:
            _assert_same(reference, headers[path], paths[0], path)
        row, column = np.split(_floats(reference, "ImageOrientationPatient"), 2)
        normal = np.cross(row, column)
        positions = {path: _floats(headers[path], "ImagePositionPatient") for path in paths}
        paths.sort(key=lambda path: float(positions[path] @ normal))
        self.path = paths[0].parent
        self.files: tuple[Path, ...] = tuple(paths)
        self.heights = np.array([positions[path] @ normal for path in paths])
        self.modality: str | None = str(reference.Modality)
        self.units = QUANTITY.get(self.modality, "a.u.")
        self.scale = 1.0
        if self.modality == "PT":
            timed = [header for header in headers.values() if header.get("AcquisitionTime")]
            self.scale = suvbw_factor(min(timed, key=acquisition_time) if timed else reference)
        step = _slice_step(
            paths, self.heights, [positions[path] for path in paths], reference, normal
        )
        row_spacing, column_spacing = _floats(reference, "PixelSpacing")
        affine = np.eye(4)
        affine[:3, 0] = row * column_spacing
        affine[:3, 1] = column * row_spacing
        affine[:3, 2] = step
        affine[:3, 3] = positions[paths[0]]
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # DICOM's LPS world to NIfTI's RAS+
        stored = (int(reference.Columns), int(reference.Rows), len(paths))
        self.placement = Placement.of(affine, stored, str(self.path))
        self.shape, self.affine = self.placement.shape, self.placement.affine
        self.spacing_mm = self.placement.spacing_mm

    @cached_property
    def source(self) -> str:
        """Hash of all files, for the prepared store."""
        digest = hashlib.sha256()
        for path in self.files:
            digest.update(path.read_bytes())
        return f"dicom {self.modality} {len(self.files)} files sha256:{digest.hexdigest()}"

    def dataset(self, index: int) -> pydicom.Dataset:
        """The whole file of a stored slice."""
        return read_dataset(self.files[index])

    def orient(self, pixels: NDArray[Number]) -> NDArray[Number]:
        """Turn (rows, columns) of a file to how they lie in the canonical array."""
        return self.placement.orient(pixels.T)

    def unorient(self, image: NDArray[Number]) -> NDArray[Number]:
        """Turn a canonical slice to the (rows, columns) of its file."""
        return self.placement.unorient(image).T

    def slices(self) -> Iterator[tuple[Where, NDArray[np.float32]]]:
        """Slices by position, each with its place in the canonical array.

        Raises:
            InputError: Pixels are damaged, compressed without a codec, or not finite.
        """
        for index, path in enumerate(self.files):
            pixels = rescaled_pixels(self.dataset(index), path) * self.scale
            if not np.isfinite(pixels).all():
                raise InputError(
                    f"{path} has NaN or infinite voxels; check its Rescale Slope or leave it out"
                )
            image = np.ascontiguousarray(self.orient(pixels), np.float32)
            yield self.placement.where(index), image

    def read(self) -> Volume:
        """All slices at once."""
        array = np.empty(self.shape, np.float32)
        for where, image in self.slices():
            array[where] = image
        return Volume(array, self.affine, self.units, self.source)


def _header(path: Path) -> pydicom.Dataset:
    try:
        header = read_header(path)
        reason = unusable(header)
    except NotDicomError:
        reason = "not DICOM"
    if reason:
        raise InputError(f"{path} cannot be a slice: {reason}; leave it out of the series")
    return header


def _slice_step(
    paths: list[Path],
    heights: NDArray[np.float64],
    positions: list[NDArray[np.float64]],
    reference: pydicom.Dataset,
    normal: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Vector from one slice to the next [mm]; says where the stack is not even."""
    if len(paths) == 1:
        thickness = reference.get("SpacingBetweenSlices") or reference.get("SliceThickness") or 1.0
        return normal * abs(float(thickness))
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    uneven = []
    for index, gap in enumerate(gaps):
        between = f"{paths[index]} and {paths[index + 1].name}"
        if gap < _PARALLEL:
            raise InputError(
                f"{between} lie at the same position; expected one slice per position: "
                "keep one time frame, echo or reconstruction in the folder"
            )
        if gap > _MISSING * usual:
            log.warning("missing slice between %s: %.2f mm apart, not %.2f mm", between, gap, usual)
        elif abs(gap - usual) > _UNEVEN * usual:
            uneven.append(f"{between} ({gap:.2f} mm, not {usual:.2f} mm)")
    if uneven:
        log.warning("uneven spacing in %d gaps, the first between %s", len(uneven), uneven[0])
    # Along the positions, not the normal: with a tilted gantry they differ.
    return (positions[-1] - positions[0]) / (heights[-1] - heights[0]) * usual


def _assert_same(
    reference: pydicom.Dataset, other: pydicom.Dataset, reference_path: Path, path: Path
) -> None:
    for keyword in _SAME:
        ours, theirs = reference.get(keyword), other.get(keyword)
        same = ours == theirs
        if not same and keyword in ("PixelSpacing", "ImageOrientationPatient"):
            same = np.allclose(np.asarray(ours, float), np.asarray(theirs, float), atol=_PARALLEL)
        if not same:
            raise InputError(
                f"{path} differs from {reference_path.name} in {keyword}; expected one scan of one "
                "patient: put each series in a folder of its own"
            )


def _floats(dataset: pydicom.Dataset, keyword: str) -> NDArray[np.float64]:
    return np.array([float(value) for value in dataset[keyword].value], dtype=np.float64)
