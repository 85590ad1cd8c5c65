"""Read one DICOM file: selected header tags, those with the pixels, or everything."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag, Tag

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.private import private_tags
from amir_lightning.io.dicom.values import WrongRescaleError, keep_valid
from amir_lightning.io.limits import max_unpacked_bytes

Tags = list[BaseTag]

# The tags that identify the series, place the image and define its values. Other tags, such as
# names and birth dates, are not read, so that odd values in them do no harm.
_NAMES = (
    "ImageType",
    "VolumeBasedCalculationTechnique",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesDate",
    "AcquisitionDate",
    "SeriesTime",
    "AcquisitionTime",
    "Modality",
    "SeriesDescription",
    "PatientID",
    "PatientWeight",
    "SliceThickness",
    "SpacingBetweenSlices",
    "EchoTime",
    "EchoNumbers",
    "TriggerTime",
    "ActualFrameDuration",
    "AcquisitionMatrix",
    "ConvolutionKernel",
    "DiffusionBValue",
    "SeriesInstanceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "CorrectedImage",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "ModalityLUTSequence",
    "RadiopharmaceuticalInformationSequence",
    "Units",
    "SUVType",
    "SeriesType",
    "DecayCorrection",
    "FrameReferenceTime",
    "EncryptedAttributesSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    (0x7031, 0x1001),  # detector position of TCIA's raw CT projections
)
_TAGS: Tags = [*(Tag(name) for name in _NAMES), *private_tags()]
_KNOWN = frozenset(_TAGS)
_PIXEL_TAGS: Tags = [
    Tag(name)
    for name in (
        "PlanarConfiguration",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
        "PixelData",
    )
]
_SUFFIXES = (".dcm", ".ima")  # with these suffixes a file that is not DICOM counts as damaged
# A file without preamble starts with an element of group 2 or 8, in little endian.
_BARE_STARTS = (b"\x02\x00", b"\x08\x00")
_PIXEL_ELEMENTS = (0x0008, 0x0009, 0x0010)  # of group 7FE0


class NotDicomError(Exception):
    """The file is not DICOM."""


class _DamagedError(Exception):
    """The file is damaged; the message continues the sentence "it ..."."""


def read_header(path: Path) -> pydicom.Dataset:
    """Read the tags that identify the series, place the image and define its values.

    A value of the wrong type is dropped as if it were absent. Pixels are not read, but uncompressed
    ones are checked to be complete.

    Raises:
        NotDicomError: The file is not DICOM.
        InputError: The file is damaged, or has a DICOM suffix but other content.
    """
    return _read(path, _TAGS, pixels=False)


def read_image(path: Path) -> pydicom.Dataset:
    """Read the tags of `read_header` and the encoded pixels.

    Raises:
        InputError: The file cannot be read.
    """
    return _read_known(path, [*_TAGS, *_PIXEL_TAGS])


def read_dataset(path: Path) -> pydicom.Dataset:
    """Read all tags and the encoded pixels.

    Raises:
        InputError: The file cannot be read.
    """
    return _read_known(path, None)


def read_whole_header(path: Path) -> pydicom.Dataset:
    """Read all tags but not the pixels.

    Raises:
        InputError: The file cannot be read.
    """
    return _read_known(path, None, pixels=False)


def unreadable(path: Path, what: str) -> InputError:
    """Error for a damaged file.

    Args:
        path: The file.
        what: The damage, as a phrase that follows "it".
    """
    return InputError(
        f"{path} is not a readable DICOM image: it {what}, so it may be truncated or damaged; "
        "copy it again or leave it out"
    )


class BoundedFile(io.BufferedReader):
    """File whose `read` never allocates more memory than the file can fill.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to `size` bytes; without a size, read the rest but refuse data that inflates far.

        pydicom reads without a size only to inflate the rest of a deflated file at once.
        """
        if size is not None and size >= 0:
            return super().read(min(size, max(self._size - self.tell(), 0)))
        data = super().read()
        if data:
            inflater, most = zlib.decompressobj(-zlib.MAX_WBITS), max_unpacked_bytes(len(data))
            count, rest = 0, data
            while rest and count <= most:
                count += len(inflater.decompress(rest, 1 << 20))
                rest = inflater.unconsumed_tail
            if count > most:
                raise _DamagedError("unfolds to more than so small a file can hold")
        return data


def _read_known(path: Path, tags: Tags | None, *, pixels: bool = True) -> pydicom.Dataset:
    try:
        return _read(path, tags, pixels=pixels)
    except NotDicomError as error:
        raise unreadable(path, "is not DICOM") from error


def _read(path: Path, tags: Tags | None, *, pixels: bool) -> pydicom.Dataset:
    try:
        # pydicom warns of values that break a rule of DICOM. They are common, few of them matter
        # here, and the warnings would quote them, names included.
        with warnings.catch_warnings(), BoundedFile(path) as file:
            warnings.simplefilter("ignore", UserWarning)
            dataset = _parse(file, tags, pixels=pixels, named=path.suffix.lower() in _SUFFIXES)
            keep_valid(dataset.file_meta, list(dataset.file_meta.keys()))
            # Tags that are only copied into a derived image stay unchanged.
            copied = tags is None and pixels
            keep_valid(
                dataset, [tag for tag in list(dataset.keys()) if not copied or tag in _KNOWN]
            )
            size = path.stat().st_size
            expected = _pixel_bytes(dataset)
            if expected > max_unpacked_bytes(size):
                raise _DamagedError("declares more pixels than so small a file can hold")
            if not pixels:
                _check_complete(dataset, file, size - expected)
            return dataset
    except (NotDicomError, MemoryError):
        raise
    except WrongRescaleError as error:
        raise InputError(
            f"{path} has a {error} that is not a number, so its voxels cannot be rescaled; correct "
            "the tag or leave the file out"
        ) from error
    except _DamagedError as error:
        raise unreadable(path, str(error)) from error
    except OSError as error:
        raise unreadable(path, f"cannot be opened ({error.strerror or 'end of file'})") from error
    except Exception as error:  # a damaged file makes the parser fail anywhere
        raise unreadable(path, "is damaged in its header") from error


def _parse(file: BinaryIO, tags: Tags | None, *, pixels: bool, named: bool) -> pydicom.Dataset:
    try:
        return pydicom.dcmread(file, stop_before_pixels=not pixels, specific_tags=tags)
    except InvalidDicomError:
        file.seek(0)
    # Old exports lack the preamble of DICOM Part 10.
    dataset = None
    if file.read(2) in _BARE_STARTS:
        file.seek(0)
        try:
            dataset = pydicom.dcmread(
                file, stop_before_pixels=not pixels, specific_tags=tags, force=True
            )
        except Exception as error:  # any file may start with these bytes
            if not named:
                raise NotDicomError from error
            raise
    if dataset is None or "SOPClassUID" not in dataset:
        if named:
            raise _DamagedError("does not start as DICOM does")
        raise NotDicomError
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        if not little:
            raise _DamagedError("is big endian without saying so")
        dataset.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        )
    return dataset


def _pixel_bytes(header: pydicom.Dataset) -> int:
    """Size of the decoded pixels as the header declares it, 0 without an image."""
    if "Rows" not in header:
        return 0
    frames, samples = (header.get(name) or 1 for name in ("NumberOfFrames", "SamplesPerPixel"))
    bits = int(header.get("BitsAllocated") or 1)
    return int(header.Rows) * int(header.Columns) * int(frames) * int(samples) * bits // 8


def _check_complete(header: pydicom.Dataset, file: BinaryIO, last_start: int) -> None:
    """Check that the pixels follow the header, and are all there if they are not compressed.

    Args:
        header: The header.
        file: The file, at the end of its header.
        last_start: Last position in the file at which complete uncompressed pixels can start.
    """
    if "Rows" not in header:
        if "EncryptedAttributesSequence" in header:
            raise _DamagedError("is encrypted")
        sop_class = pydicom.uid.UID(header.file_meta.get("MediaStorageSOPClassUID") or "")
        if sop_class.name.endswith("Image Storage"):
            raise _DamagedError("ends before its image")
        return
    syntax = header.file_meta.get("TransferSyntaxUID") or pydicom.uid.ImplicitVRLittleEndian
    if syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
        return  # the parser has read another stream, the inflated one
    start = file.read(4)
    form = ">HH" if syntax == pydicom.uid.ExplicitVRBigEndian else "<HH"
    group, element = struct.unpack(form, start) if len(start) == 4 else (0, 0)
    if group != 0x7FE0 or element not in _PIXEL_ELEMENTS:
        raise _DamagedError("ends before its pixels")
    if syntax in pydicom.uid.UncompressedTransferSyntaxes and file.tell() > last_start:
        raise _DamagedError("ends in its pixels")
