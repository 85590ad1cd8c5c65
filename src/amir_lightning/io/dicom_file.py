"""One DICOM file: its header, why it may not be a slice of a scan, and its pixels."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, get_decoder

from amir_lightning.errors import InputError

QUANTITY = {"CT": "HU", "PT": "SUV"}  # modalities whose rescaled voxels are a physical quantity
PADDING_HU = -2000.0  # what a scanner fills the corners with; below air

_SUFFIXES = (".dcm", ".ima")  # a file named so that is not DICOM is damaged, not foreign
# A file without preamble starts with group 2 or group 8 in little endian.
_BARE_STARTS = (b"\x02\x00", b"\x08\x00")


class NotDicomError(Exception):
    """The file is something else."""


def read_header(path: Path) -> pydicom.Dataset:
    """Everything of a file but its pixels.

    Raises:
        NotDicomError: The file is not DICOM.
        InputError: The file is named as DICOM or is DICOM, but cannot be read.
    """
    header = _read(path, pixels=False)
    sop_class = pydicom.uid.UID(header.file_meta.get("MediaStorageSOPClassUID") or "")
    if "EncryptedAttributesSequence" in header and "Rows" not in header:
        raise _unreadable(path, ValueError("it is encrypted"))
    if "Rows" not in header and sop_class.name.endswith("Image Storage"):
        raise _unreadable(path, EOFError("it ends before its image"))
    return header


def read_dataset(path: Path) -> pydicom.Dataset:
    """A whole file, pixels included and not yet decoded.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        return _read(path, pixels=True)
    except NotDicomError as error:
        raise _unreadable(path, ValueError("it is not DICOM")) from error


def unusable(header: pydicom.Dataset) -> str | None:
    """Why an image file cannot be a slice of a volume, or None."""
    if "Rows" not in header or "Modality" not in header:
        return "DICOM without an image"
    if "Secondary Capture" in pydicom.uid.UID(header.get("SOPClassUID") or "").name:
        return "secondary capture"
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


def is_derived(header: pydicom.Dataset) -> bool:
    """Whether the image was computed from other images: a reformat, a projection, a result."""
    kinds = {str(kind).upper() for kind in header.get("ImageType") or ()}
    return kinds >= {"DERIVED", "SECONDARY"} or bool(
        kinds & {"MPR", "MIP", "MINIP", "REFORMATTED", "PROJECTION IMAGE", "SCREEN SAVE"}
    )


def stored_pixels(dataset: pydicom.Dataset, path: Path) -> NDArray[np.integer]:
    """Stored values of one slice, (rows, columns), as the bits of the file say.

    Raises:
        InputError: No codec is installed for the compression, or the pixels are damaged.
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian)
    if syntax.is_compressed and syntax.is_encapsulated and not get_decoder(syntax).is_available:
        raise InputError(
            f"{path} is compressed with {syntax.name} ({syntax}), for which no codec is installed; "
            'type pip install "amir-lightning[codecs]"'
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            stored = dataset.pixel_array
    except Exception as error:  # codecs raise anything
        raise _unreadable(path, error) from error
    return _without_overlays(stored, dataset)


def rescaled_pixels(dataset: pydicom.Dataset, path: Path) -> NDArray[np.float64]:
    """Values of one slice in rescaled units [HU, Bq/mL or a.u.], (rows, columns).

    Padding outside a CT's field of view comes out below air. MONOCHROME1 is how to show a value,
    not another value: HU and Bq/mL stay as they are. Only where the value has no unit is it
    mirrored, so that bright means high as everywhere else.

    Raises:
        InputError: As `stored_pixels`.
    """
    stored = stored_pixels(dataset, path)
    values = np.asarray(apply_modality_lut(mirrored(stored, dataset), dataset), dtype=np.float64)
    padding = padding_value(dataset)
    if dataset.Modality == "CT" and padding is not None:
        # An unsigned file writes -2000 as 63536, which would rescale to a bright rim.
        values[(stored == padding) & (values > -1000)] = PADDING_HU
    return values


def mirrored(stored: NDArray[np.integer], dataset: pydicom.Dataset) -> NDArray[np.integer]:
    """Stored values with high meaning bright; its own inverse."""
    if dataset.PhotometricInterpretation != "MONOCHROME1" or dataset.Modality in QUANTITY:
        return stored
    top = -1 if dataset.PixelRepresentation == 1 else (1 << dataset.BitsStored) - 1
    return top - stored.astype(np.int64)


def padding_value(dataset: pydicom.Dataset) -> int | None:
    """Stored value that means "outside the field of view", in the sign of the pixels."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    bits = int(dataset.BitsAllocated)
    if dataset.PixelRepresentation == 1:
        return value - (1 << bits) if value >= 1 << (bits - 1) else value
    return value + (1 << bits) if value < 0 else value


def _without_overlays(stored: NDArray[np.integer], dataset: pydicom.Dataset) -> NDArray[np.integer]:
    """Clear the bits above those of the value, where old files keep an overlay."""
    bits = int(dataset.BitsStored)
    if bits >= int(dataset.BitsAllocated) or int(dataset.HighBit) != bits - 1:
        return stored
    overlays = (dataset.get((group, 0x0102)) for group in range(0x6000, 0x6020, 2))
    if not any(overlay is not None and int(overlay.value or 0) >= bits for overlay in overlays):
        return stored
    kept = stored & ((1 << bits) - 1)
    if dataset.PixelRepresentation == 1:
        kept = np.where(kept >= 1 << (bits - 1), kept - (1 << bits), kept)
    return kept.astype(stored.dtype)


def _read(path: Path, *, pixels: bool) -> pydicom.Dataset:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # odd values in tags that are not used
            try:
                return pydicom.dcmread(path, stop_before_pixels=not pixels)
            except InvalidDicomError:
                return _read_bare(path, pixels=pixels)
    except (InputError, NotDicomError):
        raise
    except Exception as error:  # a damaged file makes the parser fail anywhere
        raise _unreadable(path, error) from error


def _read_bare(path: Path, *, pixels: bool) -> pydicom.Dataset:
    """A file without the preamble of DICOM Part 10, as old exports have it."""
    with path.open("rb") as file:
        start = file.read(2)
    dataset = None
    if start in _BARE_STARTS:
        dataset = pydicom.dcmread(path, stop_before_pixels=not pixels, force=True)
    if dataset is None or "SOPClassUID" not in dataset:
        if path.suffix.lower() in _SUFFIXES:
            raise _unreadable(path, ValueError("it does not start as DICOM does"))
        raise NotDicomError(str(path))
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        if not little:
            raise _unreadable(path, ValueError("it is big endian without saying so"))
        dataset.file_meta.TransferSyntaxUID = (
            pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
        )
    return dataset


def _unreadable(path: Path, error: BaseException) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"{path} is not a readable DICOM image ({reason}); it may be truncated: "
        "copy it again or leave it out"
    )
