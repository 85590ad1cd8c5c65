"""Uncertainty of scores: intervals over patients, and a paired test against AMIR."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

from amir_lightning.tabulate.results import PAPER_SCORES, Method


@dataclass(frozen=True)
class Evidence:
    """One method on one task.

    Attributes:
        patients: Test patients.
        slices: Test slices that were scored.
        intervals: 95 % bootstrap interval over patients, by score; empty with fewer than two.
        p_values: Two-sided Wilcoxon signed-rank test of the patients' means against AMIR's, by
            score; None for AMIR itself, or without a pair.
        pairs: Number of patients that the test compares.
    """

    patients: int
    slices: int
    intervals: dict[str, tuple[float, float]]
    p_values: dict[str, float | None]
    pairs: int


def compare(methods: Sequence[Method], method: Method, task: str) -> Evidence | None:
    """Compute intervals of a method on a task, and test it against AMIR in the same table.

    AMIR is the row of the unchanged network that was trained on the task. If there are several, it
    is the one trained on most tasks. It is used only if its scale, definition and data are those
    of the method.

    Returns:
        None if the method has no score on the task.
    """
    group = method.summary.tasks.get(task) if method.summary is not None else None
    if group is None:
        return None
    ours = _patients(method, task)
    rivals = [one for one in methods if one.network == "amir" and one.summary is not None]
    basis = method.basis(task)
    rivals = [one for one in rivals if task in one.trained and one.basis(task) == basis]
    reference = max(rivals, key=lambda one: len(one.trained), default=None)
    p_values: dict[str, float | None] = dict.fromkeys(PAPER_SCORES)
    pairs = 0
    if reference is not None and reference is not method:
        theirs = _patients(reference, task)
        common = [name for name in ours if name in theirs]
        pairs = len(common)
        p_values = {
            score: wilcoxon(
                [ours[name][score] for name in common], [theirs[name][score] for name in common]
            )
            for score in PAPER_SCORES
        }
    return Evidence(len(ours), group.num_slices, dict(group.intervals), p_values, pairs)


def wilcoxon(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Two-sided p-value of the signed-rank test of paired numbers; None without a finite pair."""
    from scipy import stats  # slow import

    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    differences = [value for value in differences if math.isfinite(value)]
    if not differences:
        return None
    if not any(differences):
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation over seeds; None for one seed."""
    return stdev(values) if len(values) > 1 else None


def _patients(method: Method, task: str) -> dict[str, dict[str, float]]:
    assert method.summary is not None
    groups = method.summary.tasks[task].patients
    return {
        name: {score: mean for score in PAPER_SCORES if (mean := group.means[score]) is not None}
        for name, group in groups.items()
        if group.num_slices
    }
