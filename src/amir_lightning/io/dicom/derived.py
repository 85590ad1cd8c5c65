"""Header of a derived image: a copy of its source's header, marked as computed from it.

The attributes follow DICOM PS3.3: General Image (C.7.6.1), SOP Common (C.12.1) and the image
modules of CT, MR and PET; PS3.16 CID 7203 and 7202 name derivation and purpose.
"""

from datetime import datetime
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from amir_lightning.io.dicom.frames import classic_class
from amir_lightning.io.dicom.private import keep_known_private
from amir_lightning.system.versions import version_of

_LONGEST = 64  # characters of a DICOM long string (LO)

# Attributes of the source's pixels, encoding or signature, which do not hold for restored pixels.
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
    "HistogramSequence",
    "InstanceCreatorUID",
    "PixelDataProviderURL",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
)


class DerivedSeries(NamedTuple):
    """Attributes that all images of a derived series share.

    Attributes:
        description: Series Description, shortened to 64 characters.
        derivation: Derivation Description.
        series_uid: Series Instance UID.
        series_number: Series Number.
        now: Time of creation.
    """

    description: str
    derivation: str
    series_uid: str
    series_number: int
    now: datetime


def derive_header(
    source: Dataset, index: int, frame: int | None, derived: DerivedSeries
) -> Dataset:
    """Turn the header of a slice into the header of its restored image.

    Args:
        source: Whole header of the slice; modified.
        index: Number of the slice in the series, from 0.
        frame: Number of the source's frame from 0, or None if its file is one image.
        derived: Attributes of the derived series.
    """
    dataset = _native(source)
    _mark_derived(dataset, frame, derived)
    dataset.SOPClassUID = classic_class(dataset.SOPClassUID)
    dataset.SeriesInstanceUID = derived.series_uid
    dataset.SeriesNumber = derived.series_number
    dataset.InstanceNumber = index + 1
    dataset.SOPInstanceUID = generate_uid()
    return dataset


def _native(dataset: Dataset) -> Dataset:
    """Convert a dataset to little endian; pydicom writes values in the order it has read them."""
    if dataset.original_encoding[1] is not False:
        return dataset
    turned = Dataset()
    for element in dataset:
        if element.VR == "OW" and element.keyword != "PixelData":
            element.value = np.frombuffer(element.value, ">u2").astype("<u2").tobytes()
        turned.add(element)
    turned.file_meta = dataset.file_meta
    return turned


def _mark_derived(dataset: Dataset, frame: int | None, derived: DerivedSeries) -> None:
    """Record that the image was computed, from which source, when and by which software."""
    source = Dataset()
    source.ReferencedSOPClassUID = dataset.SOPClassUID
    source.ReferencedSOPInstanceUID = dataset.SOPInstanceUID
    if frame is not None:
        source.ReferencedFrameNumber = frame + 1
    source.PurposeOfReferenceCodeSequence = Sequence(
        [_code("121322", "DCM", "Source image for image processing operation")]
    )
    for keyword in _STALE:
        if keyword in dataset:
            delattr(dataset, keyword)
    for group in range(0x6000, 0x6020, 2):  # overlays, which were drawn on the source
        for element in list(dataset.group_dataset(group)):
            del dataset[element.tag]
    keep_known_private(dataset)
    dataset.SourceImageSequence = Sequence([source])
    dataset.DerivationDescription = derived.derivation[:1024]
    dataset.DerivationCodeSequence = Sequence(
        [_code("113062", "DCM", "Pixel by pixel calculation")]
    )
    kinds = [str(kind) for kind in dataset.get("ImageType") or ()]
    dataset.ImageType = ["DERIVED", "SECONDARY", *kinds[2:]]
    dataset.SeriesDescription = derived.description[:_LONGEST]
    dataset.InstanceCreationDate = dataset.ContentDate = f"{derived.now:%Y%m%d}"
    dataset.InstanceCreationTime = dataset.ContentTime = f"{derived.now:%H%M%S.%f}"
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
