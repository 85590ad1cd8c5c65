"""Comparisons of a claim: the advantage of one side over the other, patient by patient."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from statistics import fmean

from amir_lightning.claims.rules import Claim, Interference, Patients, Scores
from amir_lightning.errors import InputError
from amir_lightning.metrics import Group
from amir_lightning.runs.figures import figure_file, figure_rows
from amir_lightning.runs.folder import RunFolder
from amir_lightning.tabulate.results import Method, Run
from amir_lightning.tabulate.statistics import spread

ByTask = Mapping[str, Mapping[str, float]]
"""A number of each patient, by task and patient."""


@dataclass(frozen=True)
class Comparison:
    """One comparison of a claim; its advantage is positive where the claim is right.

    Attributes:
        ahead: Side that the claim sees ahead.
        behind: The other side.
        task: Task, "average", or block of the networks.
        score: Name of the number that is compared.
        advantages: Advantage of each patient, its mean over the seeds; empty if the units are no
            patients.
        measured: Advantage and its standard error, if the units are no patients.
        missing: What has to be run before this can be compared.
        seeds: Number of seeds of each side.
        spread: Standard deviation of the advantage over the seeds that both sides have.
        paper: Advantage in the paper; None if it prints none.
        runs: Names of the runs.
    """

    ahead: str
    behind: str
    task: str
    score: str
    advantages: ByTask = field(default_factory=dict)
    measured: tuple[float, float] | None = None
    missing: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    spread: float | None = None
    paper: float | None = None
    runs: tuple[str, ...] = ()


def comparisons(claim: Claim, methods: Sequence[Method]) -> list[Comparison]:
    """List the comparisons of a claim.

    Args:
        claim: The claim.
        methods: Rows of the table of its experiment.

    Raises:
        InputError: The claim names a run that is not in its experiment, or compares nothing, or the
            numbers of a figure are damaged.
    """
    if isinstance(claim, Scores):
        found = [*_of_scores(claim, methods)]
    elif isinstance(claim, Patients):
        found = [*_of_patients(claim, methods)]
    elif isinstance(claim, Interference):
        found = [*_of_interference(claim, methods)]
    else:
        raise TypeError(type(claim))
    if not found:
        raise InputError(
            f"claims.{claim.name} compares nothing, because no two of its runs share a task; "
            "correct conf/claims.yaml"
        )
    return found


def _of_scores(claim: Scores, methods: Sequence[Method]) -> Iterable[Comparison]:
    for task, ahead, behind in product(claim.tasks, claim.ahead, claim.behind):
        first, second = (_method(claim, side, task, methods) for side in (ahead, behind))
        if first is None or second is None:
            continue
        if task != "average" or set(first.trained) == set(second.trained):
            for score in claim.scores:
                yield _compare(first, second, (ahead, behind), task, score)


def _method(claim: Claim, side: str, task: str, methods: Sequence[Method]) -> Method | None:
    """Find the row of a side; None if it was not trained on the task.

    Raises:
        InputError: There is no such row, or there are several.
    """
    network, _, trained = (part.strip() for part in side.partition(" on "))
    rows = [one for one in methods if one.network == network]
    if trained:
        rows = [one for one in rows if set(one.trained) == set(trained.split("+"))]
    if not rows:
        raise InputError(
            f"claims.{claim.name} names {side}, which is not in {claim.experiment}; drop network= "
            "and task= from the options, or correct conf/claims.yaml"
        )
    rows = [one for one in rows if task == "average" or task in one.trained]
    if len(rows) > 1:
        choices = ", ".join(f"'{network} on {'+'.join(one.trained)}'" for one in rows)
        raise InputError(
            f"claims.{claim.name} names {side}, and {claim.experiment} has {len(rows)} of them; "
            f"type one of {choices} in conf/claims.yaml"
        )
    return rows[0] if rows else None


def _compare(
    first: Method, second: Method, sides: tuple[str, str], task: str, score: str
) -> Comparison:
    ahead, behind = sides
    printed = first.paper.get((task, score)), second.paper.get((task, score))
    paper = None if None in printed else _gain(score, *printed)
    if missing := tuple(
        f"run of {side}"
        for side, method in zip(sides, (first, second), strict=True)
        if method.value(task, score) is None
    ):
        return Comparison(ahead, behind, task, score, missing=missing, paper=paper)
    assert first.summary is not None
    assert second.summary is not None
    ours, theirs = first.summary.tasks, second.summary.tasks
    names = first.trained if task == "average" else (task,)
    return Comparison(
        ahead,
        behind,
        task,
        score,
        advantages={
            name: _advantages(score, ours[name].patients, theirs[name].patients) for name in names
        },
        seeds=(len(first.runs), len(second.runs)),
        spread=_seed_spread(first.runs, second.runs, names, score),
        paper=paper,
        runs=tuple(run.files.name for run in (*first.runs, *second.runs)),
    )


def _gain(score: str, ours: float | None, theirs: float | None) -> float:
    if ours is None or theirs is None:
        return math.nan
    return theirs - ours if score == "rmse" else ours - theirs


def _advantages(
    score: str, ours: Mapping[str, Group], theirs: Mapping[str, Group]
) -> dict[str, float]:
    """Advantage of each patient that both sides have, where it is finite."""
    gains = {
        name: _gain(score, group.means[score], theirs[name].means[score])
        for name, group in ours.items()
        if name in theirs
    }
    return {name: gain for name, gain in gains.items() if math.isfinite(gain)}


def _seed_spread(
    first: Sequence[Run], second: Sequence[Run], names: Sequence[str], score: str
) -> float | None:
    """Standard deviation of the mean advantage over the seeds that both sides have."""
    rivals = {run.files.record["seed"]: run.patients for run in second}
    means = []
    for run in first:
        theirs = rivals.get(run.files.record["seed"])
        if theirs is not None:
            found = [_advantages(score, run.patients[name], theirs[name]) for name in names]
            if all(found):
                means.append(fmean(fmean(one.values()) for one in found))
    return spread(means)


def _of_patients(claim: Patients, methods: Sequence[Method]) -> Iterable[Comparison]:
    runs, missing = _drawn(claim, claim.network, claim.figure, methods)
    values = [_patient_values(claim, run) for run in runs]
    for task in claim.tasks:
        own = [one.get(task, {}) for one in values]
        common = [name for name in (own[0] if own else {}) if all(name in one for one in own)]
        gone = () if common else (f"patients of {task} in the numbers of draw",)
        yield Comparison(
            f"{claim.network} {claim.value}",
            claim.above or "0",
            task,
            claim.value,
            advantages={task: {name: fmean(one[name] for one in own) for name in common}},
            missing=missing or gone,
            seeds=(len(runs),),
            spread=spread([fmean(one.values()) for one in own if one]),
            runs=tuple(run.name for run in runs),
        )


def _patient_values(claim: Patients, run: RunFolder) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    with _told(run, claim.figure):
        for row in figure_rows(run, claim.figure):
            if not row[claim.value] or (claim.above and not row[claim.above]):
                continue  # the only patient of a task has no distance within it
            above = float(row[claim.above]) if claim.above else 0.0
            value = float(row[claim.value]) - above
            if math.isfinite(value):
                found.setdefault(row["task"], {})[row["patient"]] = value
    return found


def _of_interference(claim: Interference, methods: Sequence[Method]) -> Iterable[Comparison]:
    figure = "interference_mean"
    lower, missing = _drawn(claim, claim.behind, figure, methods)
    higher: list[RunFolder] = []
    if claim.ahead is not None:
        higher, also_missing = _drawn(claim, claim.ahead, figure, methods)
        missing += also_missing
    for block in claim.blocks:
        value, error = _mean_interference(claim, lower, block)
        value = -value
        if claim.ahead is not None:
            more, other = _mean_interference(claim, higher, block)
            value, error = value + more, math.hypot(error, other)
        gone = () if math.isfinite(error) else (f"standard error of block {block}",)
        yield Comparison(
            claim.ahead or "0",
            claim.behind,
            block,
            "interference",
            measured=(value, error),
            missing=missing or gone,
            seeds=(len(higher), len(lower)) if higher else (len(lower),),
            runs=tuple(run.name for run in (*higher, *lower)),
        )


def _mean_interference(
    claim: Interference, runs: Sequence[RunFolder], block: str
) -> tuple[float, float]:
    """Mean over the runs, and its standard error from the mini-batches."""
    values, errors = [], []
    for run in runs:
        with _told(run, "interference_mean"):
            for row in figure_rows(run, "interference_mean"):
                if (row["block"], row["definition"]) == (block, claim.definition):
                    values.append(float(row["value"]))
                    errors.append(float(row["error"] or "nan"))
    if not values:
        return math.nan, math.nan
    return fmean(values), math.hypot(*errors) / len(errors)


def _drawn(
    claim: Claim, network: str, figure: str, methods: Sequence[Method]
) -> tuple[list[RunFolder], tuple[str, ...]]:
    """Find the runs whose figure shows the best checkpoint and test slices, or what is missing."""
    rows = [one for one in methods if one.network == network]
    if not rows:
        raise InputError(
            f"claims.{claim.name} names {network}, which is not in {claim.experiment}; drop "
            "network= from the options, or correct conf/claims.yaml"
        )
    runs = [run.files for one in rows for run in one.runs]
    if not runs:
        return [], (f"run of {network}",)
    found = []
    for run in runs:
        with _told(run, figure):
            lines = figure_rows(run, figure)
            if lines and all(_as_tested(row) for row in lines):
                found.append(run)
    kind = figure.split("_")[0]
    return found, () if found else (f"draw={kind} for {network}",)


@contextmanager
def _told(run: RunFolder, figure: str) -> Iterator[None]:
    """Name the file in which a number is missing or damaged."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{figure_file(run, figure)} cannot be read ({error!r}); remove it and draw it again"
        ) from error


def _as_tested(row: Mapping[str, str]) -> bool:
    return (row["checkpoint"], row["split"]) == ("best", "test")
