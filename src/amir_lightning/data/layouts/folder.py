"""Layout ``folder``: one sub-folder or file per patient; LQ is simulated."""

import logging
from collections import defaultdict
from functools import partial
from pathlib import Path

from amir_lightning.data.layouts.layout import (
    RawDataset,
    RawPatient,
    check_folder,
    raw_dataset,
    series_of_task,
)
from amir_lightning.data.pairs import RawScan
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import DicomSeries, Skipped, read_dicom_series
from amir_lightning.io.files import find_files
from amir_lightning.io.nifti.file import is_nifti, nifti_stem
from amir_lightning.io.nifti.scan import read_nifti
from amir_lightning.io.scan import niftis_and_others
from amir_lightning.system.wording import counted
from amir_lightning.tasks import Task

log = logging.getLogger(__name__)


def one_per_patient(raw_dir: Path, task: Task) -> RawDataset:
    """Find the patients of a folder with one sub-folder or one NIfTI file for each.

    A sub-folder holds one NIfTI file, or DICOM files at any depth. If it holds several DICOM series
    of the task's modality, the one with most slices is used. DICOM files directly in ``raw_dir``
    are grouped by Patient ID.

    Args:
        raw_dir: The folder.
        task: The task; its units and DICOM modality are used.

    Raises:
        InputError: The folder cannot be read or holds no scan of the task, or a sub-folder holds
            several scans.
    """
    check_folder(raw_dir)
    files, skipped = find_files(raw_dir)
    found: list[RawPatient] = []
    owners: dict[str, Path] = {}
    by_entry: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        by_entry[raw_dir / path.relative_to(raw_dir).parts[0]].append(path)
    loose: list[Path] = []
    for entry, inside in by_entry.items():
        if inside != [entry]:
            patient = _folder_patient(entry, inside, task, skipped, owners)
            found += [patient] if patient else []
        elif is_nifti(entry):
            found.append(nifti_patient(nifti_stem(entry), entry, task))
        else:
            loose.append(entry)
    _, others = niftis_and_others(loose, skipped)
    series = series_of_task(others, task, skipped)
    for patient_id in sorted({one.patient_id for one in series}):
        own = [one for one in series if one.patient_id == patient_id]
        found.append(_dicom_patient(patient_id or raw_dir.name, raw_dir, own, skipped))
    expected = f"one folder or file per patient, NIfTI or DICOM of modality {task.dicom_modality}"
    return raw_dataset(raw_dir, task, found, skipped, expected)


def nifti_patient(key: str, path: Path, task: Task, identity: str = "") -> RawPatient:
    """Make a patient whose scan is one NIfTI file in the task's units."""
    return RawPatient(key, partial(_read_nifti, path, task.units), (path,), identity)


def _folder_patient(
    folder: Path,
    files: list[Path],
    task: Task,
    skipped: list[Skipped],
    owners: dict[str, Path],
) -> RawPatient | None:
    niftis, others = niftis_and_others(files, skipped)
    series = series_of_task(others, task, skipped)
    if len(niftis) > 1 or (niftis and series):
        raise InputError(
            f"{folder} holds {counted('NIfTI file', len(niftis))} and {len(series)} DICOM series; "
            "expected one scan per patient: leave one, type dataset=pairs if they are a full and a "
            f"reduced scan, or type raw_dir={folder} if each file is a patient"
        )
    if niftis:
        return nifti_patient(folder.name, niftis[0], task)
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
    patient = _dicom_patient(folder.name, folder, series, skipped)
    return patient._replace(identity=patient_id, certain=False)


def _dicom_patient(
    key: str, folder: Path, series: list[DicomSeries], skipped: list[Skipped]
) -> RawPatient:
    chosen, *others = series
    if others:
        log.warning(
            "%s: taking the series with %s (%s, ...), leaving out %s",
            folder,
            counted("slice", len(chosen.files)),
            chosen.files[0].relative_to(folder),
            ", ".join(f"{len(o.files)} ({o.files[0].relative_to(folder)}, ...)" for o in others),
        )
    for other in others:
        skipped += [Skipped(path, "shorter series of a patient") for path in other.files]
    return RawPatient(key, partial(_read_dicom, chosen.files), chosen.files)


def _read_nifti(path: Path, units: str) -> RawScan:
    return RawScan(read_nifti(path, units))


def _read_dicom(files: tuple[Path, ...]) -> RawScan:
    return RawScan(read_dicom_series(files))
