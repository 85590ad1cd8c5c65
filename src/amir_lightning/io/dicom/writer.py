"""Write a restored series as derived DICOM images; `derived` makes their headers.

This module maps restored values to stored ones and writes the files.
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

_OF_DISPLAY = (
    "WindowCenter",
    "WindowWidth",
    "WindowCenterWidthExplanation",
    "VOILUTFunction",
    "VOILUTSequence",
)
_PADDING_BELOW_HU = -1500.0  # padding is -2000 or -3024; noise in air stays above this
_LARGEST_MAPPED = (1 << 16) - 1  # largest value for the two integer tags in _MAPPED
_MAPPED = (
    "RealWorldValueFirstValueMapped",
    "RealWorldValueLastValueMapped",
    "DoubleFloatRealWorldValueFirstValueMapped",
    "DoubleFloatRealWorldValueLastValueMapped",
)


def check_dicom_series(scan: DicomScan) -> None:
    """Check before the restoration that a series can be written back.

    Raises:
        InputError: A slice uses a lookup table, or its header cannot be written again.
    """
    derived = DerivedSeries("", "", generate_uid(), 0, datetime.now())
    for index in range(len(scan.files)):
        _encoded(scan.header(index), index, scan, derived, np.zeros(0, np.uint16))


def write_dicom_series(
    scan: DicomScan,
    voxels: Voxels,
    folder: Path,
    *,
    description: str,
    derivation: str,
    own_scale: bool = False,
) -> list[Path]:
    """Write one file per slice, named ``0001.dcm`` and so on by position.

    Study, patient, geometry, frame of reference and display window are copied from the source. The
    series and its instances are new and refer to the source's files and frames. Image Type is
    DERIVED, SECONDARY. This holds for PET, too, although its module only allows PRIMARY: a computed
    image must not pass for a measured one.

    CT and MR values are rounded to the source's steps, and CT padding keeps its stored value. PET
    values return to the source's units, and each slice gets the finest slope that its values
    allow. The vendors' private factors and times are kept, so that every reader computes SUV and
    Bq/mL as it does for the source.

    Args:
        scan: The source.
        voxels: Restored voxels in the scan's units, canonical (Z, Y, X).
        folder: An empty or new folder.
        description: Series Description, shortened to 64 characters.
        derivation: Derivation Description.
        own_scale: The values are no image of the scan, such as an uncertainty: each slice gets the
            finest slope, and neither padding nor display window are copied.

    Returns:
        The files.

    Raises:
        InputError: The folder is not empty, or as in `check_dicom_series`.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; type another output=<folder>")
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    number = int(scan.header(0).get("SeriesNumber") or 0) + 1000
    derived = DerivedSeries(description, derivation, generate_uid(), number, datetime.now())
    written, clipped = [], 0
    try:
        for index, source in enumerate(scan.files):
            dataset = scan.dataset(index)
            image = scan.unorient(np.asarray(voxels[scan.placement.where(index)], np.float64))
            if own_scale:
                for keyword in _OF_DISPLAY:
                    if keyword in dataset:
                        delattr(dataset, keyword)
            stored, lost = _stored(dataset, source, image / scan.scale, own_scale)
            clipped += lost
            path = folder / f"{index + 1:04d}.dcm"
            path.write_bytes(_encoded(dataset, index, scan, derived, stored))
            written.append(path)
    except InputError:
        for path in written:
            path.unlink()
        if is_new:
            folder.rmdir()
        raise
    if clipped:
        log.warning(
            "clipped %s beyond what the stored type can hold", counted("restored value", clipped)
        )
    return written


def _encoded(
    source: Dataset,
    index: int,
    scan: DicomScan,
    derived: DerivedSeries,
    stored: NDArray[np.integer],
) -> bytes:
    """Encode a derived image as the content of a DICOM file.

    Encoding in memory separates errors of the header from errors of the disk, which pydicom would
    raise alike. Copied tags may be as damaged as in the source.
    """
    if source.Modality != "PT" and source.get("ModalityLUTSequence"):
        raise InputError(
            f"{scan.files[index]} maps its values by a lookup table, which has no inverse; type "
            "format=nifti"
        )
    file = BytesIO()
    try:
        dataset = derive_header(source, index, scan.frames[index], derived)
        _set_pixels(dataset, stored)
        dataset.save_as(file, enforce_file_format=True)
    except MemoryError:
        raise
    except Exception as error:  # pydicom can raise anything
        raise InputError(
            f"{scan.files[index]} has a header that cannot be written again "
            f"({type(error).__name__}); type format=nifti"
        ) from error
    return file.getvalue()


