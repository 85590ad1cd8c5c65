"""Scores split by a parameter that was drawn for each patient, such as the dose of a blind task."""

import csv
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from amir_lightning.data.splits import SPLITS
from amir_lightning.data.store import Store
from amir_lightning.errors import InputError
from amir_lightning.metrics import SCORES, TaskSummary, summarise
from amir_lightning.tasks import Task

Values = Mapping[str, Mapping[str, float]]
"""Value of the parameter by task and patient."""

Range = tuple[float, float]
"""Smallest and largest value of a parameter."""


class Part(NamedTuple):
    """Scores of the patients of a task whose parameter lies in one range.

    Attributes:
        task: Name of the task.
        low: Smallest value.
        high: Largest value.
        scores: Means over the slices of these patients.
    """

    task: str
    low: float
    high: float
    scores: TaskSummary


def values_of(stores: Mapping[Task, Path], name: str, typed: Sequence[str] = ()) -> Values:
    """Read a parameter of all patients; tasks that do not draw it are left out.

    Args:
        stores: Data file of each task.
        name: Name of the parameter.
        typed: Parameters that were typed, as `set_physics` returns them: a number in place of the
            draw is that of all patients.

    Raises:
        InputError: No task draws it.
    """
    found: dict[str, dict[str, float]] = {}
    known: dict[str, set[str]] = {}
    for task, path in stores.items():
        store = Store(path, task.name)
        number = store.degradation.get(name)
        fixed = any(text.startswith(f"{task.name}.{name}=") for text in typed)
        for patient in {one for split in SPLITS for one in store.patients(split)}:
            parameters = store.parameters(patient)
            if fixed and isinstance(number, int | float):
                parameters = {**parameters, name: number}
            known.setdefault(task.name, set()).update(parameters)
            if name in parameters:
                found.setdefault(task.name, {})[patient] = parameters[name]
    if not found:
        listed = "; ".join(
            f"{task}: {', '.join(sorted(own)) or 'none'}" for task, own in known.items()
        )
        raise InputError(
            f"by={name} is no parameter that was drawn for the patients of this run ({listed}); "
            "type by=<one of them>, or leave it out"
        )
    return found


def drawn_ranges(task: Task) -> dict[str, Range]:
    """Ranges of the parameters that the degradation of a task draws for each patient, by name."""
    from hydra.utils import instantiate

    nodes = {name: node for name, node in task.degradation.items() if isinstance(node, Mapping)}
    objects = {name: instantiate(node) for name, node in nodes.items()}
    return {
        name: (min(drawn.extremes), max(drawn.extremes))
        for name, drawn in objects.items()
        if hasattr(drawn, "extremes")  # a `Drawn`, also one of the user's own
    }


def split_scores(
    rows: Sequence[Mapping[str, object]], values: Values, groups: int, bootstrap: int, seed: int
) -> list[Part]:
    """Split the patients of each task into groups of neighbouring values, and average over each.

    Args:
        rows: One row per slice, as `summarise` takes them.
        values: Value of each patient.
        groups: Largest number of groups of a task; 0 makes one for each value.
        bootstrap: Resamples of the patients of a group.
        seed: Seed of the resampling.

    Raises:
        InputError: `groups` is negative, or no scored patient has a value.
    """
    if groups < 0:
        raise InputError(f"by_groups is {groups}, expected at least 0; type by_groups=4")
    parts = []
    for task, own in values.items():
        scored = {str(row["patient"]) for row in rows if row["task"] == task}
        distinct = sorted({own[patient] for patient in scored if patient in own})
        if not distinct:
            continue
        count = min(groups or len(distinct), len(distinct))
        ends = [round(number * len(distinct) / count) for number in range(count + 1)]
        for some in (distinct[first:end] for first, end in pairwise(ends)):
            inside = [
                row
                for row in rows
                if row["task"] == task
                and some[0] <= own.get(str(row["patient"]), math.nan) <= some[-1]
            ]
            scores = summarise(inside, bootstrap, seed=seed).tasks[task]
            parts.append(Part(task, some[0], some[-1], scores))
    if not parts:
        raise InputError(
            "by= splits by a number that was drawn for none of the scored patients; type "
            "split=<another>, or leave by= out"
        )
    return parts


def print_split(parts: Sequence[Part], tasks: Sequence[Task], name: str) -> None:
    """Print PSNR of the input and of the restored slices in each group."""
    titles = {task.name: task.title for task in tasks}
    table = Table(title=f"by {name}", title_justify="left")
    for column in ("task", name, "patients"):
        table.add_column(column)
    for column in (r"input PSNR \[dB]", r"restored PSNR \[dB]", "95 %"):
        table.add_column(column, justify="right")
    for part in parts:
        table.add_row(
            titles[part.task],
            f"{part.low:.4g}" if part.low == part.high else f"{part.low:.4g} to {part.high:.4g}",
            str(len(part.scores.patients)),
            *(_text(part.scores.means[key]) for key in ("input_psnr", "psnr")),
            " to ".join(map(_text, part.scores.intervals.get("psnr", ()))) or "-",
        )
    Console(soft_wrap=True).print(table)


def write_split(folder: Path, parts: Sequence[Part], name: str) -> Path:
    """Write ``by_<parameter>.csv``: one row per task and group, with the bounds of its PSNR."""
    path = folder / f"by_{name}.csv"
    counts = ["patients", "slices", "constant_slices"]
    columns = ["task", f"{name}_low", f"{name}_high", *counts, *SCORES, "psnr_low", "psnr_high"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for task, low, high, scores in parts:
            sizes = (len(scores.patients), scores.num_slices, scores.num_constant)
            means = (scores.means[key] for key in SCORES)
            bounds = scores.intervals.get("psnr", (None, None))
            writer.writerow([task, low, high, *sizes, *means, *bounds])
    return path


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
