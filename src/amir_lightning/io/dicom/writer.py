"""A restored series: derived DICOM images that a viewer shows in the place of their source.

`derived` makes their headers; here are their voxels and the mapping of these to values.
"""

import logging
from copy import deepcopy
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.derived import DerivedSeries, derive_header
from amir_lightning.io.dicom.pixels import (
    AIR_HU,
    mirrored,
    padding_value,
    rescaled_pixels,
    stored_pixels,
)
from amir_lightning.io.dicom.scan import DicomScan
from amir_lightning.io.nifti.writer import Voxels
from amir_lightning.system.wording import counted

log = logging.getLogger(__name__)

_PADDING_BELOW_HU = -1500.0  # scanners fill with -2000 or -3024; noise in air stays above
_LARGEST_MAPPED = (1 << 16) - 1  # of the integer pair among these
_MAPPED = (
    "RealWorldValueFirstValueMapped",
    "RealWorldValueLastValueMapped",
    "DoubleFloatRealWorldValueFirstValueMapped",
    "DoubleFloatRealWorldValueLastValueMapped",
)


def check_dicom_series(scan: DicomScan) -> None:
    """Refuse a series that cannot be written back, before it is restored.

    Raises:
        InputError: A slice maps its values by a table, or its header cannot be written again.
    """
    marks = DerivedSeries("", "", generate_uid(), 0, datetime.now())
    for index, path in enumerate(scan.files):
        header = scan.header(index)
        if header.Modality != "PT" and header.get("ModalityLUTSequence"):
            raise InputError(
                f"{path} maps its values by a lookup table, which has no inverse; type format=nifti"
            )
        _encoded(header, index, scan, marks, np.zeros(0, np.uint16))


def write_dicom_series(
    scan: DicomScan, voxels: Voxels, folder: Path, *, description: str, derivation: str
) -> list[Path]:
    """Write one file per slice of the source, ``0001.dcm`` by position.

    Study, patient, geometry, frame of reference and display window are the source's; series and
    instances are new and refer to it, by file and frame. Image Type is DERIVED, SECONDARY, also for
    PET, whose module knows PRIMARY alone: a computed image should not pass for a measured one. CT
    and MR values are rounded to the source's steps. PET goes back to its units, each slice with the
    finest slope that its values allow; the vendors' private factors and times stay, so that every
    reader finds the SUV and Bq/mL that it finds with the source. Padding outside the field of view
    of a CT keeps its stored value.

    Args:
        scan: The source.
        voxels: Restored voxels in the scan's units, canonical (Z, Y, X).
        folder: An empty or new folder.
        description: Series Description, shortened to 64 characters.
        derivation: Derivation Description: what was done.

    Returns:
        The files.

    Raises:
        InputError: The folder holds something, or as `check_dicom_series`.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; type another output=<folder>")
    check_dicom_series(scan)
    folder.mkdir(parents=True, exist_ok=True)
    number = int(scan.header(0).get("SeriesNumber") or 0) + 1000
    marks = DerivedSeries(description, derivation, generate_uid(), number, datetime.now())
    written, clipped = [], 0
    for index, source in enumerate(scan.files):
        dataset = scan.dataset(index)
        image = scan.unorient(np.asarray(voxels[scan.placement.where(index)], np.float64))
        stored, lost = _stored(dataset, source, image / scan.scale)
        clipped += lost
        path = folder / f"{index + 1:04d}.dcm"
        path.write_bytes(_encoded(dataset, index, scan, marks, stored))
        written.append(path)
    if clipped:
        log.warning(
            "clipped %s beyond what the stored type can hold", counted("restored value", clipped)
        )
    return written


def _encoded(
    source: Dataset, index: int, scan: DicomScan, marks: DerivedSeries, stored: NDArray[np.integer]
) -> bytes:
    """A derived image as a file; what is copied is as damaged as it was in the source.

    Encoded before it is written: pydicom repeats errors of the disk as its own.
    """
    file = BytesIO()
    try:
        dataset = derive_header(source, index, scan.frames[index], marks)
        _set_pixels(dataset, stored)
        dataset.save_as(file, enforce_file_format=True)
    except MemoryError:
        raise
    except Exception as error:  # pydicom raises anything
        raise InputError(
            f"{scan.files[index]} has a header that cannot be written again "
            f"({type(error).__name__}); type format=nifti"
        ) from error
    return file.getvalue()


def _stored(
    dataset: Dataset, path: Path, values: NDArray[np.float64]
) -> tuple[NDArray[np.integer], int]:
    """Stored values for rescaled ones, and how many had to be clipped."""
    original = stored_pixels(dataset, path)
    signed, dtype = dataset.PixelRepresentation == 1, original.dtype
    if dataset.Modality == "PT" and not signed and values.min() < 0:
        # The standard knows no intercept in PET, so that a sign has to hold what is below zero.
        signed, dtype = True, np.dtype(f"i{dtype.itemsize}")
        dataset.PixelRepresentation = 1
    low, high = _limits(int(dataset.BitsStored), signed)
    keep = _padding(dataset, path, original)
    if dataset.Modality == "PT":
        # The slope of PET belongs to a slice: as fine as its largest value allows.
        reach = max(float(values.max()), -float(values.min()) if signed else 0.0)
        _set_slope(dataset, _decimal(reach / high), (low, high))
    slope = float(dataset.get("RescaleSlope") or 1)
    intercept = float(dataset.get("RescaleIntercept") or 0)
    rounded = np.rint((values - intercept) / slope)
    dark = dataset.PhotometricInterpretation == "MONOCHROME1"  # mirrored at its highest value
    if _beyond(rounded, low, high, keep) and not dark:
        dataset.BitsStored = 8 * dtype.itemsize
        low, high = _limits(dataset.BitsStored, signed)
    lost = _beyond(rounded, low, high, keep)
    clipped = np.clip(rounded, low, high)
    padding = padding_value(dataset)
    if dataset.Modality != "CT":  # what was padding is restored like all else
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
            if keyword in dataset:
                delattr(dataset, keyword)
    elif padding is not None and padding * slope + intercept > AIR_HU:
        # Tissue that happens to have the value of padding would be read as padding.
        clipped[clipped == padding] += 1 if padding < high else -1
    stored = mirrored(clipped.astype(np.int64), dataset)
    return np.where(keep, original, stored).astype(dtype), lost


def _limits(bits: int, signed: bool) -> tuple[int, int]:
    """Smallest and largest value of so many bits."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def _beyond(values: NDArray[np.float64], low: int, high: int, keep: NDArray[np.bool_]) -> int:
    """How many values that are written lie beyond what the bits can hold."""
    return int((((values < low) | (values > high)) & ~keep).sum())


