"""How scans lie on a disk: a layout finds the patients of a raw folder and says how to read each.

The layout here is the plain one: each patient is a folder or a file of its own.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from amir_lightning.data.pairs import RawScan
from amir_lightning.errors import InputError
from amir_lightning.io.dicom import DicomSeries, Skipped, find_dicom_series, read_dicom_series
from amir_lightning.io.nifti import is_nifti, nifti_stem, read_nifti
from amir_lightning.tasks import Task

log = logging.getLogger(__name__)


class RawPatient(NamedTuple):
    """A patient in the raw folder.

    Attributes:
        key: What tells patients apart; hashed before it enters the store.
        read: Reads the scan; called when the patient's turn comes.
        identity: Patient ID of a DICOM scan, if it has one; scans that share it share a split.
    """

    key: str
    read: Callable[[], RawScan]
    identity: str = ""


Layout = Callable[[Path, Task], tuple[list[RawPatient], list[Skipped]]]


def one_per_patient(raw_dir: Path, task: Task) -> tuple[list[RawPatient], list[Skipped]]:
    """Patients of a folder with one sub-folder or one NIfTI file for each.

    A sub-folder holds one NIfTI file or DICOM files at any depth; of several DICOM series of the
    task's modality the one with most slices is taken. DICOM files that lie loose in ``raw_dir`` are
    told apart by their Patient ID.

    Args:
        raw_dir: The folder.
        task: The task; its units and DICOM modality are used.

    Returns:
        Patients sorted by key, and what was left out.

    Raises:
        InputError: The folder cannot be read, holds no scan of the task, or does not tell which
            scan is the patient's.
    """
    entries = _list(raw_dir)
    found: list[RawPatient] = []
    skipped: list[Skipped] = []
    owners: dict[str, Path] = {}
    for entry in entries:
        if entry.is_file() and is_nifti(entry):
            found.append(_nifti_patient(nifti_stem(entry), entry, task))
        elif entry.is_dir():
            patient = _folder_patient(entry, task, skipped, owners)
            found += [patient] if patient else []
    loose = [entry for entry in entries if entry.is_file() and not is_nifti(entry)]
    series = _series(loose, task, skipped)
    for patient_id in sorted({one.patient_id for one in series}):
        own = [one for one in series if one.patient_id == patient_id]
        found.append(_dicom_patient(patient_id or raw_dir.name, raw_dir, own, skipped))

    keys = [patient.key for patient in found]
    for key in keys:
        if keys.count(key) > 1:
            raise InputError(
                f"{raw_dir} holds two scans named {key}; expected one per patient: "
                "leave one of them out or rename it"
            )
    if not found:
        contents = summarise(skipped) or "it is empty"
        raise InputError(
            f"{raw_dir} holds no scan for task {task.name} ({contents}); expected one folder or "
            f"file per patient, NIfTI or DICOM of modality {task.dicom_modality}: "
            "type raw_dir=<folder>"
        )
    return sorted(found, key=lambda patient: patient.key), skipped


def summarise(skipped: Iterable[Skipped]) -> str:
    """How many were left out for which reason, as one line."""
    counts: dict[str, int] = defaultdict(int)
    for one in skipped:
        counts[one.reason] += 1
    return ", ".join(f"{count} x {reason}" for reason, count in sorted(counts.items()))


def _folder_patient(
    folder: Path, task: Task, skipped: list[Skipped], owners: dict[str, Path]
) -> RawPatient | None:
    files = _files(folder)
    niftis = [path for path in files if is_nifti(path)]
    series = _series([path for path in files if not is_nifti(path)], task, skipped)
    if len(niftis) > 1 or (niftis and series):
        raise InputError(
            f"{folder} holds {len(niftis)} NIfTI files and {len(series)} DICOM series; "
            f"expected one scan per patient: leave one, "
            f"or type raw_dir={folder} if each file is a patient"
        )
    if niftis:
        return _nifti_patient(folder.name, niftis[0], task)
    if not series:
        return None
    patient_ids = {one.patient_id for one in series}
    if len(patient_ids) > 1:
        raise InputError(
            f"{folder} holds DICOM series of {len(patient_ids)} patients; expected one folder per "
            f"patient: type raw_dir={folder} if it is the data set"
        )
    patient_id = patient_ids.pop()
    other = owners.setdefault(patient_id, folder)
    if patient_id and other != folder:
        log.warning(
            "%s and %s carry the same Patient ID and share a split; if they are different "
            "patients, name their splits with split_file=<csv>",
            other,
            folder,
        )
    return _dicom_patient(folder.name, folder, series, skipped)._replace(identity=patient_id)


def _nifti_patient(key: str, path: Path, task: Task) -> RawPatient:
    def read() -> RawScan:
        return RawScan(read_nifti(path, task.units))

    return RawPatient(key, read)


def _dicom_patient(
    key: str, folder: Path, series: list[DicomSeries], skipped: list[Skipped]
) -> RawPatient:
    chosen, *others = series
    if others:
        log.warning(
            "%s: taking the series with %d slices (%s, ...), leaving out %s",
            folder,
            len(chosen.files),
            chosen.files[0].relative_to(folder),
            ", ".join(f"{len(o.files)} ({o.files[0].relative_to(folder)}, ...)" for o in others),
        )
    for other in others:
        skipped += [Skipped(path, "shorter series of a patient") for path in other.files]
    return RawPatient(key, partial(_read_dicom, chosen.files))


def _read_dicom(files: tuple[Path, ...]) -> RawScan:
    return RawScan(read_dicom_series(files))


def _series(files: list[Path], task: Task, skipped: list[Skipped]) -> list[DicomSeries]:
    """Series of the task's modality, the longest first."""
    found, others = find_dicom_series(files)
    skipped += others
    for one in found:
        if one.modality != task.dicom_modality:
            skipped += [Skipped(path, f"DICOM of modality {one.modality}") for path in one.files]
    return [one for one in found if one.modality == task.dicom_modality]


def _list(raw_dir: Path) -> list[Path]:
    if not raw_dir.is_dir():
        state = "is a file" if raw_dir.exists() else "does not exist"
        raise InputError(f"raw_dir={raw_dir} {state}; expected a folder of scans: raw_dir=<folder>")
    try:
        return sorted(path for path in raw_dir.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"raw_dir={raw_dir} cannot be read ({error.strerror}); "
            "give yourself the right to read it or type another folder"
        ) from error


def _files(folder: Path) -> list[Path]:
    """Files at any depth, without hidden ones such as macOS leaves next to each file."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
