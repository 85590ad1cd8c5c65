"""Clinical measures of an evaluation as CSV files, which tables, cards and dashboards read.

``clinical_regions.csv`` has a row for each region of a patient, ``clinical.csv`` for each patient
and ``clinical_tasks.csv`` for each task, as ``slices.csv``, ``patients.csv`` and ``tasks.csv`` have
of the scores. ``clinical_curves.csv`` has spectra and receiver curves.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import yaml
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from amir_lightning.metrics.clinical.intervals import FEWEST
from amir_lightning.runs.clinical import (
    IMAGES,
    MEASURES,
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
    """Print the mean of each measure over the patients of each task, and what is left out.

    The tables fit into 80 columns. Truths, which are 0 or 1 for most measures, are in the files.
    """
    for task in tasks:
        own = [one for one in found if one.task == task.name]
        table = Table(
            title=f"{task.title}: clinical measures, means over patients",
            title_justify="left",
            box=box.SIMPLE_HEAD,
            show_edge=False,
            pad_edge=False,
            collapse_padding=True,
        )
        table.add_column("measure")
        for name in ("HQ", "input", "restored", "95 %"):
            table.add_column(name, justify="right", no_wrap=True)
        there = (one for one in own if not one.left_out)
        for title, levels in groupby(there, key=_title):
            first, *others = levels
            if first.level:
                table.add_row(escape(title))
            for one in (first, *others):
                table.add_row(escape(f"  {one.level}" if one.level else title), *_cells(one))
        Console(soft_wrap=True).print(table, "")
        if any(one.values and one.patients < FEWEST for one in own):
            print(f"{task.name}: fewer than {FEWEST} patients have no 95 % interval")
        left_out: dict[str, list[str]] = {}
        for one in own:
            if one.left_out:
                left_out.setdefault(one.left_out, []).append(one.title)
        for reason, titles in left_out.items():
            print(f"left out of {task.name}: {reason} ({'; '.join(titles)})")


def _title(one: Overall) -> str:
    """Name of a measure with its unit, without the contrast."""
    title = MEASURES[one.measure].title
    return title if one.unit == "1" else f"{title} [{one.unit}]"


def _cells(one: Overall) -> Iterator[str]:
    """Numbers of a row of the printed table."""
    names: tuple[Image, ...] = ("hq", "input", "restored")
    for name in names:
        yield f"{one.values[name]:.3g}" if name in one.values else ""
    yield "" if one.interval is None else "{:.3g} to {:.3g}".format(*one.interval)


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
