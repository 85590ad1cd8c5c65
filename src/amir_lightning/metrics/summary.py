"""Means of slice scores per patient, per task and over tasks."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from amir_lightning.errors import InputError

SCORES = ("psnr", "ssim", "rmse", "input_psnr", "input_ssim", "input_rmse")
"""Columns of a row: scores of the restored slice, then of its LQ input."""

Means = dict[str, float | None]


@dataclass(frozen=True)
class Group:
    """Arithmetic means over the slices of a patient or of a task.

    Attributes:
        means: Mean of each of `SCORES`; None if no slice could be scored.
        num_slices: Slices that the means are taken over.
        num_constant: Slices left out because their label is constant.
    """

    means: Means
    num_slices: int
    num_constant: int


@dataclass(frozen=True)
class TaskSummary(Group):
    """Means over the slices of a task, and over the slices of each of its patients.

    Attributes:
        patients: Means of each patient.
        intervals: Bounds of the bootstrap confidence interval of each mean; empty without bootstrap
            or with fewer than two patients.
    """

    patients: dict[str, Group] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """All tasks of an evaluation.

    Attributes:
        tasks: One summary per task, in the order of the rows.
        average: Mean of the task means, as in Table 2 of the paper, where RMSE mixes units as well;
            None if a task has no mean.
    """

    tasks: dict[str, TaskSummary]
    average: Means

    def flat(self, stage: str) -> dict[str, float]:
        """Return means by logging key, ``{stage}/{task}/{score}`` and ``{stage}/avg/{score}``.

        Means that are None are left out.
        """
        groups = {**{name: task.means for name, task in self.tasks.items()}, "avg": self.average}
        return {
            f"{stage}/{group}/{score}": mean
            for group, means in groups.items()
            for score, mean in means.items()
            if mean is not None
        }


def summarise(
    rows: Iterable[Mapping[str, object]],
    bootstrap: int = 0,
    confidence: float = 0.95,
    seed: int = 0,
) -> Summary:
    """Average scores over slices as the paper does: means of dB values, not dB of a mean error.

    Under the paper's definition, slices with a constant label have no PSNR and no SSIM. They are
    counted and left out of all means, even of the RMSE, so that all columns describe the same
    slices.

    The confidence interval resamples patients, because neighbouring slices are not independent.

    Args:
        rows: One mapping per slice with ``task``, ``patient``, ``slice`` and `SCORES`; numbers may
            be text, as a CSV reader gives them.
        bootstrap: Number of resamples of the patients; 0 computes no interval.
        confidence: Coverage of the interval.
        seed: Seed of the resampling.

    Raises:
        InputError: There are no rows, a row lacks a column, or an RMSE is not finite because the
            restored image or the LQ input was not.
    """
    tasks: dict[str, dict[str, list[list[float]]]] = {}
    for row in rows:
        task, patient, scores = _read(row)
        tasks.setdefault(task, {}).setdefault(patient, []).append(scores)
    if not tasks:
        raise InputError("there are no slices to summarise; evaluate a split that has some")
    summaries = {
        name: _summarise_task(patients, bootstrap, confidence, seed)
        for name, patients in tasks.items()
    }
    return Summary(summaries, _average(summaries))


def pool(
    tasks: Mapping[str, Mapping[str, Group]],
    bootstrap: int = 0,
    confidence: float = 0.95,
    seed: int = 0,
) -> Summary:
    """Average the means of patients over all slices, as `summarise` averages the slices.

    Args:
        tasks: Means of each patient, by task and patient.
        bootstrap: As in `summarise`.
        confidence: As in `summarise`.
        seed: As in `summarise`.
    """
    summaries = {}
    for name, patients in tasks.items():
        scored = [group for group in patients.values() if group.num_slices]
        counts = np.array([group.num_slices for group in scored])
        sums = np.array([[group.means[score] for score in SCORES] for group in scored], dtype=float)
        sums *= counts[:, None]
        means: Means = dict.fromkeys(SCORES)
        intervals = {}
        if scored:
            task_means = sums.sum(axis=0) / counts.sum()
            means = {score: float(mean) for score, mean in zip(SCORES, task_means, strict=True)}
        if bootstrap and len(scored) > 1:
            rng = np.random.default_rng(seed)
            intervals = _intervals(sums, counts, bootstrap, confidence, rng)
        summaries[name] = TaskSummary(
            means,
            int(counts.sum()),
            sum(group.num_constant for group in patients.values()),
            patients=dict(patients),
            intervals=intervals,
        )
    return Summary(summaries, _average(summaries))


def _average(tasks: Mapping[str, TaskSummary]) -> Means:
    return {score: _mean([task.means[score] for task in tasks.values()]) for score in SCORES}


def _read(row: Mapping[str, object]) -> tuple[str, str, list[float]]:
    missing = [key for key in ("task", "patient", "slice", *SCORES) if key not in row]
    if missing:
        raise InputError(
            f"a row of scores has the columns {', '.join(row)} and lacks {', '.join(missing)}; "
            "evaluate the run again"
        )
    scores = [float(str(row[key])) for key in SCORES]
    for key, score in zip(SCORES, scores, strict=True):
        if key.endswith("rmse") and not math.isfinite(score):
            side = "LQ input" if key.startswith("input") else "restored image"
            raise InputError(
                f"{key} of task {row['task']}, patient {row['patient']}, slice {row['slice']} is "
                f"{score}: the {side} has NaN or infinite pixels; train with a lower learning rate "
                "or trainer.precision=32-true, or prepare the data again"
            )
    return str(row["task"]), str(row["patient"]), scores


def _summarise_task(
    patients: Mapping[str, list[list[float]]], bootstrap: int, confidence: float, seed: int
) -> TaskSummary:
    tables = {name: np.array(rows, dtype=np.float64) for name, rows in patients.items()}
    task = _group(np.concatenate(list(tables.values())))
    valid = [table[_scored(table)] for table in tables.values() if _scored(table).any()]
    intervals = {}
    if bootstrap and len(valid) > 1:
        sums = np.array([table.sum(axis=0) for table in valid])
        counts = np.array([len(table) for table in valid])
        rng = np.random.default_rng(seed)
        intervals = _intervals(sums, counts, bootstrap, confidence, rng)
    return TaskSummary(
        task.means,
        task.num_slices,
        task.num_constant,
        patients={name: _group(table) for name, table in tables.items()},
        intervals=intervals,
    )


def _scored(table: np.ndarray) -> np.ndarray:
    return ~np.isnan(table).any(axis=1)


def _group(table: np.ndarray) -> Group:
    scored = table[_scored(table)]
    means = [float(mean) for mean in scored.mean(axis=0)] if len(scored) else [None] * len(SCORES)
    return Group(dict(zip(SCORES, means, strict=True)), len(scored), len(table) - len(scored))


def _intervals(
    sums: np.ndarray,
    counts: np.ndarray,
    resamples: int,
    confidence: float,
    rng: np.random.Generator,
) -> dict[str, tuple[float, float]]:
    """Percentile bootstrap over P patients of the mean over slices.

    Args:
        sums: Sum of each score over the slices of each patient, (P, scores).
        counts: Slices of each patient, (P,).
        resamples: Number of resamples.
        confidence: Coverage of the interval.
        rng: Generator of the resamples.
    """
    draws = rng.integers(len(counts), size=(resamples, len(counts)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)[:, None]
    tail = (1 - confidence) / 2
    # Quantiles without interpolation, because that would turn two infinite PSNRs into NaN.
    low, high = np.quantile(means, [tail, 1 - tail], axis=0, method="inverted_cdf")
    return {score: (float(a), float(b)) for score, a, b in zip(SCORES, low, high, strict=True)}


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if len(numbers) == len(values) else None
