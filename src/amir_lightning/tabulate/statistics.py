"""Uncertainty of scores: intervals over patients, and paired differences to AMIR.

Patients are the units. The score of a patient is the mean over its slices and over the seeds.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import stdev

import numpy as np
from numpy.typing import NDArray

from amir_lightning.tabulate.results import PAPER_SCORES, Method

Values = NDArray[np.float64]

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """Scores of a method minus those of AMIR, of one task or of the average over the tasks.

    Attributes:
        mean: Mean over the patients.
        interval: 95 % bootstrap interval over the patients; None without bootstrap or with fewer
            than two patients.
        effect: Mean over the standard deviation over the patients; None for the average, and with
            fewer than two different differences.
        p_value: Two-sided Wilcoxon signed-rank test of the patients; None for the average.
        corrected: The same, corrected by Holm for all comparisons of the table.
        patients: Number of patients that both methods have.
    """

    mean: float
    interval: tuple[float, float] | None
    effect: float | None
    p_value: float | None
    corrected: float | None
    patients: int


@dataclass(frozen=True)
class Evidence:
    """One method on one task, or on the average over the tasks.

    Attributes:
        patients: Test patients; of the average, those of all tasks.
        slices: Test slices that were scored.
        intervals: 95 % bootstrap interval over patients, by score; empty with fewer than two, and
            for the average.
        differences: Differences to AMIR by score; empty for AMIR itself, and without a patient
            that both have.
    """

    patients: int
    slices: int
    intervals: Mapping[str, tuple[float, float]]
    differences: Mapping[str, Difference]


def evidence(
    methods: Sequence[Method], tasks: Iterable[str], bootstrap: int
) -> dict[tuple[int, str], Evidence]:
    """Compare every method with AMIR on every task, and correct for the number of comparisons.

    Args:
        methods: Rows of a table.
        tasks: Names of tasks; "average" is the mean over the tasks.
        bootstrap: Resamples of the patients.

    Returns:
        Evidence by position of the method and name of the task, where the method has scores.
    """
    found = {
        (at, task): one
        for task in tasks
        for at, method in enumerate(methods)
        if (one := compare(methods, method, task, bootstrap)) is not None
    }
    for score in PAPER_SCORES:
        tested = {
            key: value
            for key, one in found.items()
            if score in one.differences and (value := one.differences[score].p_value) is not None
        }
        for key, corrected in zip(tested, holm([*tested.values()]), strict=True):
            differences = dict(found[key].differences)
            differences[score] = replace(differences[score], corrected=corrected)
            found[key] = replace(found[key], differences=differences)
    return found


def compare(
    methods: Sequence[Method], method: Method, task: str, bootstrap: int = 0
) -> Evidence | None:
    """Compute intervals of a method on a task, and compare it with AMIR in the same table.

    AMIR is the row of the unchanged network that `reference` finds. It is used only if its scale,
    definition and data are those of the method. In an average it has to be trained on the same
    tasks.

    Returns:
        None if the method has no score on the task.
    """
    if method.summary is None or method.value(task, "rmse") is None:
        return None
    average = task == "average"
    names = method.trained if average else (task,)
    groups = [method.summary.tasks[name] for name in names]
    rivals = [one for one in methods if one.network == "amir" and one.summary is not None]
    rivals = [one for one in rivals if one.basis(task) == method.basis(task)]
    rivals = [
        one
        for one in rivals
        if (set(one.trained) == set(names) if average else task in one.trained)
    ]
    amir = reference(method, rivals)
    differences = {}
    if amir is not None and amir is not method:
        for score in PAPER_SCORES:
            pairs = [paired(method, amir, name, score) for name in names]
            if all(len(one) for one in pairs):
                differences[score] = difference(pairs, bootstrap)
    return Evidence(
        sum(len(scored(method, name, "rmse")) for name in names),
        sum(group.num_slices for group in groups),
        {} if average else dict(groups[0].intervals),
        differences,
    )


def reference(method: Method, rivals: Sequence[Method]) -> Method | None:
    """Find the row of AMIR that a method is compared with; None if there is none.

    It was trained on the same tasks. If no row of AMIR was, or the method is AMIR itself, it is the
    one that was trained on most tasks.
    """
    alike = [one for one in rivals if {*one.trained} == {*method.trained}]
    rows = alike if alike and method.network != "amir" else rivals
    return max(rows, key=lambda one: len(one.trained), default=None)


def scored(method: Method, task: str, score: str) -> dict[str, float]:
    """Score of each patient of a task, the mean over its slices and over the seeds."""
    group = method.summary.tasks.get(task) if method.summary is not None else None
    means = {name: one.means[score] for name, one in group.patients.items()} if group else {}
    return {name: mean for name, mean in means.items() if mean is not None}


def paired(ours: Method, theirs: Method, task: str, score: str) -> Values:
    """Differences of the patients that both methods have, where they are finite."""
    first, second = scored(ours, task, score), scored(theirs, task, score)
    pairs = [(first[name], second[name]) for name in first if name in second]
    return np.array([a - b for a, b in pairs if math.isfinite(a) and math.isfinite(b)])


def difference(groups: Sequence[Values], bootstrap: int) -> Difference:
    """Summarise paired differences.

    Args:
        groups: Differences of the patients of each task; of several tasks the mean of the tasks'
            means is taken, and patients are resampled within each task.
        bootstrap: Resamples of the patients.
    """
    mean = float(np.mean([one.mean() for one in groups]))
    interval = None
    if bootstrap and all(len(one) > 1 for one in groups):
        tail = 100 * (1 - _CONFIDENCE) / 2
        low, high = np.percentile(resampled_means(groups, bootstrap), [tail, 100 - tail])
        interval = float(low), float(high)
    effect = p_value = None
    if len(groups) == 1:
        (values,) = groups
        effect = effect_size(values)
        p_value = wilcoxon(values)
    return Difference(mean, interval, effect, p_value, None, sum(map(len, groups)))


def resampled_means(groups: Sequence[Values], resamples: int, seed: int = 0) -> Values:
    """Mean of the groups' means of each bootstrap resample, patients resampled in each group."""
    rng = np.random.default_rng(seed)
    draws = [rng.integers(len(one), size=(resamples, len(one))) for one in groups]
    means = [one[drawn].mean(axis=1) for one, drawn in zip(groups, draws, strict=True)]
    return np.mean(means, axis=0)


def effect_size(differences: Values) -> float | None:
    """Mean over the sample standard deviation; None if the differences are equal."""
    if len(differences) < 2 or differences.std() <= 1e-12 * abs(differences.mean()):  # rounding
        return None
    return float(differences.mean() / differences.std(ddof=1))


def wilcoxon(differences: Values) -> float:
    """Two-sided p-value of the signed-rank test of paired differences."""
    from scipy import stats  # slow import

    if not differences.any():
        return 1.0
    return float(stats.wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values of several tests by Holm's step-down procedure."""
    corrected = [0.0] * len(p_values)
    largest = 0.0
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = largest
    return corrected


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation over seeds; None for one seed."""
    return stdev(values) if len(values) > 1 else None
