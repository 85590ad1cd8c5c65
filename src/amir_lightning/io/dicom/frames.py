"""List and load the images of a DICOM file; frames of enhanced files become classic images."""

import re
from copy import copy
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pydicom
from pydicom.uid import (
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

from amir_lightning.io.dicom.codecs import decode_pixels
from amir_lightning.io.dicom.file import (
    read_dataset,
    read_header,
    read_image,
    read_whole_header,
    unreadable,
)
from amir_lightning.io.dicom.kind import reason_to_skip

_CLASSIC = {
    EnhancedCTImageStorage: CTImageStorage,
    EnhancedMRImageStorage: MRImageStorage,
    LegacyConvertedEnhancedCTImageStorage: CTImageStorage,
    LegacyConvertedEnhancedMRImageStorage: MRImageStorage,
    LegacyConvertedEnhancedPETImageStorage: PositronEmissionTomographyImageStorage,
}
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
# Functional groups whose attributes lie at the root of a classic image. Not listed are groups that
# refer to other images or nest deeper, and private ones: they may hold a copy with other values.
_AT_ROOT = {
    "CTExposureSequence",
    "CTImageFrameTypeSequence",
    "CTReconstructionSequence",
    "CardiacSynchronizationSequence",
    "FrameAnatomySequence",
    "FrameContentSequence",
    "FrameVOILUTSequence",
    "MRAveragesSequence",
    "MRDiffusionSequence",
    "MREchoSequence",
    "MRImageFrameTypeSequence",
    "MRTimingAndRelatedParametersSequence",
    "PETFrameTypeSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
    "TemporalPositionSequence",
}
# Groups for attributes that a converter could not assign: they never replace another group's.
_UNASSIGNED = {
    "UnassignedPerFrameConvertedAttributesSequence",
    "UnassignedSharedConvertedAttributesSequence",
}
# Attributes of the file as a whole, which have no meaning for a single image.
_OF_FILE = {
    *_GROUPS,
    "ConcatenationFrameOffsetNumber",
    "ConcatenationUID",
    "DimensionIndexSequence",
    "DimensionOrganizationSequence",
    "DimensionOrganizationType",
    "FrameIncrementPointer",
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "NumberOfFrames",
    "RepresentativeFrameNumber",
    "SOPInstanceUIDOfConcatenationSource",
}
# Attributes that have another name in a classic image.
_RENAMED = {
    "FrameType": "ImageType",
    "EffectiveEchoTime": "EchoTime",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
}


def classic_class(sop_class: UID) -> UID:
    """SOP class of a single frame of an enhanced class; other classes are returned unchanged."""
    return _CLASSIC.get(sop_class, sop_class)


class Image(NamedTuple):
    """One image in a file.

    Attributes:
        path: The file.
        frame: Number of the frame from 0, or None if the file is one image.
        header: Tags that identify the series, place the image and define its values.
    """

    path: Path
    frame: int | None
    header: pydicom.Dataset

    @property
    def name(self) -> str:
        """Name of the image in messages."""
        return str(self.path) if self.frame is None else f"{self.path}, frame {self.frame + 1},"


def find_images(path: Path, *, with_pixels: bool = False) -> list[Image]:
    """List the images of a file.

    Args:
        path: The file.
        with_pixels: Also read the encoded pixels of a file that holds one image, so that it is
            opened once. Frames of an enhanced file are always decoded one by one, later.

    Raises:
        NotDicomError: The file is not DICOM.
        InputError: It is DICOM, but cannot be read.
    """
    header = read_image(path) if with_pixels else read_header(path)
    if header.get("SOPClassUID") not in _CLASSIC or not all(name in header for name in _GROUPS):
        return [Image(path, None, header)]
    if "PixelData" in header:
        del header.PixelData  # or every frame would hold the pixels of all
    try:
        count = len(header.PerFrameFunctionalGroupsSequence)
        if count != int(header.get("NumberOfFrames") or 1):
            raise ValueError(f"{count} frames are described")
        return [Image(path, index, _classic(header, index)) for index in range(count)]
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise unreadable(path, "describes its frames incompletely") from error


def load_image(path: Path, frame: int | None, *, whole: bool) -> pydicom.Dataset:
    """Load an image with its pixels, which are decoded only if it is a frame.

    Args:
        path: The file.
        frame: Number of the frame from 0, or None if the file is one image.
        whole: Load all tags, or only those of `read_image`.

    Raises:
        InputError: The file cannot be read.
    """
    if frame is None:
        dataset = read_dataset(path) if whole else read_image(path)
        if reason_to_skip(dataset):
            raise unreadable(path, "has another header with its pixels than without")
        return dataset
    image = _frame(path, frame)
    stored = decode_pixels(
        path, frame, image.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    )
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.add_new("PixelData", "OW", stored.astype(stored.dtype.newbyteorder("<")).tobytes())
    return image


def load_whole_header(path: Path, frame: int | None) -> pydicom.Dataset:
    """Load all tags of an image without decoding its pixels.

    Raises:
        InputError: The file cannot be read.
    """
    return read_dataset(path) if frame is None else _frame(path, frame)


def _frame(path: Path, frame: int) -> pydicom.Dataset:
    state = path.stat()
    return _classic(_whole_header(path, (state.st_mtime_ns, state.st_size)), frame)


@lru_cache(maxsize=1)
def _whole_header(path: Path, _state: tuple[int, int]) -> pydicom.Dataset:
    """Header of an enhanced file, cached while its frames are read one after the other."""
    return read_whole_header(path)


def _classic(header: pydicom.Dataset, index: int) -> pydicom.Dataset:
    """Header of one frame as a classic image; the SOP class stays that of the file.

    Attributes of the frame replace those shared by all frames, which replace those of the file.
    """
    image = pydicom.Dataset()
    image.file_meta = pydicom.dataset.FileMetaDataset(header.file_meta)
    for element in header:
        if element.keyword not in _OF_FILE:
            image.add(copy(element))  # a change to one frame must not change the others
    shared, frames = (header[name].value for name in _GROUPS)
    for groups in (*shared[:1], frames[index]):
        for macro in groups:
            if macro.keyword == "RealWorldValueMappingSequence":
                image.add(copy(macro))
            if macro.VR != "SQ" or len(macro.value) != 1:
                continue
            for element in macro.value[0]:
                public = macro.keyword in _AT_ROOT and not element.tag.is_private
                if public or (macro.keyword in _UNASSIGNED and element.tag not in image):
                    image.add(copy(element))
    for theirs, ours in _RENAMED.items():
        if theirs in image:
            setattr(image, ours, image[theirs].value)
    moment = str(image.get("FrameAcquisitionDateTime") or "")
    if moment and "AcquisitionTime" not in image:
        image.AcquisitionDate, image.AcquisitionTime = moment[:8], re.split("[+-]", moment[8:])[0]
    image.InstanceNumber = index + 1
    return image
