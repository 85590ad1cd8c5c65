"""What a layout finds in a raw folder: patients, how to read each, and what it left out."""

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
        key: What tells patients apart; hashed before it enters the store.
        read: Reads the scan; called when the patient's turn comes, maybe in another process.
        files: Every source file.
        identity: Who it is: Patient ID or subject number; scans that share it share a split.
        split: Where the data set itself puts the patient.
    """

    key: str
    read: Callable[[], RawScan]
    files: tuple[Path, ...]
    identity: str = ""
    split: Split | None = None


class RawDataset(NamedTuple):
    """Patients sorted by key, and what was left out."""

    patients: list[RawPatient]
    skipped: list[Skipped]


Layout = Callable[..., RawDataset]
"""``layout(raw_dir, task, **options)``."""


def series_of_task(
    files: Iterable[Path], task: Task, skipped: list[Skipped], *, keep_derived: bool = False
) -> list[DicomSeries]:
    """DICOM series of the task's modality, the longest first; others go to `skipped`.

    Args:
        files: Any files.
        task: The task.
        skipped: Filled with what is left out, and why.
        keep_derived: Take images that were computed from others, such as a simulated low dose.
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
    """What a layout returns, after a look whether there is anything and names are unique.

    Raises:
        InputError: No patient was found, or two have the same key.
    """
    problems = [one.problem for one in skipped if isinstance(one, Damaged)]
    if not patients and problems:
        raise InputError(problems[0])
    if not patients:
        contents = summarise(skipped) or "it is empty"
        raise InputError(
            f"{raw_dir} holds no scan for task {task.name} ({contents}); expected {expected}: "
            "type raw_dir=<folder>"
        )
    twice = [key for key, count in Counter(one.key for one in patients).items() if count > 1]
    if twice:
        raise InputError(
            f"{raw_dir} holds two scans named {twice[0]}; expected one per patient: "
            "leave one of them out or rename it"
        )
    return RawDataset(sorted(patients, key=lambda patient: patient.key), skipped)


def check_folder(raw_dir: Path) -> None:
    """Refuse what is not a folder that can be read.

    Raises:
        InputError: Says what it is instead.
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
            "give yourself the right to read it or type another folder"
        ) from error
