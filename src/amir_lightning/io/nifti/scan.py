"""`NiftiScan`: a NIfTI file, plain or gzipped, read slice by slice; and whole volumes."""

import hashlib
import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from amir_lightning.errors import InputError
from amir_lightning.io.nifti.file import (
    READ_ERRORS,
    max_bytes,
    open_unzipped,
    read_header,
    unreadable,
)
from amir_lightning.io.orientation import Placement, Where
from amir_lightning.io.volume import Volume
from amir_lightning.system.wording import counted

log = logging.getLogger(__name__)

_SAME_PLACE = 0.01  # tolerance for the place of a voxel, as a fraction of its size
_MILLIMETRES = {1: 1e3, 3: 1e-3}  # xyzt_units: metres and micrometres; all else is millimetres


class NiftiScan:
    """A NIfTI file as a `Scan`: the header is read at once, the voxels plane by plane.

    Args:
        path: A ``.nii`` or ``.nii.gz`` file with three axes; further axes must have length 1.
        units: Physical units of the voxels, which NIfTI does not record.

    Attributes:
        header: The stored header, without an sform that is marked as set but all zero.
        slope: Factor from stored values to those of the scan; None if they are the same.
        intercept: Added after the factor; None if there is none.
        stored_shape: Axes in the order of the file, (I, J, K).
        placement: Where the stored planes lie in canonical LPS order.

    Raises:
        InputError: The file cannot be read, is not one 3-D scan, or its voxels are not real
            numbers.
    """

    modality: str | None = None

    def __init__(self, path: Path, units: str = "a.u.") -> None:
        self.path, self.units = path, units
        self.files: tuple[Path, ...] = (path,)
        self.header = read_header(path)
        _drop_empty_sform(self.header, path)
        try:
            affine = np.array(self.header.get_best_affine(), dtype=np.float64)
            dtype = self.header.get_data_dtype()
        except READ_ERRORS as error:  # for example a quaternion longer than 1
            raise unreadable(path, HeaderDataError(str(error))) from error
        stored = tuple(int(length) for length in self.header.get_data_shape())
        shape = stored[:3] if set(stored[3:]) == {1} else stored
        if len(shape) != 3 or min(shape) < 1:
            size = "x".join(map(str, stored))
            raise InputError(f"{path} is {size}; expected one 3-D scan: {_shape_advice(stored)}")
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
        except READ_ERRORS as error:
            raise InputError(
                f"{path} has scl_slope={self.header['scl_slope']:g} and "
                f"scl_inter={self.header['scl_inter']:g}, so its values are unknown; expected "
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
        """Format and SHA-256 of the file; the first access reads the file."""
        with self.path.open("rb") as file:
            return f"nifti sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def slices(self) -> Iterator[tuple[Where, NDArray[np.float32]]]:
        """Yield planes in the order of the file, each with its place in the canonical array.

        The file is read to its end, because gzip verifies its checksum there: stopping at the last
        voxel would accept a file with flipped bits.

        Raises:
            InputError: The file is corrupt or truncated, or a voxel is NaN or infinite.
        """
        width, height, depth = self.stored_shape
        dtype = self.header.get_data_dtype()
        try:
            with open_unzipped(self.path) as file:
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
                most = max_bytes(self.path)
                while file.read(1 << 20):
                    if file.tell() > most:
                        raise ValueError("it goes on long after its last plane")
        except InputError:
            raise
        except READ_ERRORS as error:
            raise unreadable(self.path, error) from error

    def read(self) -> Volume:
        """Read all planes into memory; `Volume.source` names the format but holds no hash."""
        array = np.empty(self.shape, np.float32)
        for where, image in self.slices():
            array[where] = image
        return Volume(array, self.affine, self.units, "nifti")


def _drop_empty_sform(header: nib.Nifti1Header, path: Path) -> None:
    """Mark an all-zero sform as unset if there is a qform, so that the qform is used.

    A positive sform_code gives the sform priority, but a matrix of zeros places no voxel: some tool
    has set the code without the matrix.
    """
    empty = not np.array([header[row] for row in ("srow_x", "srow_y", "srow_z")]).any()
    if empty and header["sform_code"] > 0 and header["qform_code"] > 0:
        code = int(header["sform_code"])
        log.warning("%s has sform_code %d but an all-zero sform: using its qform", path, code)
        header["sform_code"] = 0


def _shape_advice(stored: tuple[int, ...]) -> str:
    """Advice for a file whose shape is not that of one 3-D scan."""
    longer = [length for length in stored[3:] if length > 1]
    if min(stored, default=0) < 1:
        return "it holds no voxels, so save it again"
    if not longer:
        return "stack the slices of a scan in one file"
    if stored[2] == 1 and len(longer) == 1:
        volume = f"{stored[0]}x{stored[1]}x{longer[0]}"
        return (
            f"if the axis of {longer[0]} counts slices, save it as {volume}; if it counts time "
            "frames or echoes, save each in a separate file"
        )
    return "save each volume in a separate file"


def read_nifti(path: Path, units: str) -> Volume:
    """Read one scan into canonical LPS order.

    Args:
        path: A ``.nii`` or ``.nii.gz`` file with three axes; further axes must have length 1.
        units: Physical units of the voxels, which NIfTI does not record.

    Raises:
        InputError: The file is corrupt or truncated, is not one 3-D scan, is complex or RGB, or
            has NaN or infinite voxels.
    """
    return NiftiScan(path, units).read()


def encoded_description(text: str) -> bytes:
    """Description as the header holds it: at most 79 bytes."""
    return text.encode("ascii", errors="replace")[:79]


def write_nifti(path: Path, volume: Volume, description: str = "") -> None:
    """Write a volume as float32, which quantises no value; `read_nifti` reads it back.

    Args:
        path: Target, ``.nii`` or ``.nii.gz``.
        volume: Scan in LPS order.
        description: Written into the header.
    """
    image = nib.Nifti1Image(volume.array.transpose(2, 1, 0), volume.affine)
    image.header.set_data_dtype(np.float32)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = encoded_description(description)
    image.set_sform(volume.affine, code="scanner")
    image.set_qform(volume.affine, code="scanner")
    if _moves(image.get_qform(), volume) > _SAME_PLACE:
        # A quaternion cannot describe a sheared stack, such as one from a tilted gantry.
        image.set_qform(volume.affine, code="unknown")
    # Absolute, because nibabel expands a leading ~ to a home directory.
    nib.save(image, path.absolute())


def _moves(affine: NDArray[np.float64], volume: Volume) -> float:
    """Largest shift of a volume's corners under another affine, in units of the smallest voxel."""
    last = np.array(volume.array.shape[::-1]) - 1
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*last, 1]
    moved = corners @ (affine - volume.affine).T
    return float(np.linalg.norm(moved[:, :3], axis=1).max() / min(volume.spacing_mm))
