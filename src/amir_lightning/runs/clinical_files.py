"""Clinical measures of an evaluation as CSV files, which tables, cards and dashboards read.

``clinical_regions.csv`` has a row for each region of a patient, ``clinical.csv`` for each patient
and ``clinical_tasks.csv`` for each task, as ``slices.csv``, ``patients.csv`` and ``tasks.csv`` have
of the scores. ``clinical_curves.csv`` has spectra and receiver curves.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from amir_lightning.runs.clinical import (
    IMAGES,
    Clinical,
    Image,
    Overall,
    Row,
    of_patients,
)
from amir_lightning.runs.folder import RunFolder, read_table
from amir_lightning.system.atomic import complete_file
from amir_lightning.tasks import Task

OPTIONS = "clinical.yaml"
_TITLES = {"truth": "truth", "hq": "HQ", "input": "input", "restored": "restored"}


def write_clinical(folder: Path, found: Clinical, options: Mapping[str, object]) -> list[str]:
    """Write the four files into the folder of an evaluation, and ``clinical.yaml`` last.

    Args:
        folder: Folder of the evaluation.
        found: What was measured.
        options: By which options, so that they can be compared later.

    Returns:
        Names of the files.
    """
    patients = of_patients(found.regions)
    names = ["clinical.csv", "clinical_tasks.csv", "clinical_regions.csv", "clinical_curves.csv"]
    keys = ["task", "patient", "measure", "level"]
    tables: list[tuple[list[str], Iterable[Mapping[str, object]]]] = [
        ([*keys, "unit", *IMAGES], map(_line, patients)),
        (
            ["task", "measure", "level", "unit", "patients", *IMAGES, "low", "high", "left_out"],
            map(_overall_line, found.overall),
        ),
        ([*keys, "region", "unit", *IMAGES], map(_line, found.regions)),
        (
            ["task", "curve", "image", "unit", "x", "y"],
            (
                {**one._asdict(), "curve": one.kind, "x": f"{x:.6g}", "y": f"{y:.6g}"}
                for one in found.curves
                for x, y in one.points
            ),
        ),
    ]
    for name, (heads, lines) in zip(names, tables, strict=True):
        with complete_file(folder / name) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, heads, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(lines)
    with complete_file(folder / OPTIONS) as path:
        path.write_text(yaml.safe_dump(dict(options), sort_keys=False))
    return names


def measured_by(folder: Path) -> object:
    """Options by which an evaluation was measured; None if it was not."""
    path = folder / OPTIONS
    try:
        return yaml.safe_load(path.read_text()) if path.exists() else None
    except (OSError, ValueError, yaml.YAMLError):
        return None  # damaged, and measured again


def read_overall(run: RunFolder, *parts: str) -> list[Overall]:
    """Read ``clinical_tasks.csv`` of an evaluation; empty if there is none.

    Raises:
        InputError: The file is damaged.
    """
    found = []
    for row in _read(run, parts, "clinical_tasks.csv"):
        low, high = row["low"], row["high"]
        interval = (float(low), float(high)) if low and high else None
        key = row["task"], row["measure"], row["level"], row["unit"]
        counts = int(row["patients"]), _numbers(row)
        found.append(Overall(*key, *counts, interval, row["left_out"]))
    return found


def read_patient_rows(run: RunFolder, *parts: str) -> list[Row]:
    """Read ``clinical.csv`` of an evaluation; empty if there is none.

    Raises:
        InputError: The file is damaged.
    """
    return [
        Row(row["task"], row["patient"], row["measure"], row["level"], "", row["unit"], values)
        for row in _read(run, parts, "clinical.csv")
        if (values := _numbers(row))
    ]


def clinical_measures(run: RunFolder) -> list[dict[str, object]]:
    """Measures of the test split as plain data, for the card of exported weights."""
    return [
        {
            "task": one.task,
            "measure": one.title,
            "unit": "" if one.unit == "1" else one.unit,
            "values": dict(one.values),
        }
        for one in read_overall(run, "test")
        if one.values
    ]


def print_clinical(found: Sequence[Overall], tasks: Sequence[Task]) -> None:
    """Print the mean of each measure over the patients of each task, and what is left out."""
    table = Table(title="clinical measures, means over patients", title_justify="left")
    for name in ("task", "measure", "unit"):
        table.add_column(name)
    for name in (*_TITLES.values(), "95 %"):
        table.add_column(name, justify="right")
    left_out: dict[str, list[str]] = {}
    for task in tasks:
        for one in (one for one in found if one.task == task.name):
            if one.left_out:
                left_out.setdefault(f"{task.name}: {one.left_out}", []).append(one.title)
                continue
            values = (one.values.get(image) for image in IMAGES)
            table.add_row(
                task.name,
                one.title,
                "" if one.unit == "1" else one.unit,
                *("" if value is None else f"{value:.4g}" for value in values),
                "" if one.interval is None else "{:.4g} to {:.4g}".format(*one.interval),
            )
    Console(soft_wrap=True).print(table)
    for reason, titles in left_out.items():
        print(f"left out of {reason} ({'; '.join(titles)})")


def _read(run: RunFolder, parts: Sequence[str], name: str) -> list[dict[str, str]]:
    path = run.evaluation(*parts) / name
    advice = f"write it with python -m amir_lightning.evaluate run={run.typed} clinical=true"
    return read_table(path, advice) if path.exists() else []


def _numbers(row: Mapping[str, str]) -> dict[Image, float]:
    return {image: float(row[image]) for image in IMAGES if row[image]}


def _line(row: Row) -> dict[str, object]:
    values: dict[str, object] = {image: f"{value:.6g}" for image, value in row.values.items()}
    return {**row._asdict(), **values}


def _overall_line(one: Overall) -> dict[str, object]:
    low, high = (f"{value:.6g}" for value in one.interval) if one.interval else ("", "")
    values: dict[str, object] = {image: f"{value:.6g}" for image, value in one.values.items()}
    return {**one._asdict(), **values, "low": low, "high": high}
