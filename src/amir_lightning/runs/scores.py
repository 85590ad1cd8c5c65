"""Scores of an evaluation as a table on the terminal and as CSV files."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from amir_lightning.metrics import SCORES, Group, Summary
from amir_lightning.runs.folder import RunFolder
from amir_lightning.tasks import Task

Patients = Mapping[str, Mapping[str, Group]]
"""Mean scores over the slices of each patient, by task and patient."""


def print_scores(summary: Summary, tasks: Sequence[Task], title: str) -> None:
    """Print a table of task x {input, restored} x {PSNR, SSIM, RMSE}."""
    table = Table(title=title, title_justify="left")
    for name in ("task", "slices", "image"):
        table.add_column(name)
    for name in (r"PSNR \[dB]", "SSIM", "RMSE"):
        table.add_column(name, justify="right")
    for task in tasks:
        group = summary.tasks[task.name]
        count = f"{group.num_slices}"
        if group.num_constant:
            count += f" (+{group.num_constant} with a constant label, left out)"
        for label, prefix in (("input", "input_"), ("restored", "")):
            psnr, ssim, rmse = (group.means[prefix + key] for key in ("psnr", "ssim", "rmse"))
            table.add_row(
                *((task.title, count) if prefix else ("", "")),
                label,
                _text(psnr, ".2f"),
                _text(ssim, ".4f"),
                f"{_text(rmse, '.4g')} {task.units}",
                end_section=not prefix,
            )
    Console(soft_wrap=True).print(table)


def write_scores(folder: Path, rows: Sequence[Mapping[str, object]], summary: Summary) -> None:
    """Write ``slices.csv``, ``patients.csv`` and ``tasks.csv``.

    Args:
        folder: Folder of the files; made if needed.
        rows: One row per slice, with the columns task, patient, slice and `SCORES`.
        summary: Means over these rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "slices.csv", ["task", "patient", "slice", *SCORES], rows)
    patients = (
        {"task": task, "patient": patient, **_columns(group)}
        for task, groups in summary.tasks.items()
        for patient, group in groups.patients.items()
    )
    counts = ["slices", "constant_slices"]
    _write(folder / "patients.csv", ["task", "patient", *counts, *SCORES], patients)
    tasks = ({"task": task, **_columns(group)} for task, group in summary.tasks.items())
    _write(folder / "tasks.csv", ["task", *counts, *SCORES], tasks)


def read_patients(run: RunFolder, *evaluation: str) -> Patients:
    """Read ``patients.csv`` of an evaluation, which kept runs have, too.

    Args:
        run: Run folder.
        evaluation: Names of the evaluation, such as a split.

    Raises:
        InputError: There is no such file.
        KeyError, TypeError, ValueError: The file is damaged.
    """
    patients: dict[str, dict[str, Group]] = {}
    for row in run.rows(*evaluation, table="patients"):
        patients.setdefault(row["task"], {})[row["patient"]] = _group(row)
    return patients


def _group(row: Mapping[str, str]) -> Group:
    slices, constant = int(row["slices"]), int(row["constant_slices"])
    return Group({key: float(row[key]) if slices else None for key in SCORES}, slices, constant)


def _columns(group: Group) -> dict[str, object]:
    counts = {"slices": group.num_slices, "constant_slices": group.num_constant}
    return {**counts, **group.means}


def _write(path: Path, columns: list[str], rows: Iterable[Mapping[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
