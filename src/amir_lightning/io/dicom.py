"""DICOM series to a `Volume`: files grouped by series, sorted by geometry, rescaled to units."""

import hashlib
import logging
import warnings
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, get_decoder

from amir_lightning.errors import InputError
from amir_lightning.io.orientation import canonical_volume
from amir_lightning.io.suv import acquisition_time, suvbw_factor
from amir_lightning.io.volume import Volume

log = logging.getLogger(__name__)

_QUANTITY = {"CT": "HU", "PT": "SUV"}  # modalities whose rescaled voxels are a physical quantity
_SUFFIXES = (".dcm", ".ima")  # a file named so that is not DICOM is damaged, not foreign
_SAME = ("PatientID", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "Units")
_PARALLEL = 1e-3  # largest difference of direction cosines and of spacing [mm] in one series
_UNEVEN = 0.05  # relative deviation of a gap that is worth a warning; PET beds overlap to 2 %
_MISSING = 1.5  # a gap this many times the usual one is a missing slice


class Skipped(NamedTuple):
    """Something in the raw folder that does not enter the store, and why."""

    path: Path
    reason: str


class DicomSeries(NamedTuple):
    """Files that share a Series Instance UID, unsorted."""

    uid: str
    modality: str
    patient_id: str
    files: tuple[Path, ...]


def find_dicom_series(files: Iterable[Path]) -> tuple[list[DicomSeries], list[Skipped]]:
    """Read headers and group image files by series; localizers and non-images are set aside.

    Args:
        files: Any files, in any order and with any suffix.

    Returns:
        Series, that with most slices first, and the files that belong to none of them.

    Raises:
        InputError: A file is named as DICOM but cannot be read.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    first: dict[str, pydicom.Dataset] = {}
    skipped: list[Skipped] = []
    for path in sorted(files):
        try:
            header = _read(path, pixels=False)
        except InvalidDicomError as error:
            if path.suffix.lower() in _SUFFIXES:
                raise _unreadable(path, error) from error
            skipped.append(Skipped(path, "not a NIfTI or DICOM image"))
            continue
        sop_class = header.file_meta.get("MediaStorageSOPClassUID") or pydicom.uid.UID("")
        if "Rows" not in header and sop_class.name.endswith("Image Storage"):
            raise _unreadable(path, EOFError("it ends before its image"))
        reason = _unusable(header)
        if reason:
            skipped.append(Skipped(path, reason))
            continue
        uid = str(header.get("SeriesInstanceUID", ""))
        groups[uid].append(path)
        first.setdefault(uid, header)
    series = [
        DicomSeries(uid, str(first[uid].Modality), str(first[uid].get("PatientID") or ""), tuple(g))
        for uid, g in groups.items()
    ]
    return sorted(series, key=lambda one: (-len(one.files), one.uid)), skipped


def read_dicom_series(files: Iterable[Path]) -> Volume:
    """Read one series: HU for CT, body-weight SUV for PET, rescaled values for MR.

    Slices are sorted along the normal of the image plane by their position. A missing slice or an
    uneven gap is warned about. Padding outside the field of view keeps its value below air.

    Raises:
        InputError: A file is truncated or compressed without a codec, or files do not form one
            stack: other size, orientation or patient, or two at the same position.
    """
    paths = sorted(files)
    if not paths:
        raise InputError("a DICOM series without files was given; expected at least one image")
    datasets = {path: _header(path) for path in paths}
    reference = datasets[paths[0]]
    for path in paths[1:]:
        _assert_same(reference, datasets[path], paths[0], path)

    row, column = np.split(_floats(reference, "ImageOrientationPatient"), 2)
    normal = np.cross(row, column)
    positions = {path: _floats(datasets[path], "ImagePositionPatient") for path in paths}
    paths.sort(key=lambda path: float(positions[path] @ normal))
    heights = np.array([positions[path] @ normal for path in paths])
    step = _slice_step(paths, heights, [positions[path] for path in paths], reference, normal)

    modality = str(reference.Modality)
    units = _QUANTITY.get(modality, "a.u.")
    stack = np.empty((len(paths), reference.Rows, reference.Columns), dtype=np.float32)
    digest = hashlib.sha256()
    for index, path in enumerate(paths):
        stack[index] = _pixels(path)
        digest.update(path.read_bytes())
    if modality == "PT":
        timed = [d for d in datasets.values() if d.get("AcquisitionTime")]
        stack *= suvbw_factor(min(timed, key=acquisition_time) if timed else reference)

    row_spacing, column_spacing = _floats(reference, "PixelSpacing")
    affine = np.eye(4)
    affine[:3, 0] = row * column_spacing
    affine[:3, 1] = column * row_spacing
    affine[:3, 2] = step
    affine[:3, 3] = positions[paths[0]]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # DICOM's LPS world to NIfTI's RAS+
    source = f"dicom {modality} {len(paths)} files sha256:{digest.hexdigest()}"
    return canonical_volume(stack.transpose(2, 1, 0), affine, units, source, str(paths[0].parent))


def _pixels(path: Path) -> NDArray[np.float64]:
    """Values of one slice in rescaled units, (Y, X)."""
    dataset = _read(path, pixels=True)
    syntax = dataset.file_meta.get("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian)
    if syntax.is_compressed and syntax.is_encapsulated and not get_decoder(syntax).is_available:
        raise InputError(
            f"{path} is compressed with {syntax.name} ({syntax}), for which no codec is installed; "
            "type `pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg`"
        )
    try:
        stored = dataset.pixel_array
    except Exception as error:  # codecs raise anything
        raise _unreadable(path, error) from error
    # MONOCHROME1 is how to show a value, not another value: HU and Bq/mL stay as they are. Only
    # where the value has no unit is it mirrored, so that bright means high as everywhere else.
    if dataset.PhotometricInterpretation == "MONOCHROME1" and dataset.Modality not in _QUANTITY:
        bits, signed = dataset.BitsStored, dataset.PixelRepresentation == 1
        stored = (-1 if signed else (1 << bits) - 1) - stored.astype(np.int64)
    return np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)


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
        return normal * float(thickness)
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


def _unusable(header: pydicom.Dataset) -> str | None:
    """Why an image file cannot be a slice of a volume, or None."""
    if "Rows" not in header or "Modality" not in header:
        return "DICOM without an image"
    if "LOCALIZER" in (header.get("ImageType") or ()):
        return "localizer"
    if header.get("SamplesPerPixel", 1) != 1:
        return "colour image"
    if int(header.get("NumberOfFrames") or 1) > 1:
        return "multi-frame image (convert it to NIfTI)"
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if not header.get(keyword):
            return f"image without {keyword}"
    return None


def _header(path: Path) -> pydicom.Dataset:
    try:
        header = _read(path, pixels=False)
    except InvalidDicomError as error:
        raise _unreadable(path, error) from error
    reason = _unusable(header)
    if reason:
        raise InputError(f"{path} cannot be a slice: {reason}; leave it out of the series")
    return header


def _read(path: Path, *, pixels: bool) -> pydicom.Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # odd values in tags that are not used
            return pydicom.dcmread(path, stop_before_pixels=not pixels)
    except InvalidDicomError:
        raise
    except Exception as error:  # a damaged file makes the parser fail anywhere
        raise _unreadable(path, error) from error


def _floats(dataset: pydicom.Dataset, keyword: str) -> NDArray[np.float64]:
    return np.array([float(value) for value in dataset[keyword].value], dtype=np.float64)


def _unreadable(path: Path, error: BaseException) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"{path} is not a readable DICOM image ({reason}); it may be truncated: "
        "copy it again or leave it out"
    )
