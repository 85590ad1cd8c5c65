"""Write a restored scan with the header and voxel order of its NIfTI source, plane by plane."""

import gzip
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, cast, get_args

import numpy as np
from numpy.typing import NDArray

from amir_lightning.errors import InputError
from amir_lightning.io.nifti.scan import NiftiScan, encoded_description
from amir_lightning.io.orientation import Where

log = logging.getLogger(__name__)

DType = Literal["float32", "source"]


class Voxels(Protocol):
    """Canonical (Z, Y, X) array in physical units: a NumPy array or an HDF5 dataset."""

    def __getitem__(self, where: Where) -> NDArray[np.float32]:
        """Read one slice."""


def write_nifti_like(
    scan: NiftiScan,
    voxels: Voxels,
    output: Path,
    dtype: DType = "float32",
    description: str = "",
) -> None:
    """Write voxels with the header and in the voxel order of their source.

    Affine, units, intent and description are copied from the source. ``dtype="source"`` rounds the
    values to the steps of that type, and a warning gives the largest rounding error.

    Args:
        scan: The source.
        voxels: Restored voxels, canonical (Z, Y, X).
        output: Target, ``.nii`` or ``.nii.gz``.
        dtype: "float32", which quantises nothing, or "source" for the source's type and scale.
        description: Takes the place of the source's description.

    Raises:
        InputError: ``dtype`` is neither.
    """
    if dtype not in get_args(DType):
        raise InputError(f"dtype is '{dtype}'; choose from {', '.join(get_args(DType))}")
    header = scan.header.copy()
    slope, intercept = scan.slope, scan.intercept
    target: np.dtype[np.generic] = np.dtype(np.float32).newbyteorder(header.endianness)
    if dtype == "source":
        target = header.get_data_dtype()
    else:
        slope = intercept = None
        header.set_data_dtype(np.float32)
    header.set_slope_inter(*((1, 0) if slope is None else (slope, intercept)))
    header["cal_min"] = header["cal_max"] = 0  # the display range of the source may not fit
    if description:
        header["descrip"] = encoded_description(description)
    header["magic"] = b"n+1" if header["sizeof_hdr"] == 348 else header["magic"]
    header.extensions.clear()  # they may hold the patient's name
    start = 352 if header["sizeof_hdr"] == 348 else 544
    header.set_data_offset(start)
    clipped, largest = 0, 0.0
    with _open(output) as file:
        file.write(header.binaryblock)
        file.write(bytes(start - len(header.binaryblock)))
        for index in range(scan.placement.num_slices):
            plane = scan.placement.unorient(np.asarray(voxels[scan.placement.where(index)]))
            stored = np.asarray(plane, np.float64)
            if slope is not None:
                stored = (stored - intercept) / slope
            if target.kind in "iu":
                info = np.iinfo(target.type)  # type: ignore[type-var]
                # float64 cannot represent the largest 64-bit integers.
                most = np.nextafter(float(info.max), 0) if target.itemsize == 8 else info.max
                clipped += int(((stored < info.min) | (stored > most)).sum())
                rounded = np.clip(np.rint(stored), info.min, most)
                largest = max(largest, float(np.abs(rounded - stored).max()))
                stored = rounded
            file.write(stored.astype(target).tobytes(order="F"))
    if target.kind in "iu":
        step = 1.0 if slope is None else abs(float(slope))
        log.warning(
            "%s is written as %s: values move by up to %.3g %s%s",
            output.name,
            target.name,
            largest * step,
            scan.units,
            f", {clipped} of them clipped" if clipped else "",
        )


@contextmanager
def _open(output: Path) -> Iterator[BinaryIO]:
    with output.open("wb") as raw:
        if not output.name.lower().endswith(".gz"):
            yield raw
            return
        # No name and no time in the gzip header, so that equal voxels give equal files.
        with gzip.GzipFile("", "wb", 6, raw, 0) as zipped:
            yield cast(BinaryIO, zipped)
