"""Layout ``fastmri``: raw k-space, such as ``multicoil_train/file1000001.h5``."""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py

from amir_lightning.data.layouts.fastmri_file import KSpaceFile
from amir_lightning.data.layouts.layout import RawDataset, RawPatient, check_folder, raw_dataset
from amir_lightning.data.splits import Split
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import Damaged, Skipped
from amir_lightning.io.files import find_files
from amir_lightning.system.wording import counted
from amir_lightning.tasks import Task

log = logging.getLogger(__name__)

_HDF5 = (".h5", ".hdf5")
_PART = re.compile(r"(?:single|multi)coil_(train|val|test)", re.IGNORECASE)


def fastmri(raw_dir: Path, task: Task, acquisition: str | None = None) -> RawDataset:
    """Find the volumes of fastMRI; those of one patient share a split.

    HQ is the root of the sum of squares over the coils. Test files without the full k-space are
    left out, as is a single-coil copy beside its multi-coil volume. If the folder holds several of
    fastMRI's parts, they decide the split: ``val`` is tested if the test files are of no use.

    Args:
        raw_dir: The folder, with files at any depth.
        task: The task.
        acquisition: Use only this kind, such as AXT2 or CORPD_FBK; None uses all.

    Raises:
        InputError: There is no volume.
    """
    check_folder(raw_dir)
    found, skipped = find_files(raw_dir)
    volumes: dict[str, KSpaceFile] = {}
    for path in found:
        if path.suffix.lower() not in _HDF5:
            skipped.append(Skipped(path, "no HDF5 file"))
            continue
        try:
            volume = KSpaceFile.open(path)
        except InputError as error:
            skipped.append(Damaged(path, str(error)))
            continue
        other = volumes.get(path.stem)
        if volume.undersampled:
            skipped.append(Skipped(path, "undersampled k-space without HQ (a test file)"))
        elif acquisition and volume.acquisition.upper() != acquisition.upper():
            skipped.append(Skipped(path, f"acquisition {volume.acquisition or 'unknown'}"))
        elif other is None or (other.shape[1] == 1) > (volume.shape[1] == 1):
            volumes[path.stem] = volume
            skipped += [Skipped(other.path, "single-coil copy")] if other else []
        elif volume.shape[1] == 1 < other.shape[1]:
            skipped.append(Skipped(path, "single-coil copy"))
        else:
            raise InputError(
                f"{other.path} and {path} have the same name, expected one volume of each name; "
                "leave one out or rename it"
            )
    _say_missing(list(volumes.values()))
    splits = _splits({name: _part(one.path, raw_dir) for name, one in volumes.items()})
    patients = [
        RawPatient(name, one.read, (one.path,), one.patient or name, splits.get(name))
        for name, one in volumes.items()
    ]
    expected = "HDF5 files with k-space, such as multicoil_train/file1000001.h5"
    return raw_dataset(raw_dir, task, patients, skipped, expected)


def looks_like_fastmri(path: Path) -> bool:
    """Whether a file is HDF5 with k-space."""
    if path.suffix.lower() not in _HDF5:
        return False
    try:
        with h5py.File(path, "r") as file:
            return "kspace" in file
    except OSError:
        return False


def _say_missing(volumes: Sequence[KSpaceFile]) -> None:
    """Warn about what files do not say, once for all of them."""
    for count, text in (
        (
            sum(not one.patient for one in volumes),
            "without the attribute patient_id: one patient for each file",
        ),
        (
            sum(one.spacing_mm is None for one in volumes),
            "without a field of view in ismrmrd_header: voxels count as 1 mm",
        ),
        (
            sum(one.size is None for one in volumes),
            "without an image or a header that says how far the readout is oversampled: images "
            "keep all rows and columns (grid=[<rows>,<columns>] crops them)",
        ),
    ):
        if count:
            log.warning("%s %s", counted("file", count), text)


def _part(path: Path, raw_dir: Path) -> str | None:
    """Part of fastMRI by the innermost folder that names one."""
    for folder in reversed(path.relative_to(raw_dir).parts[:-1]):
        if match := _PART.search(folder):
            return match[1].lower()
    return None


def _splits(parts: Mapping[str, str | None]) -> dict[str, Split]:
    """Split of each volume; those that are left out are drawn by the seed."""
    known = set(parts.values()) - {None}
    named: dict[str, Split]
    if known == {"train", "val", "test"}:
        named = {"train": "train", "val": "val", "test": "test"}
    elif {"train", "val"} == known:
        named = {"val": "test"}
        log.info(
            "multicoil_val is tested, and patients of multicoil_train are drawn for validation"
        )
    elif {"train", "test"} == known:
        named = {"test": "test"}
    else:
        return {}
    return {name: named[part] for name, part in parts.items() if part in named}
