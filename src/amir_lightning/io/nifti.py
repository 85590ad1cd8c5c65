"""NIfTI-1 and NIfTI-2 files, plain or gzipped, to and from a `Volume`."""

import gzip
import hashlib
import logging
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np

from amir_lightning.errors import InputError
from amir_lightning.io.orientation import canonical_volume
from amir_lightning.io.volume import Volume

log = logging.getLogger(__name__)

_GZIP_MAGIC = b"\x1f\x8b"
_NIFTI2_HEADER = 540  # bytes, stored as the first integer of the file in either byte order
_MILLIMETRES = {"unknown": 1.0, "mm": 1.0, "meter": 1e3, "micron": 1e-3}
_UNREADABLE = (
    OSError,  # includes BadGzipFile and nibabel's short read
    EOFError,
    ValueError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    nib.wrapstruct.WrapStructError,
)


def is_nifti(path: Path) -> bool:
    """Whether the name ends in ``.nii`` or ``.nii.gz``."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def nifti_stem(path: Path) -> str:
    """Name without ``.nii`` or ``.nii.gz``; the patient key of a file."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return name[: -len(".nii")]


def read_nifti(path: Path, units: str) -> Volume:
    """Read one scan into canonical LPS order.

    The whole file is decompressed at once, so that gzip's checksum is verified: reading only as
    many bytes as the header asks for would accept a file with flipped bits.

    Args:
        path: A ``.nii`` or ``.nii.gz`` file with three axes, or a fourth of length 1.
        units: Physical units of the voxels, which NIfTI does not record.

    Raises:
        InputError: The file is corrupt or truncated, has another number of axes, is complex or
            RGB, or has NaN or infinite voxels.
    """
    try:
        raw = path.read_bytes()
        digest = hashlib.sha256(raw).hexdigest()
        data = gzip.decompress(raw) if raw.startswith(_GZIP_MAGIC) else raw
        image = _image_class(data).from_bytes(data)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error

    shape = image.shape[:3] if image.shape[3:] == (1,) else image.shape
    if len(shape) != 3 or 0 in shape:
        size = "x".join(map(str, image.shape))
        raise InputError(
            f"{path} is {size}; expected one 3-D scan: save each volume in a file of its own"
        )
    dtype = image.get_data_dtype()
    if dtype.fields is not None or dtype.kind == "c":
        kind = "colour (RGB)" if dtype.fields is not None else "complex"
        raise InputError(f"{path} has {kind} voxels; expected real numbers: save the magnitude")
    if image.header["qform_code"] == 0 and image.header["sform_code"] == 0:
        log.warning("%s has no orientation; taking its axes as left-to-right order of NIfTI", path)

    try:
        voxels = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    return canonical_volume(voxels, affine, units, f"nifti sha256:{digest}", str(path))


def write_nifti(path: Path, volume: Volume) -> None:
    """Write a volume as float32, so that no value is quantised; the inverse of `read_nifti`.

    Args:
        path: Target, ``.nii`` or ``.nii.gz``.
        volume: Scan in LPS order.
    """
    image = nib.Nifti1Image(volume.array.transpose(2, 1, 0), volume.affine)
    image.header.set_data_dtype(np.float32)
    image.header.set_xyzt_units("mm")
    image.set_sform(volume.affine, code="scanner")
    image.set_qform(volume.affine, code="scanner")
    nib.save(image, path)


def _image_class(data: bytes) -> type[nib.Nifti1Image]:
    sizes = {int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big")}
    return nib.Nifti2Image if _NIFTI2_HEADER in sizes else nib.Nifti1Image


def _unreadable(path: Path, error: BaseException) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"{path} is not a readable NIfTI file ({reason}); it may be truncated: "
        "copy it again or leave it out"
    )
