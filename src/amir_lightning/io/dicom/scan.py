"""`DicomScan`: one series, sorted by position and read slice by slice in physical units."""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.file import NotDicomError
from amir_lightning.io.dicom.frames import Image, find_images, load_image, load_whole_header
from amir_lightning.io.dicom.kind import reason_to_skip
from amir_lightning.io.dicom.pixels import QUANTITY, rescaled_pixels
from amir_lightning.io.dicom.suv import acquisition_time, count_factors, suvbw_factor
from amir_lightning.io.orientation import Number, Placement, Where
from amir_lightning.io.volume import Volume
from amir_lightning.system.wording import counted

log = logging.getLogger(__name__)

_SAME = (
    "PatientID",
    "Modality",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "Units",
    "SUVType",
    "DecayCorrection",
)
_PARALLEL = 1e-3  # tolerance within a series for direction cosines and for distances [mm]
_UNEVEN = 0.05  # relative deviation of a gap that gives a warning; gaps at PET beds differ by 2 %
_OFF_GRID = 0.05  # tolerance for the place of a slice in a NIfTI file, relative to the slice step
_MISSING = 1.5  # a gap larger than this multiple of the usual gap is a missing slice


class DicomScan:
    """A DICOM series as a `Scan`: HU for CT, body-weight SUV for PET, rescaled values for MR.

    Slices are sorted by their position along the normal of the image plane. Missing slices and
    uneven gaps give a warning. Padding outside the field of view keeps its value below air.

    Args:
        files: Image files of one series, in any order.
        with_pixels: Read the encoded pixels together with the headers, so that each file is opened
            once. They stay in memory until `slices` has passed them.

    Attributes:
        path: Folder of the series.
        files: File of each slice, sorted by position.
        frames: Frame of each slice in an enhanced file, from 0; None for a file of one image.
        reference: Header of the lowest slice.
        positions: Image Position (Patient) of each slice, (K, 3) [mm].
        heights: Position of each slice along the normal of the image plane, (K,) [mm].
        scale: Factor from rescaled values to `units`: the SUVbw factor for PET, else 1.
        placement: Place of the slices in canonical LPS order.

    Raises:
        InputError: A file is damaged, a PET header lacks a tag that SUV needs, or the files do not
            form one stack: they differ in size, orientation or patient, or two share a position.
    """

    def __init__(self, files: Iterable[Path], *, with_pixels: bool = False) -> None:
        images = [image for path in sorted(files) for image in _usable(path, with_pixels)]
        if not images:
            raise InputError("a DICOM series without files was given; expected at least one image")
        reference = images[0].header
        for image in images[1:]:
            _assert_same(images[0], image)
        row, column = np.split(_floats(reference, "ImageOrientationPatient"), 2)
        normal = np.cross(row, column)
        images.sort(key=lambda image: float(_position(image) @ normal))
        self.path = images[0].path.parent
        self.files: tuple[Path, ...] = tuple(image.path for image in images)
        self.frames = tuple(image.frame for image in images)
        self._loaded = {
            index: image.header for index, image in enumerate(images) if "PixelData" in image.header
        }
        self.reference = images[0].header
        self.positions = np.array([_position(image) for image in images])
        self.heights = self.positions @ normal
        self.modality: str | None = str(reference.Modality)
        self.units = QUANTITY.get(self.modality, "a.u.")
        self.scale = _suv_scale(images, self.path) if self.modality == "PT" else 1.0
        row_spacing, column_spacing = _floats(reference, "PixelSpacing")
        affine = np.eye(4)
        affine[:3, 0] = row * column_spacing
        affine[:3, 1] = column * row_spacing
        affine[:3, 2] = step = _slice_step(images, self.heights, normal)
        grid = self.positions[0] + np.arange(len(images))[:, None] * step
        self._off_grid_mm = np.linalg.norm(self.positions - grid, axis=1)
        affine[:3, 3] = _position(images[0])
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # DICOM's LPS world to NIfTI's RAS+
        stored = (int(reference.Columns), int(reference.Rows), len(images))
        self.placement = Placement.of(affine, stored, str(self.path))
        self.shape, self.affine = self.placement.shape, self.placement.affine
        self.spacing_mm = self.placement.spacing_mm

    @property
    def kind(self) -> str:
        """Modality and number of files, for a volume's `source`."""
        return f"dicom {self.modality} {len(set(self.files))} files"

    @cached_property
    def source(self) -> str:
        """`kind` and one hash of all files; the first access reads the files."""
        digest = hashlib.sha256()
        for path in dict.fromkeys(self.files):
            digest.update(path.read_bytes())
        return f"{self.kind} sha256:{digest.hexdigest()}"

    def dataset(self, index: int) -> pydicom.Dataset:
        """Read the whole dataset of a slice; a frame is returned as a classic image."""
        return load_image(self.files[index], self.frames[index], whole=True)

    def header(self, index: int) -> pydicom.Dataset:
        """Read the whole header of a slice; no pixels are decoded."""
        return load_whole_header(self.files[index], self.frames[index])

    def check_grid(self) -> None:
        """Refuse a stack that one affine, as in a NIfTI file, cannot describe.

        Raises:
            InputError: Slices are missing or unevenly spaced.
        """
        worst = int(self._off_grid_mm.argmax())
        if self._off_grid_mm[worst] > _OFF_GRID * self.spacing_mm[2 - self.placement.axes[2]]:
            gaps = np.diff(self.heights)
            raise InputError(
                f"{self.files[worst]} would lie {self._off_grid_mm[worst]:.2f} mm off its place in "
                f"a NIfTI file, because the gaps between slices are {gaps.min():.2f} to "
                f"{gaps.max():.2f} mm; type format=same for DICOM, or give each pass of the scan "
                "in a separate folder"
            )

    def orient(self, pixels: NDArray[Number]) -> NDArray[Number]:
        """Turn (rows, columns) of a file into their orientation in the canonical array."""
        return self.placement.orient(pixels.T)

    def unorient(self, image: NDArray[Number]) -> NDArray[Number]:
        """Turn a canonical slice into the (rows, columns) of its file."""
        return self.placement.unorient(image).T

    def slices(self) -> Iterator[tuple[Where, NDArray[np.float32]]]:
        """Yield the slices by position, each with its place in the canonical array.

        Raises:
            InputError: Pixels are damaged or not finite, or no codec is installed for them.
        """
        for index, path in enumerate(self.files):
            dataset = self._loaded.pop(index, None)
            if dataset is None:
                dataset = load_image(path, self.frames[index], whole=False)
            pixels = rescaled_pixels(dataset, path) * self.scale
            image = np.ascontiguousarray(self.orient(pixels), np.float32)
            if not np.isfinite(image).all():  # or beyond the range of float32
                raise InputError(
                    f"{path} has NaN or infinite voxels; check its Rescale Slope or leave it out"
                )
            yield self.placement.where(index), image

    def read(self) -> Volume:
        """Read all slices into memory; `Volume.source` is `kind`, without a hash."""
        array = np.empty(self.shape, np.float32)
        for where, image in self.slices():
            array[where] = image
        return Volume(array, self.affine, self.units, self.kind)


