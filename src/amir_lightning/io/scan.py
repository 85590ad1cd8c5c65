"""Find the scans below a path. A scan is opened by its headers and read slice by slice."""

import errno
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.scan import DicomScan
from amir_lightning.io.dicom.series import Damaged, Skipped, find_dicom_series, summarise
from amir_lightning.io.files import find_files
from amir_lightning.io.nifti.file import is_half_of_pair, is_nifti
from amir_lightning.io.nifti.scan import NiftiScan
from amir_lightning.io.orientation import Where
from amir_lightning.io.volume import Volume


class Scan(Protocol):
    """One NIfTI file or one DICOM series in canonical LPS order.

    Attributes:
        path: The file, or the folder of the series.
        files: The source files.
        modality: "CT", "PT" or "MR" for DICOM; None for NIfTI.
        units: "HU", "SUV" or "a.u."; for NIfTI as the caller says.
        shape: (Z, Y, X).
        affine: 4x4 matrix from voxel index (x, y, z, 1) to world millimetres (RAS+).
        spacing_mm: Voxel size along (z, y, x) [mm].
    """

    path: Path
    files: tuple[Path, ...]
    modality: str | None
    units: str
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    spacing_mm: tuple[float, float, float]

    @property
    def source(self) -> str:
        """Kind and hash of the source files, without names."""

    def slices(self) -> Iterator[tuple[Where, NDArray[np.float32]]]:
        """Yield the stored slices; ``array[where] = image`` fills the canonical array."""

    def read(self) -> Volume:
        """Read all slices into memory."""


def find_scans(path: Path, units: str = "a.u.") -> tuple[list[Scan], list[Skipped]]:
    """Find every NIfTI file and every usable DICOM series below a path.

    Args:
        path: A NIfTI file, a DICOM file, or a folder of either; folders are searched at any depth.
        units: Units of NIfTI voxels.

    Returns:
        Scans sorted by path, and the files that belong to no scan.

    Raises:
        InputError: No scan can be read.
    """
    try:
        kind = path.stat().st_mode
        files, skipped = find_files(path) if stat.S_ISDIR(kind) else ([path], [])
    except OSError as error:
        absent = error.errno == errno.ENOENT
        problem = "does not exist" if absent else f"cannot be read ({error.strerror})"
        raise InputError(
            f"{path} {problem}; type a NIfTI file, a DICOM file or a folder"
        ) from error
    if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):  # reading a pipe would block
        raise InputError(
            f"{path} is neither a file nor a folder; type a NIfTI file, a DICOM file or a folder"
        )
    niftis, others = niftis_and_others(files, skipped)
    series, no_images = find_dicom_series(others, on_error="collect")
    skipped += no_images
    openers: list[tuple[Path, Callable[[], Scan]]] = [
        (file, partial(NiftiScan, file, units)) for file in niftis
    ]
    openers += [(one.files[0], partial(DicomScan, one.files)) for one in series]
    scans: list[Scan] = []
    for file, opener in openers:
        try:
            scans.append(opener())
        except InputError as error:
            skipped.append(Damaged(file, str(error)))
    if files == [
        path
    ]:  # a DICOM file is named by itself, not by the folder that it happens to lie in
        for scan in scans:
            scan.path = path
    problems = [one.problem for one in skipped if isinstance(one, Damaged)]
    if problems and not scans:
        raise InputError(problems[0])
    if not scans:
        raise InputError(
            f"{path} holds no scan ({summarise(skipped) or 'it is empty'}); expected NIfTI (.nii, "
            ".nii.gz) or DICOM images: type another file or folder"
        )
    return sorted(scans, key=lambda scan: (scan.path, scan.files)), skipped


def niftis_and_others(
    files: Iterable[Path], skipped: list[Skipped]
) -> tuple[list[Path], list[Path]]:
    """Separate NIfTI files from files that may be DICOM.

    Args:
        files: Any files.
        skipped: Receives the ``.hdr`` and ``.img`` files of pairs, which are not supported.
    """
    niftis, others = [], []
    for path in files:
        if is_nifti(path):
            niftis.append(path)
        elif is_half_of_pair(path):
            skipped.append(Skipped(path, "half of a .hdr and .img pair (convert it to .nii)"))
        else:
            others.append(path)
    return niftis, others