def _stored(
    dataset: Dataset, path: Path, values: NDArray[np.float64], own_scale: bool
) -> tuple[NDArray[np.integer], int]:
    """Map rescaled values to stored ones; returns them and the number of clipped values."""
    original = stored_pixels(dataset, path)
    signed, dtype = dataset.PixelRepresentation == 1, original.dtype
    if dataset.Modality == "PT" and not signed and values.min() < 0:
        # The PET module allows no intercept, so negative values need a signed type.
        signed, dtype = True, np.dtype(f"i{dtype.itemsize}")
        dataset.PixelRepresentation = 1
    low, high = _limits(int(dataset.BitsStored), signed)
    keep = np.zeros(original.shape, bool) if own_scale else _padding(dataset, path, original)
    if dataset.Modality == "PT" or own_scale:
        # Each PET slice has its own slope, as fine as its largest value allows.
        reach = max(float(values.max()), -float(values.min()) if signed else 0.0)
        _set_slope(dataset, _decimal(reach / high), (low, high))
    slope = float(dataset.get("RescaleSlope") or 1)
    intercept = float(dataset.get("RescaleIntercept") or 0)
    rounded = np.rint((values - intercept) / slope)
    # MONOCHROME1 values are mirrored about the highest value, which more bits would change.
    dark = dataset.PhotometricInterpretation == "MONOCHROME1"
    if _beyond(rounded, low, high, keep) and not dark:
        dataset.BitsStored = 8 * dtype.itemsize
        low, high = _limits(dataset.BitsStored, signed)
    lost = _beyond(rounded, low, high, keep)
    clipped = np.clip(rounded, low, high)
    padding = padding_value(dataset)
    if dataset.Modality != "CT" or own_scale:  # padded pixels are restored like all others
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
            if keyword in dataset:
                delattr(dataset, keyword)
    elif padding is not None and padding * slope + intercept > AIR_HU:
        # A tissue value that equals the padding value would be read as padding.
        clipped[clipped == padding] += 1 if padding < high else -1
    stored = mirrored(clipped.astype(np.int64), dataset)
    return np.where(keep, original, stored).astype(dtype), lost


def _limits(bits: int, signed: bool) -> tuple[int, int]:
    """Smallest and largest integer of a number of bits."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def _beyond(values: NDArray[np.float64], low: int, high: int, keep: NDArray[np.bool_]) -> int:
    """Number of values outside [low, high], not counting the pixels to keep."""
    return int((((values < low) | (values > high)) & ~keep).sum())


def _set_slope(dataset: Dataset, slope: str, reach: tuple[int, int]) -> None:
    """Set the rescale slope, and adapt the real world value mappings to it.

    Args:
        dataset: Header; modified.
        slope: New slope, as a decimal string.
        reach: Smallest and largest stored value.
    """
    old_slope = float(dataset.get("RescaleSlope") or 0)
    old_intercept = float(dataset.get("RescaleIntercept") or 0)
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, "0"
    if "ModalityLUTSequence" in dataset:
        del dataset.ModalityLUTSequence
    mappings = []
    # A copy, because the frames of a file share the items at its root.
    for item in deepcopy(dataset.get("RealWorldValueMappingSequence")) or ():
        if old_slope and "RealWorldValueSlope" in item and "RealWorldValueIntercept" in item:
            factor = item.RealWorldValueSlope / old_slope  # rescaled to real world
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
    """Mask of the pixels outside the field of view of a CT."""
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
        if keyword in dataset.file_meta:  # pydicom fills in its own
            delattr(dataset.file_meta, keyword)
    dataset.preamble = bytes(128)
    dataset.BitsAllocated = 8 * stored.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1  # the source may have used the upper bits
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in dataset:
            delattr(dataset, keyword)
    data = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset.add_new("PixelData", "OW", data + bytes(len(data) % 2))


def _decimal(value: float) -> str:
    """Decimal string (DS) of at most 16 characters that is not below the value."""
    if value <= 0:
        return "1"
    text = f"{value * (1 + 1e-9):.9e}"
    assert len(text) <= 16
    return text
