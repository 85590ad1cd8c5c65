"""NIfTI-1 and NIfTI-2 files, plain or gzipped: read slice by slice, written from a `Volume`."""

import contextlib
import gzip
import hashlib
import logging
import math
import re
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from amir_lightning.errors import InputError
from amir_lightning.io.limits import most_bytes
from amir_lightning.io.orientation import Placement, Where
from amir_lightning.io.volume import Volume
from amir_lightning.system.wording import counted

log = logging.getLogger(__name__)

_SAME_PLACE = 0.01  # of a voxel
_GZIP_MAGIC = b"\x1f\x8b"
_NIFTI2_HEADER = 540  # bytes, stored as the first integer of the file in either byte order
_MILLIMETRES = {1: 1e3, 3: 1e-3}  # of a metre and a micrometre; others are taken as millimetres
_UNREADABLE = (
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
    """Whether the name ends in ``.nii`` or ``.nii.gz``."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def is_half_of_pair(path: Path) -> bool:
    """Whether a file is one of the two, ``.hdr`` and ``.img``, of a NIfTI or Analyze pair."""
    stem = re.sub(r"\.(hdr|img)(\.gz)?$", "", path.name, flags=re.IGNORECASE)
    if stem == path.name:
        return False
    for suffix in (".hdr", ".HDR", ".hdr.gz"):
        with contextlib.suppress(*_UNREADABLE), _open(path.with_name(stem + suffix)) as file:
            start = file.read(4)
            if {int.from_bytes(start, order) for order in ("little", "big")} & {348, 540}:
                return True
    return False


def nifti_stem(path: Path) -> str:
    """Name without ``.nii`` or ``.nii.gz``; the patient key of a file."""
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return name[: -len(".nii")]


class NiftiScan:
    """A NIfTI file as a `Scan`: its header at once, its voxels plane by plane.

    Args:
        path: A ``.nii`` or ``.nii.gz`` file with three axes, or a fourth of length 1.
        units: Physical units of the voxels, which NIfTI does not record.

    Attributes:
        header: The header as stored.
        slope: Factor from stored values to those of the scan, or None.
        intercept: Added to them, or None.
        placement: Where the stored planes lie in canonical LPS order.

    Raises:
        InputError: The file cannot be read, has another number of axes, or its voxels are no real
            numbers.
    """

    modality: str | None = None

    def __init__(self, path: Path, units: str = "a.u.") -> None:
        self.path, self.units = path, units
        self.files: tuple[Path, ...] = (path,)
        self.header = read_header(path)
        try:
            affine = np.array(self.header.get_best_affine(), dtype=np.float64)
            dtype = self.header.get_data_dtype()
        except _UNREADABLE as error:  # a quaternion that is none
            raise _unreadable(path, HeaderDataError(str(error))) from error
        stored = tuple(int(length) for length in self.header.get_data_shape())
        shape = stored[:3] if set(stored[3:]) == {1} else stored
        if len(shape) != 3 or min(shape) < 1:
            size = "x".join(map(str, stored))
            advice = "stack the slices of a scan in one file"
            if min(stored, default=0) < 1:
                advice = "it holds no voxels, so save it anew"
            elif len(shape) > 3:
                advice = "save each volume in a file of its own"
            raise InputError(f"{path} is {size}; expected one 3-D scan: {advice}")
        if dtype.fields is not None or dtype.kind == "c":
            kind, advice = "complex", "the magnitude"
            if dtype.fields is not None:
                kind, advice = "colour (RGB)", "shades of grey"
            raise InputError(f"{path} has {kind} voxels; expected real numbers: save {advice}")
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            raise InputError(
                f"{path} has {dtype.name} voxels; expected integers or floats of 8 to 64 bits: "
                "save it as float32"
            )
        try:
            self.slope, self.intercept = self.header.get_slope_inter()
        except _UNREADABLE as error:
            raise InputError(
                f"{path} has scl_slope={self.header['scl_slope']:g} and "
                f"scl_inter={self.header['scl_inter']:g}, so its values cannot be told; expected "
                "two numbers: correct its header"
            ) from error
        if self.header["qform_code"] == 0 and self.header["sform_code"] == 0:
            log.warning("%s has no orientation; taking its axes as left-to-right order", path)
        affine[:3] *= _MILLIMETRES.get(int(self.header["xyzt_units"]) & 7, 1.0)
        self.stored_shape: tuple[int, int, int] = shape
        self.placement = Placement.of(affine, self.stored_shape, str(path))
        self.shape, self.affine = self.placement.shape, self.placement.affine
        self.spacing_mm = self.placement.spacing_mm

    @cached_property
    def source(self) -> str:
        """Hash of the file, for the prepared store."""
        with self.path.open("rb") as file:
            return f"nifti sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def slices(self) -> Iterator[tuple[Where, NDArray[np.float32]]]:
        """Planes in the order of the file, each with its place in the canonical array.

        The whole file is read to its end, so that gzip's checksum is verified: stopping at the last
        voxel would accept a file with flipped bits.

        Raises:
            InputError: The file is corrupt or truncated, or a voxel is NaN or infinite.
        """
        width, height, depth = self.stored_shape
        dtype = self.header.get_data_dtype()
        try:
            with _open(self.path) as file:
                file.seek(int(self.header.get_data_offset()))
                for index in range(depth):
                    raw = file.read(width * height * dtype.itemsize)
                    if len(raw) < width * height * dtype.itemsize:
                        raise EOFError(f"it ends in plane {index + 1} of {depth}")
                    plane = np.frombuffer(raw, dtype).reshape((width, height), order="F")
                    if self.slope is not None:
                        plane = plane * np.float64(self.slope) + np.float64(self.intercept)
                    image = np.ascontiguousarray(self.placement.orient(plane), np.float32)
                    if not np.isfinite(image).all():
                        bad = int(image.size - np.count_nonzero(np.isfinite(image)))
                        raise InputError(
                            f"{self.path} has {counted('NaN or infinite voxel', bad)} in plane "
                            f"{index + 1} of {depth}; replace them with finite values in "
                            f"{self.units} or leave the file out"
                        )
                    yield self.placement.where(index), image
                most = _most_bytes(self.path)
                while file.read(1 << 20):
                    if file.tell() > most:
                        raise ValueError("it goes on long after its last plane")
        except InputError:
            raise
        except _UNREADABLE as error:
            raise _unreadable(self.path, error) from error

    def read(self) -> Volume:
        """All planes at once."""
        array = np.empty(self.shape, np.float32)
        for where, image in self.slices():
            array[where] = image
        return Volume(array, self.affine, self.units, self.source)


def read_header(path: Path) -> nib.Nifti1Header:
    """The header of a file that can hold the voxels it declares; extensions are left out.

    Raises:
        InputError: It cannot be read, or declares more than its bytes can hold.
    """
    try:
        with _quiet(), _open(path) as file:
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
        if end > _most_bytes(path):
            raise ValueError(f"it declares {end} bytes, more than so small a file can hold")
    except _UNREADABLE as error:
        raise _unreadable(path, error) from error
    return header


def read_nifti(path: Path, units: str) -> Volume:
    """Read one scan into canonical LPS order.

    Args:
        path: A ``.nii`` or ``.nii.gz`` file with three axes, or a fourth of length 1.
        units: Physical units of the voxels, which NIfTI does not record.

    Raises:
        InputError: The file is corrupt or truncated, has another number of axes, is complex or
            RGB, or has NaN or infinite voxels.
    """
    return NiftiScan(path, units).read()


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
    if _moves(image.get_qform(), volume) > _SAME_PLACE:
        # A quaternion cannot say that a stack is sheared, as one of a tilted gantry is.
        image.set_qform(volume.affine, code="unknown")
    # Absolute, as nibabel takes a leading ~ for somebody's home.
    nib.save(image, path.absolute())


def _moves(affine: NDArray[np.float64], volume: Volume) -> float:
    """How far another affine moves the corners of a volume, in its smallest voxel size."""
    last = np.array(volume.array.shape[::-1]) - 1
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*last, 1]
    moved = corners @ (affine - volume.affine).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max() / min(volume.spacing_mm))


@contextlib.contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        if not zipped:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as unzipped:
            yield cast(BinaryIO, unzipped)


def _most_bytes(path: Path) -> int:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP_MAGIC
    size = path.stat().st_size
    return most_bytes(size) if zipped else size


def _header_class(start: bytes) -> type[nib.Nifti1Header]:
    sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")}
    return nib.Nifti2Header if _NIFTI2_HEADER in sizes else nib.Nifti1Header


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without nibabel's own lines about a header that is refused in a sentence anyway."""
    logger = logging.getLogger("nibabel.global")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _unreadable(path: Path, error: BaseException) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    advice = "it may be truncated: copy it again"
    if isinstance(error, HeaderDataError):
        advice = "correct its header, save it anew"
    return InputError(f"{path} is not a readable NIfTI file ({reason}); {advice} or leave it out")
