"""Layouts of raw data sets: each finds the patients in a folder and knows how to read them."""

from pathlib import Path

from amir_lightning.data.layouts.archive import archive, modality_folder
from amir_lightning.data.layouts.bids import bids, looks_like_bids
from amir_lightning.data.layouts.fastmri import fastmri, looks_like_fastmri
from amir_lightning.data.layouts.folder import one_per_patient
from amir_lightning.data.layouts.ixi import ixi, looks_like_ixi
from amir_lightning.data.layouts.layout import Layout, RawDataset, RawPatient, check_folder
from amir_lightning.data.layouts.mayo import looks_like_mayo, mayo
from amir_lightning.data.layouts.paired import paired
from amir_lightning.data.layouts.roles import roles_of
from amir_lightning.data.layouts.table import table
from amir_lightning.io.files import find_files
from amir_lightning.io.nifti.file import is_nifti, nifti_stem
from amir_lightning.tasks import Task

__all__ = ["LAYOUTS", "Layout", "RawDataset", "RawPatient", "detect"]

LAYOUTS: dict[str, Layout] = {
    "ixi": ixi,
    "mayo": mayo,
    "fastmri": fastmri,
    "bids": bids,
    "pairs": paired,
    "archive": archive,
    "table": table,
    "folder": one_per_patient,
}

_MOST_FILES = 20_000  # number of file names that `detect` inspects


def detect(raw_dir: Path, task: Task) -> str:
    """Guess the layout of a folder from its file and folder names.

    Raises:
        InputError: The folder cannot be read.
    """
    check_folder(raw_dir)
    if modality_folder(raw_dir, task) is not None:
        return "archive"
    files = [path.relative_to(raw_dir) for path in find_files(raw_dir)[0][:_MOST_FILES]]
    inside = [Path(raw_dir.name) / path for path in files]
    if any(looks_like_ixi(path) for path in files):
        return "ixi"
    if task.dicom_modality == "CT" and any(looks_like_mayo(path) for path in inside):
        return "mayo"
    if any(looks_like_fastmri(raw_dir / path) for path in files):
        return "fastmri"
    scans = [path for path in files if is_nifti(path) or len(path.parts) > 1]
    names = [(*path.parts[:-1], nifti_stem(path) if is_nifti(path) else "") for path in scans]
    if {"hq", "lq"} <= set(roles_of(names)):
        return "pairs"
    return "bids" if any(looks_like_bids(path) for path in files) else "folder"
