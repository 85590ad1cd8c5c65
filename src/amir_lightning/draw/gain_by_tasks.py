"""Gain over the input against the number of tasks that a network was trained on."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amir_lightning.draw.finished_run import FinishedRun, alike
from amir_lightning.draw.style import Drawing, new_figure, palette
from amir_lightning.errors import InputError
from amir_lightning.metrics import Group
from amir_lightning.tasks import canonical

MEAN = "mean"
"""Name of the mean over tasks in the CSV."""

_ASIDE = 0.05  # tasks between the intervals of two tasks, which would cover each other


class Gain(NamedTuple):
    """Gains of the slices of one patient [dB].

    Attributes:
        total: Their sum.
        slices: How many they are.
    """

    total: float
    slices: int


Gains = Mapping[str, Gain]
"""Gains of each patient."""


class Point(NamedTuple):
    """Mean gain over the slices, with its bootstrap interval over patients [dB]."""

    gain: float
    low: float | None
    high: float | None

    @property
    def lengths(self) -> tuple[float, float]:
        """Distance of both bounds from the mean; 0 where there are none."""
        return (
            0.0 if self.low is None else self.gain - self.low,
            0.0 if self.high is None else self.high - self.gain,
        )


def draw(runs: Sequence[FinishedRun], bootstrap: int, titles: Mapping[str, str]) -> Drawing:
    """Draw one panel for each network: a line for each task, and their mean.

    The gain of a slice is its PSNR less that of the input. The mean is over the tasks that were
    trained with every number of tasks; otherwise it would change with the tasks and not with the
    training. Runs of one network on the same tasks, such as those of several seeds, are one point.

    Args:
        runs: Runs of different numbers of tasks.
        bootstrap: Resamples of the patients for the 95 % intervals; 0 draws none.
        titles: Names of networks that are printed differently from what is typed.

    Raises:
        InputError: All runs have the same number of tasks, or runs cannot share a figure.
    """
    alike(runs)
    groups = _group(runs)
    sizes = sorted({len(tasks) for _, tasks in groups})
    if len(sizes) < 2:
        raise InputError(
            f"all of these runs train {sizes[0]} task{'s' if sizes[0] > 1 else ''}, expected "
            "different numbers; type runs=[<run>,<run>] or experiment=tasks"
        )
    networks = list(dict.fromkeys(network for network, _ in groups))
    names = sorted({name for _, tasks in groups for name in tasks}, key=canonical)
    known = {task.name: task.title for run in runs for task in run.tasks}
    figure = new_figure(3.3 * len(networks) + 1.6, 3.2)
    panels = figure.subplots(1, len(networks), squeeze=False, sharey=True)[0]
    rows: list[dict[str, object]] = []
    for ax, network in zip(panels, networks, strict=True):
        points, common = measure(
            {tasks: own for (name, tasks), own in groups.items() if name == network}, bootstrap
        )
        for name in [*names, MEAN]:
            line = {size: point for (size, task), point in points.items() if task == name}
            if not line:
                continue
            mean = name == MEAN
            aside = 0.0 if mean else _ASIDE * (names.index(name) - (len(names) - 1) / 2)
            ax.errorbar(
                [size + aside for size in line],
                [point.gain for point in line.values()],
                yerr=np.array([point.lengths for point in line.values()]).T,
                color="0.55" if mean else palette(names.index(name)),  # a task is black
                lw=2.5 if mean else 1,
                ls="--" if mean else "-",
                marker="" if mean else "o",
                ms=3,
                capsize=2,
                elinewidth=0.7,
                label=f"mean of {', '.join(common)}" if mean else known[name],
            )
            rows += [
                {
                    "network": network,
                    "tasks": size,
                    "task": name,
                    "mean_of": "+".join(common) if mean else "",
                    "gain": point.gain,
                    "low": "" if point.low is None else point.low,
                    "high": "" if point.high is None else point.high,
                }
                for size, point in line.items()
            ]
        ax.set_title(titles.get(network, network), fontsize=8)
        ax.set_xlabel("number of tasks", fontsize=7)
        ax.set_xticks(sizes)
        ax.tick_params(labelsize=7)
        ax.grid(color="0.9", lw=0.5)
        ax.axhline(0, color="0.6", lw=0.7)
    panels[0].set_ylabel("PSNR gain over the input [dB]", fontsize=7)
    labelled = {
        text: handle
        for ax in panels
        for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        labelled.values(), labelled.keys(), loc="outside right upper", fontsize=6.5, frameon=False
    )
    return Drawing(figure, {"": rows})


def measure(
    groups: Mapping[tuple[str, ...], Mapping[str, Gains]], bootstrap: int, seed: int = 0
) -> tuple[dict[tuple[int, str], Point], list[str]]:
    """Mean gain of each task, and of the tasks that every number of tasks has.

    Args:
        groups: Gains of each task, by the tasks that were trained together.
        bootstrap: Resamples of the patients; 0 gives no intervals.
        seed: Seed of the resampling.

    Returns:
        Points by number of tasks and task, where `MEAN` is the mean, and the tasks of that mean.
    """
    pooled: dict[tuple[int, str], dict[str, Gain]] = {}
    for tasks, gains in groups.items():
        for task, patients in gains.items():
            _add(pooled.setdefault((len(tasks), task), {}), patients)
    sizes = sorted({size for size, _ in pooled})
    every = {task for _, task in pooled}
    common = sorted(
        (task for task in every if all((size, task) in pooled for size in sizes)), key=canonical
    )
    rng = np.random.default_rng(seed)
    means = {key: _mean(patients.values()) for key, patients in pooled.items()}
    draws = {key: _resampled(one.values(), bootstrap, rng) for key, one in pooled.items()}
    points = {key: _point(means[key], draws[key]) for key in sorted(pooled)}
    for size in sizes if common else []:
        own = [(size, task) for task in common]
        points[size, MEAN] = _point(
            sum(means[key] for key in own) / len(own), np.mean([draws[key] for key in own], axis=0)
        )
    return points, common


def _group(runs: Sequence[FinishedRun]) -> dict[tuple[str, tuple[str, ...]], dict[str, Gains]]:
    """Gains by network and tasks, then by task and patient, from scores that kept runs have, too.

    Slices with a constant label have no score.

    Raises:
        InputError: Two runs of one network on the same tasks have different numbers of steps.
    """
    found: dict[tuple[str, tuple[str, ...]], dict[str, dict[str, Gain]]] = {}
    first: dict[tuple[str, tuple[str, ...]], FinishedRun] = {}
    for run in runs:
        key = (run.network_name, tuple(task.name for task in run.tasks))
        other = first.setdefault(key, run)
        steps = [int(one.cfg.trainer.max_steps) for one in (other, run)]
        if steps[0] != steps[1]:
            raise InputError(
                f"{other.name} and {run.name} train the same tasks with {steps[0]} and {steps[1]} "
                "steps, and cannot be one point; give runs of one budget (runs=[...])"
            )
        own = found.setdefault(key, {})
        for task, patients in run.patients().items():
            _add(own.setdefault(task, {}), _gains(patients))
    return {key: dict(own) for key, own in found.items()}


def _gains(patients: Mapping[str, Group]) -> dict[str, Gain]:
    found = {}
    for patient, group in patients.items():
        restored, lq = group.means["psnr"], group.means["input_psnr"]
        if restored is not None and lq is not None and np.isfinite(restored - lq):
            found[patient] = Gain((restored - lq) * group.num_slices, group.num_slices)
    return found


def _add(gains: dict[str, Gain], more: Gains) -> None:
    """Add the slices of other runs, such as those of another seed."""
    for patient, gain in more.items():
        total, slices = gains.get(patient, (0.0, 0))
        gains[patient] = Gain(total + gain.total, slices + gain.slices)


def _mean(patients: Collection[Gain]) -> float:
    return sum(one.total for one in patients) / sum(one.slices for one in patients)


def _resampled(
    patients: Collection[Gain], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means over the slices of resampled patients; NaN for a single patient."""
    if len(patients) < 2:
        return np.full(resamples, np.nan)
    sums, counts = np.array([*patients]).T
    drawn = rng.integers(len(patients), size=(resamples, len(patients)))
    means: NDArray[np.float64] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


def _point(mean: float, draws: NDArray[np.float64]) -> Point:
    if not len(draws) or np.isnan(draws).any():
        return Point(mean, None, None)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Point(mean, float(low), float(high))
