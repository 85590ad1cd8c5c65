"""A restored series: derived DICOM images that a viewer shows in the place of their source.

The attributes follow DICOM PS3.3: General Image (C.7.6.1), SOP Common (C.12.1) and the image
modules of CT, MR and PET; PS3.16 CID 7203 and 7202 name derivation and purpose.
"""

import logging
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from amir_lightning.errors import InputError
from amir_lightning.io.dicom_pixels import (
    mirrored,
    padding_value,
    rescaled_pixels,
    stored_pixels,
)
from amir_lightning.io.dicom_scan import DicomScan
from amir_lightning.io.nifti_writer import Voxels
from amir_lightning.versions import version_of

log = logging.getLogger(__name__)

_PADDING_BELOW_HU = -1500.0  # scanners fill with -2000 or -3024; noise in air stays above
_LONGEST = 64  # characters of a DICOM long string

# What speaks of the source's pixels, its bytes or its signature, and not of the restored ones.
_STALE = (
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "IconImageSequence",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "OriginalAttributesSequence",
    "ReferencedImageSequence",
    "SourceImageSequence",
    "DerivationCodeSequence",
    "ReferencedPerformedProcedureStepSequence",
    "RequestAttributesSequence",
)


def write_dicom_series(
    scan: DicomScan, voxels: Voxels, folder: Path, *, description: str, derivation: str
) -> list[Path]:
    """Write one file per slice of the source, ``0001.dcm`` by position.

    Study, patient, geometry, frame of reference and display window are the source's; series and
    instances are new and refer to it. Image Type is DERIVED, SECONDARY, also for PET, whose module
    knows PRIMARY alone: a computed image should not pass for a measured one. CT and MR values are
    rounded to the source's steps. PET goes back to its units, each slice with the finest slope that
    its values allow. Padding outside the
    field of view keeps its stored value.

    Args:
        scan: The source.
        voxels: Restored voxels in the scan's units, canonical (Z, Y, X).
        folder: An empty or new folder.
        description: Series Description, shortened to 64 characters.
        derivation: Derivation Description: what was done.

    Returns:
        The files.

    Raises:
        InputError: The folder holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; type another output=<folder>")
    folder.mkdir(parents=True, exist_ok=True)
    series_uid, now = generate_uid(), datetime.now()
    number = int(scan.dataset(0).get("SeriesNumber") or 0) + 1000
    written, clipped = [], 0
    for index, source in enumerate(scan.files):
        dataset = scan.dataset(index)
        image = scan.unorient(np.asarray(voxels[scan.placement.where(index)], np.float64))
        stored, lost = _stored(dataset, source, image / scan.scale)
        clipped += lost
        path = folder / f"{index + 1:04d}.dcm"
        try:
            dataset = _native(dataset)
            _mark_derived(dataset, description, derivation, now)
            dataset.SeriesInstanceUID = series_uid
            dataset.SeriesNumber = number
            dataset.InstanceNumber = index + 1
            dataset.SOPInstanceUID = generate_uid()
            _set_pixels(dataset, stored)
            dataset.save_as(path, enforce_file_format=True)
        except Exception as error:  # what is copied from the source is as damaged as there
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
                raise  # the disk's, not the parser's
            raise InputError(
                f"{source} has a header that cannot be written again ({type(error).__name__}); "
                "type format=nifti"
            ) from error
        written.append(path)
    if clipped:
        log.warning(
            "%d restored values lie beyond what the stored type can hold and were clipped", clipped
        )
    return written


def _native(dataset: Dataset) -> Dataset:
    """The same in little endian; pydicom does not turn what it has read."""
    if dataset.original_encoding[1] is not False:
        return dataset
    turned = Dataset()
    for element in dataset:
        if element.VR == "OW" and element.keyword != "PixelData":
            element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()
        turned.add(element)
    turned.file_meta = dataset.file_meta
    return turned


def _stored(
    dataset: Dataset, path: Path, values: NDArray[np.float64]
) -> tuple[NDArray[np.integer], int]:
    """Stored values for rescaled ones, and how many had to be clipped."""
    original = stored_pixels(dataset, path)
    signed = dataset.PixelRepresentation == 1
    bits = int(dataset.BitsStored)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if dataset.Modality == "PT":
        # The slope of PET belongs to a slice: as fine as its largest value allows.
        dataset.RescaleIntercept = "0"
        reach = max(float(values.max()), -float(values.min()) if signed else 0.0)
        dataset.RescaleSlope = _decimal(reach / high)
        raw = values / float(dataset.RescaleSlope)
    elif "ModalityLUTSequence" in dataset:
        raise InputError(
            f"{path} maps its values by a lookup table, which has no inverse; type format=nifti"
        )
    else:
        slope = float(dataset.get("RescaleSlope") or 1)
        raw = (values - float(dataset.get("RescaleIntercept") or 0)) / slope
    rounded = np.rint(raw)
    clipped = np.clip(rounded, low, high)
    stored = mirrored(clipped.astype(np.int64), dataset)
    keep = _padding(dataset, path, original)
    stored = np.where(keep, original, stored).astype(original.dtype)
    return stored, int(((rounded != clipped) & ~keep).sum())


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
    dataset.add_new("PixelData", "OW", stored.astype(stored.dtype.newbyteorder("<")).tobytes())


def _mark_derived(dataset: Dataset, description: str, derivation: str, now: datetime) -> None:
    """Say that the image was computed, from what, when and by what."""
    source = Dataset()
    source.ReferencedSOPClassUID = dataset.SOPClassUID
    source.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    source.PurposeOfReferenceCodeSequence = Sequence(
        [_code("121322", "DCM", "Source image for image processing operation")]
    )
    for keyword in _STALE:
        if keyword in dataset:
            delattr(dataset, keyword)
    for group in range(0x6000, 0x6020, 2):  # overlays were drawn on the source
        for element in list(dataset.group_dataset(group)):
            del dataset[element.tag]
    dataset.remove_private_tags()
    dataset.SourceImageSequence = Sequence([source])
    dataset.DerivationDescription = derivation[:1024]
    dataset.DerivationCodeSequence = Sequence(
        [_code("113062", "DCM", "Pixel by pixel calculation")]
    )
    kinds = [str(kind) for kind in dataset.get("ImageType") or ()]
    dataset.ImageType = ["DERIVED", "SECONDARY", *kinds[2:]]
    dataset.SeriesDescription = description[:_LONGEST]
    dataset.InstanceCreationDate = dataset.ContentDate = f"{now:%Y%m%d}"
    dataset.InstanceCreationTime = dataset.ContentTime = f"{now:%H%M%S.%f}"
    dataset.BurnedInAnnotation = "NO"
    equipment = Dataset()
    equipment.Manufacturer = "amir_lightning"
    equipment.SoftwareVersions = version_of("amir-lightning")
    equipment.PurposeOfReferenceCodeSequence = Sequence(
        [_code("109102", "DCM", "Processing Equipment")]
    )
    earlier = list(dataset.get("ContributingEquipmentSequence") or ())
    dataset.ContributingEquipmentSequence = Sequence([*earlier, equipment])


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters, not below the value."""
    if value <= 0:
        return "1"
    text = f"{value * (1 + 1e-9):.9e}"
    assert len(text) <= 16
    return text
