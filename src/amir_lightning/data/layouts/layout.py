"""Result of a layout: the patients of a raw folder, and the files that were left out."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from amir_lightning.data.pairs import RawScan
from amir_lightning.data.splits import Split
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import (
    Damaged,
    DicomSeries,
    Skipped,
    find_dicom_series,
    summarise,
)
from amir_lightning.tasks import Task

DICOM_OR_NIFTI = "NIfTI (.nii, .nii.gz) or DICOM"


class RawPatient(NamedTuple):
    """A patient in the raw folder.

    Attributes:
        key: Unique name of the patient; only its hash is written into the store.
        read: Function that reads the scan; it may be called in another process.
        files: All source files.
        identity: Patient ID or subject number; scans with the same identity share a split.
        split: Split that the data set itself assigns, or None.
        certain: Whether an identity is one person for sure, so that not even a split file may part
            it. Different people may share the Patient ID of a DICOM file.
    """

    key: str
    read: Callable[[], RawScan]
    files: tuple[Path, ...]
    identity: str = ""
    split: Split | None = None
    certain: bool = True


class RawDataset(NamedTuple):
    """Patients sorted by key, and the files that were left out."""

    patients: list[RawPatient]
    skipped: list[Skipped]


Layout = Callable[..., RawDataset]
"""Function ``layout(raw_dir, task, **options)``."""


def series_of_task(
    files: Iterable[Path], task: Task, skipped: list[Skipped], *, keep_derived: bool = False
) -> list[DicomSeries]:
    """DICOM series of the task's modality, the longest first.

    Args:
        files: Any files.
        task: The task.
        skipped: Receives all other files with the reason.
        keep_derived: Keep images that were computed from others, such as a simulated low dose.
    """
    found, others = find_dicom_series(files, on_error="collect", keep_derived=keep_derived)
    skipped += others
    for one in found:
        if one.modality != task.dicom_modality:
            skipped += [Skipped(path, f"DICOM of modality {one.modality}") for path in one.files]
    return [one for one in found if one.modality == task.dicom_modality]


def raw_dataset(
    raw_dir: Path, task: Task, patients: list[RawPatient], skipped: list[Skipped], expected: str
) -> RawDataset:
    """Build the result of a layout: patients sorted by key.

    Args:
        raw_dir: The raw folder, for errors.
        task: The task, for errors.
        patients: The patients, in any order.
        skipped: Files that were left out.
        expected: What the folder should contain, for errors.

    Raises:
        InputError: There is no patient, or two patients have the same key.
    """
    problems = [one.problem for one in skipped if isinstance(one, Damaged)]
    if not patients and problems:
        raise InputError(problems[0])
    if not patients:
        contents = summarise(skipped) or "it is empty"
        raise InputError(
            f"{raw_dir} holds no scan for task {task.name} ({contents}); expected {expected}: "
            "type raw_dir=<another folder>, another dataset=, or other layout_options"
        )
    twice = [key for key, count in Counter(one.key for one in patients).items() if count > 1]
    if twice:
        raise InputError(
            f"{raw_dir} holds two scans named {twice[0]}; expected one per patient: "
            "leave one of them out or rename it"
        )
    return RawDataset(sorted(patients, key=lambda patient: patient.key), skipped)


def check_folder(raw_dir: Path) -> None:
    """Check that a path is a folder that can be read.

    Raises:
        InputError: It does not exist, is a file, or cannot be read.
    """
    try:
        os.scandir(raw_dir).close()
    except (FileNotFoundError, NotADirectoryError) as error:
        state = "is a file" if raw_dir.exists() else "does not exist"
        raise InputError(
            f"raw_dir={raw_dir} {state}; expected a folder of scans: raw_dir=<folder>"
        ) from error
    except OSError as error:
        raise InputError(
            f"raw_dir={raw_dir} cannot be read ({error.strerror}); "
            "change its permissions or type another folder"
        ) from error