def _set_slope(dataset: Dataset, slope: str, reach: tuple[int, int]) -> None:
    """Give the stored values another slope, and all that maps stored values with it."""
    old_slope = float(dataset.get("RescaleSlope") or 0)
    old_intercept = float(dataset.get("RescaleIntercept") or 0)
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, "0"
    if "ModalityLUTSequence" in dataset:
        del dataset.ModalityLUTSequence
    mappings = []
    # A copy: all frames of a file share what lies at its root.
    for item in deepcopy(dataset.get("RealWorldValueMappingSequence")) or ():
        if old_slope and "RealWorldValueSlope" in item and "RealWorldValueIntercept" in item:
            factor = item.RealWorldValueSlope / old_slope  # from rescaled to real world values
            item.RealWorldValueSlope = factor * float(slope)
            item.RealWorldValueIntercept -= factor * old_intercept
            for keyword in _MAPPED:
                if keyword in item:
                    delattr(item, keyword)
            whole = reach[1] <= _LARGEST_MAPPED
            vr = ("SS" if reach[0] < 0 else "US") if whole else "FD"
            for keyword, value in zip(_MAPPED[:2] if whole else _MAPPED[2:], reach, strict=True):
                item.add_new(keyword, vr, value)
            mappings.append(item)
    if mappings:
        dataset.RealWorldValueMappingSequence = Sequence(mappings)
    elif "RealWorldValueMappingSequence" in dataset:
        del dataset.RealWorldValueMappingSequence


def _padding(dataset: Dataset, path: Path, original: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels outside the field of view."""
    padding = padding_value(dataset)
    outside = np.zeros(original.shape, bool)
    if dataset.Modality == "CT":
        outside |= rescaled_pixels(dataset, path) < _PADDING_BELOW_HU
        if padding is not None:
            outside |= original == padding
    return outside


def _set_pixels(dataset: Dataset, stored: NDArray[np.integer]) -> None:
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for keyword in ("ImplementationClassUID", "ImplementationVersionName"):
        if keyword in dataset.file_meta:  # pydicom names itself
            delattr(dataset.file_meta, keyword)
    dataset.preamble = bytes(128)
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1  # some files keep their values in the upper bits
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in dataset:
            delattr(dataset, keyword)
    data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset.add_new("PixelData", "OW", data + bytes(len(data) % 2))


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters, not below the value."""
    if value <= 0:
        return "1"
    text = f"{value * (1 + 1e-9):.9e}"
    assert len(text) <= 16
    return text
