"""Layout ``table``: a CSV names each patient's files, ``patient,hq[,lq][,split]``."""

import csv
from functools import partial
from pathlib import Path

from amir_lightning.data.layouts.layout import (
    DICOM_OR_NIFTI,
    RawDataset,
    RawPatient,
    raw_dataset,
    series_of_task,
)
from amir_lightning.data.layouts.matching import read_pair
from amir_lightning.data.pairs import RawScan
from amir_lightning.data.splits import Split, split_named
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import Skipped, read_dicom_series
from amir_lightning.io.files import find_files
from amir_lightning.io.nifti.file import is_nifti
from amir_lightning.io.nifti.scan import read_nifti
from amir_lightning.io.scan import niftis_and_others
from amir_lightning.system.wording import counted
from amir_lightning.tasks import Task

_COLUMNS = ("patient", "hq", "lq", "split")


def table(raw_dir: Path, task: Task, table: str | Path | None = None) -> RawDataset:
    """Read the patients from a CSV; its paths are relative to ``raw_dir`` or to the CSV.

    Args:
        raw_dir: Folder of the scans.
        task: The task.
        table: CSV with the columns ``patient`` and ``hq``, and optionally ``lq`` and ``split``.

    Raises:
        InputError: The table, or a file that one of its rows names, is missing or not usable.
    """
    if table is None:
        raise InputError("dataset=table needs a CSV; type layout_options.table=<csv>")
    path = Path(table)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            rows, columns = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"table {path} cannot be read ({error}); expected a CSV: type "
            "layout_options.table=<csv>"
        ) from error
    unknown = [name for name in columns if name not in _COLUMNS]
    if unknown or "patient" not in columns or "hq" not in columns:
        raise InputError(
            f"table {path} has the columns {', '.join(columns) or 'none'}; expected "
            "patient and hq, and optionally lq and split: correct its first line"
        )
    skipped: list[Skipped] = []
    patients = []
    for number, row in enumerate(rows, 2):
        where = f"row {number} of {path}"
        key = (row.get("patient") or "").strip()
        if not key:
            raise InputError(f"{where} names no patient; expected a value in the column patient")
        hq = _files(row.get("hq"), raw_dir, path, task, where, skipped)
        lq = _files(row["lq"], raw_dir, path, task, where, skipped) if row.get("lq") else ()
        name = (row.get("split") or "").strip()
        split: Split | None = split_named(name, f"{where}, patient {key}") if name else None
        read = partial(_read, hq, lq, task.units)
        patients.append(RawPatient(key, read, (*hq, *lq), key, split))
    return raw_dataset(raw_dir, task, patients, skipped, f"rows in {path}")


def _files(
    text: str | None, raw_dir: Path, table: Path, task: Task, where: str, skipped: list[Skipped]
) -> tuple[Path, ...]:
    name = (text or "").strip()
    places = [raw_dir / name, table.parent / name]
    try:
        found = next((place for place in places if name and place.exists()), None)
    except OSError as error:
        raise InputError(
            f"{where} names '{name}', which cannot be read ({error.strerror}); change its "
            "permissions or leave the row out"
        ) from error
    if found is None:
        raise InputError(
            f"{where} names '{name}', which does not exist below {raw_dir}; correct it"
        )
    if found.is_file() and is_nifti(found):
        return (found,)
    files, left_out = find_files(found) if found.is_dir() else ([found], [])
    skipped += left_out
    niftis, others = niftis_and_others(files, skipped)
    series = series_of_task(others, task, skipped)
    if len(niftis) + len(series) != 1:
        raise InputError(
            f"{where}: {found} holds {counted('NIfTI file', len(niftis))} and {len(series)} DICOM "
            f"series of modality {task.dicom_modality}; expected one scan, {DICOM_OR_NIFTI}"
        )
    return (niftis[0],) if niftis else series[0].files


def _read(hq: tuple[Path, ...], lq: tuple[Path, ...], units: str) -> RawScan:
    if lq:
        return read_pair(hq, lq, units)
    return RawScan(read_nifti(hq[0], units) if is_nifti(hq[0]) else read_dicom_series(hq))
