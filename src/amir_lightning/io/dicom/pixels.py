"""Decode the pixels of one DICOM image and rescale them to HU, Bq/mL or arbitrary units."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels import apply_modality_lut, get_decoder

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.codecs import IN_PYTHON, decode_pixels
from amir_lightning.io.dicom.file import unreadable

QUANTITY = {"CT": "HU", "PT": "SUV"}  # units of modalities whose voxels are a physical quantity
PADDING_HU = -2000.0  # value outside the field of view, below air
AIR_HU = -1000.0
# Above the extended scale of all scanners, so it is a negative value that was read as unsigned.
_HIGHEST_HU = 32767.0


def stored_pixels(dataset: pydicom.Dataset, path: Path) -> NDArray[np.integer]:
    """Stored values of one slice before rescaling, (rows, columns).

    Raises:
        InputError: No codec is installed for the compression, or the pixels are damaged.
    """
    syntax = dataset.file_meta.get("TransferSyntaxUID") or pydicom.uid.ImplicitVRLittleEndian
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise InputError(
            f"{path} is compressed with {syntax.name} ({syntax}), for which no codec is installed; "
            'type pip install "amir-lightning[codecs]"'
        )
    plain = syntax in IN_PYTHON
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            stored = dataset.pixel_array if plain else decode_pixels(path, None, syntax)
    except (MemoryError, InputError):
        raise
    except Exception as error:  # codecs can raise anything
        raise unreadable(path, "has pixels that cannot be decoded") from error
    if stored.shape != (dataset.Rows, dataset.Columns):
        raise unreadable(path, f"has pixels of shape {stored.shape}")
    if stored.dtype.kind in "iu" and plain:
        return _used_bits(stored, dataset)
    return stored


def rescaled_pixels(dataset: pydicom.Dataset, path: Path) -> NDArray[np.float64]:
    """Rescaled values of one slice [HU, Bq/mL or a.u.], (rows, columns).

    Padding outside the field of view of a CT gets a value below air. MONOCHROME1 only asks for an
    inverted display, so HU and Bq/mL stay as they are. MR values have no unit and are mirrored, so
    that bright means high as in all other images.

    Raises:
        InputError: As in `stored_pixels`, or the header of a CT or PET lacks its rescale tags.
    """
    stored = mirrored(stored_pixels(dataset, path), dataset)
    if dataset.get("ModalityLUTSequence"):
        values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    else:
        slope, intercept = _rescale(dataset, path)
        if slope == 0 and stored.any():  # an empty PET slice may have slope 0
            raise InputError(
                f"{path} has RescaleSlope (0028,1053) 0, so that all its voxels are one value; "
                "correct the tag or leave the file out"
            )
        values = stored.astype(np.float64) * slope + intercept
    if dataset.Modality == "CT":
        bits = int(dataset.BitsAllocated)
        # Unsigned files store -2000 as 63536, which would become a bright rim.
        disguised = values > _HIGHEST_HU
        if disguised.any():
            values[disguised] -= (1 << bits) * float(dataset.get("RescaleSlope") or 1)
        padding = padding_value(dataset)
        if padding is not None:
            values[(stored == padding) & (values > AIR_HU)] = PADDING_HU
    return values


def mirrored(stored: NDArray[np.integer], dataset: pydicom.Dataset) -> NDArray[np.integer]:
    """Invert the stored values of MONOCHROME1 MR images; applied twice, it restores them."""
    if dataset.PhotometricInterpretation != "MONOCHROME1" or dataset.Modality in QUANTITY:
        return stored
    top = -1 if dataset.PixelRepresentation == 1 else (1 << dataset.BitsStored) - 1
    return top - stored.astype(np.int64)


def padding_value(dataset: pydicom.Dataset) -> int | None:
    """Stored value of pixels outside the field of view, signed like the pixels."""
    value = dataset.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    bits = int(dataset.BitsAllocated)
    if dataset.PixelRepresentation == 1:
        return value - (1 << bits) if value >= 1 << (bits - 1) else value
    return value + (1 << bits) if value < 0 else value


def _rescale(dataset: pydicom.Dataset, path: Path) -> tuple[float, float]:
    """Rescale slope and intercept; CT and PET are refused where a default would be wrong."""
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    unsigned = dataset.PixelRepresentation == 0
    if dataset.Modality == "CT" and intercept is None and unsigned:
        raise InputError(
            f"{path} lacks RescaleIntercept (0028,1052), without which its pixels are not HU; "
            "export the series with it or convert it to HU yourself and give NIfTI"
        )
    if dataset.Modality == "PT" and slope is None and dataset.get("Units") != "CNTS":
        raise InputError(
            f"{path} lacks RescaleSlope (0028,1053), without which its pixels are not Bq/mL; "
            "export the series with it or convert it to SUV yourself and give NIfTI"
        )
    return float(1.0 if slope is None else slope), float(intercept or 0.0)


def _used_bits(stored: NDArray[np.integer], dataset: pydicom.Dataset) -> NDArray[np.integer]:
    """Extract the bits of the value; old files store an overlay in the unused bits.

    A padding value that uses all bits of the word is kept.
    """
    bits, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    if not 0 < bits < allocated:
        return stored
    below = max(int(dataset.get("HighBit", bits - 1)) + 1 - bits, 0)
    kept = (stored.astype(np.int64) >> below) & ((1 << bits) - 1)
    if dataset.PixelRepresentation == 1:
        kept = np.where(kept >= 1 << (bits - 1), kept - (1 << bits), kept)
    padding = padding_value(dataset)
    if padding is not None and not below:
        kept = np.where(stored == padding, stored, kept)
    return kept.astype(stored.dtype)
