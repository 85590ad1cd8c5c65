"""Names of restored scans, and writing them."""

import re
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from amir_lightning.io.dicom.scan import DicomScan
from amir_lightning.io.dicom.writer import check_dicom_series, write_dicom_series
from amir_lightning.io.nifti.file import is_nifti, nifti_stem
from amir_lightning.io.nifti.scan import NiftiScan, write_nifti
from amir_lightning.io.nifti.writer import DType, write_nifti_like
from amir_lightning.io.orientation import Where
from amir_lightning.io.scan import Scan
from amir_lightning.io.volume import Volume
from amir_lightning.restore.scratch import ScratchVolume
from amir_lightning.tasks import Task

Format = Literal["same", "nifti"]

_DICOM_SUFFIX = re.compile(r"\.(dcm|dicom|ima)$", re.IGNORECASE)  # a UID as a name has dots, too


class Scaled:
    """A volume times a factor.

    Args:
        volume: The volume.
        factor: The factor.
    """

    def __init__(self, volume: ScratchVolume, factor: float) -> None:
        self.volume, self.factor = volume, np.float32(factor)

    def __getitem__(self, where: Where) -> NDArray[np.float32]:
        return self.volume[where] * self.factor


def check_scan(scan: Scan, format_: Format) -> None:
    """Refuse a scan that cannot be written as asked, before it is restored.

    Raises:
        InputError: `check_dicom_series` refuses it, or no single affine places its slices.
    """
    if not isinstance(scan, DicomScan):
        return
    if format_ == "nifti":
        scan.check_grid()
    else:
        check_dicom_series(scan)


def write_scan(
    scan: Scan,
    voxels: Scaled,
    target: Path,
    dtype: DType,
    description: str,
    derivation: str,
    measure: str = "",
) -> None:
    """Write voxels in the format of the target.

    Args:
        scan: The source.
        voxels: Canonical (Z, Y, X).
        target: A NIfTI file, or a folder for a DICOM series.
        dtype: Type of NIfTI voxels.
        description: Added to the Series Description.
        derivation: Derivation Description.
        measure: What the voxels are, with their unit, if they are no image of the scan; they then
            have a scale of their own.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(scan, NiftiScan):
        write_nifti_like(scan, voxels, target, "float32" if measure else dtype, measure)
    elif target.name.endswith(".nii.gz"):
        whole = Volume(voxels[(slice(None),)], scan.affine, scan.units, scan.source)
        write_nifti(target, whole, measure)
    else:
        assert isinstance(scan, DicomScan)
        before = str(scan.dataset(0).get("SeriesDescription") or "").strip()
        write_dicom_series(
            scan,
            voxels,
            target,
            description=measure or f"{before} {description}".strip(),
            derivation=derivation,
            own_scale=bool(measure),
        )


def target_of(scan: Scan, root: Path, work: Path, format_: Format) -> Path:
    """Path of the restored scan: the place of the source, with ``_restored`` added to its name."""
    place = Path(_name(scan.path)) if scan.path == root else scan.path.relative_to(root)
    if isinstance(scan, NiftiScan):
        suffix = scan.path.name[len(nifti_stem(scan.path)) :]
        target = work / place.with_name(f"{nifti_stem(scan.path)}_restored{suffix}")
    else:
        stem = _DICOM_SUFFIX.sub("", place.name) if scan.path in scan.files else place.name
        suffix = ".nii.gz" if format_ == "nifti" else ""
        target = work / place.with_name(f"{stem}_restored{suffix}")
    count, free = 1, target
    while any(path.exists() for path in (free, *_beside(free))):  # several series in one folder
        count += 1
        free = target.with_name(target.name.replace("_restored", f"_{count}_restored", 1))
    return free


def beside(target: Path, kind: Literal["lq", "uncertainty"]) -> Path:
    """Path of another file of a restored scan: its simulated LQ, or its uncertainty."""
    name, _, suffix = target.name.rpartition("_restored")
    return target.with_name(f"{name}_{kind}{suffix}")


def unit_of(scan: Scan, task: Task, target: Path) -> str:
    """Unit of the values that are written."""
    if isinstance(scan, DicomScan) and scan.modality == "PT" and not is_nifti(target):
        units = str(scan.reference.get("Units") or "the source's units")
        return "Bq/mL" if units == "BQML" else units
    return task.units


def _beside(target: Path) -> list[Path]:
    return [beside(target, "lq"), beside(target, "uncertainty")]


def remove(target: Path) -> None:
    """Remove the incomplete files of a scan that failed."""
    for path in (target, *_beside(target)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _name(folder: Path) -> str:
    """Name of a folder; resolves ``.`` first."""
    named = folder.name not in ("", "..")
    return (folder if named else folder.resolve()).name or "scan"