def _usable(path: Path, with_pixels: bool) -> list[Image]:
    try:
        images = find_images(path, with_pixels=with_pixels)
        reason = next(filter(None, (reason_to_skip(image.header) for image in images)), None)
    except NotDicomError:
        reason = "not DICOM"
    if reason:
        raise InputError(f"{path} cannot be a slice: {reason}; leave it out of the series")
    return images


def _suv_scale(images: list[Image], folder: Path) -> float:
    """Factor to SUVbw, from the header of the slice that was acquired first."""
    timed = [image for image in images if image.header.get("AcquisitionTime")]
    try:
        counts = images[0].header.get("Units") == "CNTS"
        if counts and len({count_factors(image.header) for image in images}) > 1:
            raise InputError(
                "Philips' factors (7053,1000) or (7053,1009) differ between slices; export the "
                "series in BQML"
            )
        first = min(timed, key=lambda image: acquisition_time(image.header), default=images[0])
        return suvbw_factor(first.header, first.name.removesuffix(","))
    except InputError as error:
        raise InputError(f"{folder}: {error}") from error


def _slice_step(
    images: list[Image], heights: NDArray[np.float64], normal: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Vector from one slice to the next [mm]; warns of missing slices and uneven gaps."""
    if len(images) == 1:
        header = images[0].header
        thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0
        return normal * abs(float(thickness))
    gaps = np.diff(heights)
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    uneven = []
    for index, gap in enumerate(gaps):
        below, above = images[index : index + 2]
        between = f"{below.name} and {above.name.replace(str(above.path), above.path.name)}"
        if gap < _PARALLEL:
            advice = "keep one time frame, echo or reconstruction in the folder"
            if above.path == below.path:
                advice = "convert it to NIfTI, a file for each time frame, echo or reconstruction"
            raise InputError(
                f"{between} lie at the same position; expected one slice per position: {advice}"
            )
        place = f"{between} ({heights[index]:.2f} and {heights[index + 1]:.2f} mm)"
        if gap > _MISSING * usual:
            log.warning("missing slice between %s: %.2f mm apart, not %.2f mm", place, gap, usual)
        elif abs(gap - usual) > _UNEVEN * usual:
            uneven.append(f"{place}: {gap:.2f} mm apart, not {usual:.2f} mm")
    if uneven:
        gaps_text = counted("gap", len(uneven))
        log.warning("uneven spacing in %s, the first between %s", gaps_text, uneven[0])
    # Follow the positions, because with a tilted gantry they leave the normal.
    whole = _position(images[-1]) - _position(images[0])
    height = heights[-1] - heights[0]
    even = np.abs(gaps - usual).max() <= _UNEVEN * usual
    if even and abs(height - usual * len(gaps)) > _OFF_GRID * usual:
        usual = height / len(gaps)  # positions were rounded: gaps of 0.625 mm read 0.62 or 0.63
    return whole / height * usual


def _assert_same(first: Image, other: Image) -> None:
    for keyword in _SAME:
        ours, theirs = first.header.get(keyword), other.header.get(keyword)
        same = (ours or "") == (theirs or "")
        if not same and keyword in ("PixelSpacing", "ImageOrientationPatient"):
            same = np.allclose(np.asarray(ours, float), np.asarray(theirs, float), atol=_PARALLEL)
        if not same:
            raise InputError(
                f"{other.name} differs from {first.path.name} in {keyword}; expected one scan of "
                "one patient: leave the image out if it is a reference image, or put each series "
                "in a separate folder"
            )


def _position(image: Image) -> NDArray[np.float64]:
    return _floats(image.header, "ImagePositionPatient")


def _floats(dataset: pydicom.Dataset, keyword: str) -> NDArray[np.float64]:
    return np.array([float(value) for value in dataset[keyword].value], dtype=np.float64)
