"""Name, header and unzipped bytes of one NIfTI file."""

import contextlib
import gzip
import logging
import math
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

import nibabel as nib
from nibabel.spatialimages import HeaderDataError

from amir_lightning.errors import InputError
from amir_lightning.io.limits import max_unpacked_bytes

_GZIP_MAGIC = b"\x1f\x8b"
# Bytes of the header, which both versions store as the first integer in either byte order.
_NIFTI1_HEADER, _NIFTI2_HEADER = 348, 540
READ_ERRORS = (
    OSError,  # includes BadGzipFile
    OverflowError,
    EOFError,
    ValueError,
    zlib.error,
    nib.filebasedimages.ImageFileError,
    HeaderDataError,
    nib.wrapstruct.WrapStructError,
)


def is_nifti(path: Path) -> bool:
    """Whether the file name ends in ``.nii`` or ``.nii.gz``."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def is_half_of_pair(path: Path) -> bool:
    """Whether a file is the ``.hdr`` or the ``.img`` file of a NIfTI or Analyze pair."""
    stem = re.sub(r"\.(hdr|img)(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    if stem == path.name:
        return False
    for suffix in (".hdr", ".HDR", ".hdr.gz"):
        header = path.with_name(stem + suffix)
        with contextlib.suppress(*READ_ERRORS), open_unzipped(header) as file:
            if _header_sizes(file.read(4)) & {_NIFTI1_HEADER, _NIFTI2_HEADER}:
                return True
    return False


def nifti_stem(path: Path) -> str:
    """File name without ``.nii`` or ``.nii.gz``."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return name[: -len(".nii")]


def read_header(path: Path) -> nib.Nifti1Header:
    """Read the header without extensions, and check that the file can hold the declared voxels.

    Raises:
        InputError: The header cannot be read, or declares more voxels than the file can hold.
    """
    try:
        with _quiet(), open_unzipped(path) as file:
            start = file.read(4)
            kind = _header_class(start)
            header = kind(start + file.read(kind.template_dtype.itemsize - len(start)))
            itemsize = header.get_data_dtype().itemsize
        first, least = float(header["vox_offset"]), kind.single_vox_offset
        if header["magic"] in (kind.pair_magic, b""):
            raise HeaderDataError("it is the header of a pair, whose voxels are in an .img file")
        if not (least <= first < math.inf and first.is_integer()):
            raise HeaderDataError(f"its vox_offset is {first:g}, expected {least} or more")
        end = (
            int(header.get_data_offset()) + math.prod(map(int, header.get_data_shape())) * itemsize
        )
        if end > max_bytes(path):
            raise ValueError(f"it declares {end} bytes, more than so small a file can hold")
    except READ_ERRORS as error:
        raise unreadable(path, error) from error
    return header


@contextlib.contextmanager
def open_unzipped(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, through gzip if its first bytes are those of gzip."""
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not zipped:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unzipped:
            yield cast(BinaryIO, unzipped)


def max_bytes(path: Path) -> int:
    """Largest credible number of unzipped bytes of a file."""
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP_MAGIC
    size = path.stat().st_size
    return max_unpacked_bytes(size) if zipped else size


def _header_class(start: bytes) -> type[nib.Nifti1Header]:
    return nib.Nifti2Header if _NIFTI2_HEADER in _header_sizes(start) else nib.Nifti1Header


def _header_sizes(start: bytes) -> set[int]:
    return {int.from_bytes(start, "little"), int.from_bytes(start, "big")}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence nibabel's log: a header that it complains about is refused with an error."""
    logger = logging.getLogger("nibabel.global")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def unreadable(path: Path, error: BaseException) -> InputError:
    """Error for a file that cannot be read, with advice that fits the reason."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    advice = "it may be truncated: copy it again"
    if isinstance(error, HeaderDataError):
        advice = "correct its header, save it again"
    return InputError(f"{path} is not a readable NIfTI file ({reason}); {advice} or leave it out")
