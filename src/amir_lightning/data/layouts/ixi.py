"""Layout ``ixi``: one file per subject and sequence, such as ``IXI002-Guys-0828-T2.nii.gz``."""

import re
from pathlib import Path

from amir_lightning.data.layouts.folder import nifti_patient
from amir_lightning.data.layouts.layout import RawDataset, RawPatient, check_folder, raw_dataset
from amir_lightning.io.dicom.series import Skipped
from amir_lightning.io.files import find_files
from amir_lightning.io.nifti.file import is_nifti, nifti_stem
from amir_lightning.tasks import Task

_NAME = re.compile(r"(?P<subject>IXI\d{3})-(?P<site>[^-]+)-\d+-(?P<sequence>[^-.]+)", re.IGNORECASE)


def ixi(raw_dir: Path, task: Task, sequence: str = "T2") -> RawDataset:
    """Find the subjects of the IXI data set.

    Args:
        raw_dir: The folder, with files at any depth.
        task: The task.
        sequence: T2 (as in the paper), T1 or PD.

    Raises:
        InputError: There is no file of that sequence.
    """
    check_folder(raw_dir)
    patients: list[RawPatient] = []
    files, skipped = find_files(raw_dir)
    for path in files:
        match = _NAME.match(path.name)
        if not is_nifti(path) or match is None:
            skipped.append(Skipped(path, "not a file of IXI"))
        elif match["sequence"].upper() != sequence.upper():
            skipped.append(Skipped(path, f"sequence {match['sequence']}"))
        else:
            patients.append(nifti_patient(nifti_stem(path), path, task, match["subject"].upper()))
    return raw_dataset(raw_dir, task, patients, skipped, f"files named IXI*-{sequence}.nii.gz")


def looks_like_ixi(path: Path) -> bool:
    """Whether a file is named like an IXI scan."""
    return is_nifti(path) and _NAME.match(path.name) is not None
