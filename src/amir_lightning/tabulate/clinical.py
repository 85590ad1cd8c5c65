"""Tables of clinical measures of the runs that have them, with differences to AMIR."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from amir_lightning.runs.clinical import MEASURES, Overall, Row, mean_overall, mean_rows
from amir_lightning.runs.clinical_files import read_overall, read_patient_rows
from amir_lightning.tabulate.grid import Cell, Grid, signed
from amir_lightning.tabulate.render import against_amir
from amir_lightning.tabulate.results import Method
from amir_lightning.tabulate.statistics import Difference, difference, holm, reference
from amir_lightning.tasks import Task

Key = tuple[str, str, str]
"""Task, measure and level."""


class Measured(NamedTuple):
    """Clinical measures of a method, the mean over its seeds.

    Attributes:
        method: The method.
        overall: Measures of whole tasks.
        patients: Number of the restored image of each patient.
        differences: Differences to AMIR, for measures that patients have.
    """

    method: Method
    overall: Mapping[Key, Overall]
    patients: Mapping[Key, Mapping[str, float]]
    differences: Mapping[Key, Difference]


def measured(methods: Sequence[Method], bootstrap: int) -> list[Measured]:
    """Read the methods all of whose runs have been evaluated with ``clinical=true``.

    `reference` finds the row of AMIR that a method is compared with. The p-values of a measure are
    corrected by Holm for all comparisons of the table in it.
    """
    found = [_read(method) for method in methods if method.runs]
    found = [one for one in found if one.overall]
    amir = [one for one in found if one.method.network == "amir"]
    compared = []
    for one in found:
        method = reference(one.method, [other.method for other in amir])
        theirs = next((other for other in amir if other.method is method), one)
        own = {} if theirs is one else _against(one, theirs, bootstrap)
        compared.append(one._replace(differences=own))
    for measure in MEASURES:
        keys = [(at, key) for at, one in enumerate(compared) for key in one.differences]
        keys = [(at, key) for at, key in keys if key[1] == measure]
        found_p = [compared[at].differences[key].p_value for at, key in keys]
        values = [1.0 if value is None else value for value in found_p]
        for (at, key), corrected in zip(keys, holm(values), strict=True):
            own = dict(compared[at].differences)
            own[key] = replace(own[key], corrected=corrected)
            compared[at] = compared[at]._replace(differences=own)
    return compared


def clinical_grid(found: Sequence[Measured], tasks: Sequence[Task]) -> Grid:
    """Lay out a row for each task and measure, with a column for each method."""
    heads = ["Task", "Measure", "Unit", "HQ", "LQ", *(one.method.label for one in found)]
    body = []
    for task, key, first in _keys(found, tasks):
        best = min(own.error for one in found if (own := one.overall.get(key)))
        cells = [_cell(one.overall.get(key), best) for one in found]
        known = [_number(first.values.get("hq")), _number(first.values.get("input"))]
        texts = [task.title, first.title, "" if first.unit == "1" else first.unit, *known]
        body.append([*map(Cell, texts), *cells])
    return Grid([("", 1)] * len(heads), heads, body, frozenset({0, 1, 2}))


def clinical_difference_grid(found: Sequence[Measured], tasks: Sequence[Task]) -> Grid:
    """Lay out the differences to AMIR of each task and measure."""
    heads = ["Task", "Measure", "Method", "Patients", "minus AMIR", "effect", "p"]
    body = []
    for task, key, first in _keys(found, tasks):
        for one in found:
            if (own := one.differences.get(key)) is None:
                continue
            beside = "" if own.interval is None else "{:+.3g} to {:+.3g}".format(*own.interval)
            body.append(
                [
                    *(Cell(task.title), Cell(first.title), Cell(one.method.label)),
                    Cell(str(own.patients)),
                    Cell(signed(own.mean, ".3g"), beside=beside.replace("-", "\N{MINUS SIGN}")),
                    Cell("—" if own.effect is None else signed(own.effect, ".2f")),
                    Cell("—" if own.corrected is None else f"{own.corrected:.3g}"),
                ]
            )
    return Grid([("", 1)] * len(heads), heads, body, frozenset({0, 1, 2}))


def clinical_notes() -> str:
    """Caption of the table of clinical measures."""
    return (
        "Means over patients with 95 % bootstrap intervals over patients. Bold: closest to 0 for "
        "errors and shares, to 1 for recoveries and areas, and to HQ for noise and sharpness."
    )


def clinical_records(
    experiment: str, found: Sequence[Measured], columns: Sequence[str]
) -> Iterator[dict[str, object]]:
    """One row of ``results.csv`` per method, task and measure.

    Args:
        experiment: Name of the experiment.
        found: The methods.
        columns: Columns of the file; those that a measure has no number for stay empty.
    """
    for one in found:
        for key, own in one.overall.items():
            task, measure, level = key
            low, high = own.interval or (None, None)
            row: dict[str, object] = dict.fromkeys(columns, "")
            row |= {
                "experiment": experiment,
                "scale": one.method.scale,
                "method": one.method.label,
                "network": one.method.network,
                "trained": "+".join(one.method.trained),
                "task": task,
                "score": f"{measure} {level}".strip(),
                "value": _text(own.values["restored"]),
                "low": _text(low),
                "high": _text(high),
                "patients": own.patients,
                "runs": "+".join(run.files.name for run in one.method.runs),
            }
            row |= against_amir(one.differences.get(key))
            yield row


def _read(method: Method) -> Measured:
    overall = [read_overall(run.files, "test") for run in method.runs]
    if not all(overall):
        return Measured(method, {}, {}, {})
    means = mean_overall(overall)
    rows = mean_rows([read_patient_rows(run.files, "test") for run in method.runs])
    by_key: dict[Key, dict[str, float]] = {}
    for row in rows:
        by_key.setdefault(_key(row), {})[row.patient] = row.values["restored"]
    return Measured(
        method, {_key(one): one for one in means if "restored" in one.values}, by_key, {}
    )


def _key(row: Row | Overall) -> Key:
    return row.task, row.measure, row.level


def _against(one: Measured, amir: Measured, bootstrap: int) -> dict[Key, Difference]:
    found = {}
    for key, own in one.patients.items():
        theirs = amir.patients.get(key, {})
        if one.method.basis(key[0]) != amir.method.basis(key[0]):
            continue
        values = np.array([own[name] - theirs[name] for name in own if name in theirs])
        if len(values):
            found[key] = difference([values], bootstrap)
    return found


def _keys(found: Sequence[Measured], tasks: Sequence[Task]) -> Iterator[tuple[Task, Key, Overall]]:
    """Each task with its measures and levels, and one method's numbers."""
    for task in tasks:
        for measure in MEASURES:
            there = {
                key: own
                for one in reversed(found)
                for key, own in one.overall.items()
                if key[:2] == (task.name, measure)
            }
            yield from ((task, key, own) for key, own in there.items())


def _cell(one: Overall | None, best: float) -> Cell:
    if one is None:
        return Cell("—")
    beside = "" if one.interval is None else "{:.3g} to {:.3g}".format(*one.interval)
    beside = beside.replace("-", "\N{MINUS SIGN}")
    return Cell(f"{one.values['restored']:.3g}", "best" if one.error == best else "", beside)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
