"""PSNR against a parameter that was drawn for each patient, such as the dose of a blind task."""

import itertools
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter
from omegaconf import DictConfig, OmegaConf

from amir_lightning.draw.finished_run import FinishedRun, alike
from amir_lightning.draw.style import Drawing, new_figure, palette
from amir_lightning.errors import InputError
from amir_lightning.runs.by_parameter import Range, drawn_ranges
from amir_lightning.tasks import Task

_log = logging.getLogger(__name__)
_FEW = 3  # times the smallest value, below which a linear axis shows all values well


class Point(NamedTuple):
    """Patients of a task with similar values of the parameter.

    Attributes:
        low: Smallest value.
        high: Largest value.
        patients: Number of patients.
        psnr: Mean over their restored slices [dB].
        bounds: 95 % interval of `psnr` over the patients; None if it was not computed.
        input_psnr: Mean over their input slices [dB].
        evaluation: Name of the evaluation that scored them.
    """

    low: float
    high: float
    patients: int
    psnr: float
    bounds: tuple[float, float] | None
    input_psnr: float
    evaluation: str

    @property
    def at(self) -> float:
        """Where the point is drawn: the geometric mean of `low` and `high`, or their mean."""
        return math.sqrt(self.low * self.high) if self.low > 0 else (self.low + self.high) / 2


def evaluated(runs: Sequence[FinishedRun], by: str | None) -> list[FinishedRun]:
    """Runs that were evaluated by a parameter.

    Raises:
        InputError: There are none, or they cannot share a figure.
    """
    known = sorted({name for run in runs for name in _trained(run)})
    if by is None or by not in known:
        listed = f"type by= with one of {', '.join(known)}" if known else "draw other runs"
        found = "not set" if by is None else f"'{by}', which no patient of these runs has drawn"
        raise InputError(f"by is {found}; {listed}")
    training = [run for run in runs if by in _trained(run)]
    chosen = [run for run in training if points(run, by)]
    start = "python -m amir_lightning.evaluate run={} by={}"
    if not chosen:
        raise InputError(
            f"none of the runs was evaluated by {by}; type "
            f"{start.format(training[0].files.typed, by)}"
        )
    for run in training:
        if run not in chosen:
            _log.info("left out, not evaluated: %s", start.format(run.files.typed, by))
    alike(chosen)
    return chosen


def draw(runs: Sequence[FinishedRun], by: str, titles: Mapping[str, str]) -> Drawing:
    """Draw one panel for each task: the runs and the input, the trained range shaded.

    Lines join means over several patients, dashed where they leave the trained range. A single
    patient is a dot, because patients differ in more than the parameter.

    Args:
        runs: Runs that are `evaluated`.
        by: Name of the parameter.
        titles: Names of networks that are printed differently from what is typed.
    """
    found = {run: points(run, by) for run in runs}
    tasks = {task.name: task for run in runs for task in run.tasks if task.name in found[run]}
    trained = {name: _trained(run)[by][name] for run in runs for name in found[run]}
    labels = dict(zip(runs, _labels(runs, titles), strict=True))
    figure = new_figure(3.4 * len(tasks) + 1.8, 3.2)
    rows: list[dict[str, object]] = []
    for ax, task in zip(
        figure.subplots(1, len(tasks), squeeze=False)[0], tasks.values(), strict=True
    ):
        own = {run: some[task.name] for run, some in found.items() if task.name in some}
        ax.axvspan(*trained[task.name], color="0.92", lw=0, label="trained range")
        inputs = {
            (one.low, one.high): one._replace(psnr=one.input_psnr, bounds=None)
            for some in own.values()
            for one in some
        }
        _curve(ax, [*inputs.values()], trained[task.name], "input", "0.45")
        for run, some in own.items():
            _curve(ax, some, trained[task.name], labels[run], palette(list(runs).index(run)))
            rows += _rows(run, task, by, some, trained[task.name])
        _axes(ax, task, by, [*inputs.values()], trained[task.name])
    figure.axes[0].set_ylabel("PSNR [dB]", fontsize=7)
    labelled = {
        text: handle
        for ax in figure.axes
        for handle, text in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        labelled.values(), labelled.keys(), loc="outside right upper", fontsize=6.5, frameon=False
    )
    return Drawing(figure, {"": rows})


def points(run: FinishedRun, by: str) -> dict[str, list[Point]]:
    """Read what the evaluations of a run have written for a parameter, by task.

    They score the weights as they are, on the data of the training or on the same patients with
    other values of this parameter alone. The same patients scored twice are one point.

    Raises:
        InputError: A file is damaged.
    """
    tasks = _trained(run)[by]
    found: dict[str, dict[tuple[float, float], Point]] = {}
    for name, options in run.files.evaluations(f"by_{by}"):
        if not _scores_this(run, options):
            continue
        changed = [f"{text.partition('=')[0]}." for text in map(str, options.get("physics") or [])]
        for row in run.files.rows(name, table=f"by_{by}"):
            task = row.get("task", "")
            own = [key for key in changed if key.startswith(f"{task}.")]
            same = all(key.startswith(f"{task}.{by}.") for key in own)
            if task in tasks and same and row.get("psnr") != "":
                point = _point(run, row, by, name)
                found.setdefault(task, {}).setdefault((point.low, point.high), point)
    return {task: sorted(some.values(), key=lambda point: point.at) for task, some in found.items()}


def _point(run: FinishedRun, row: Mapping[str, str], by: str, name: str) -> Point:
    try:
        bounds = row["psnr_low"] and (float(row["psnr_low"]), float(row["psnr_high"]))
        low, high, psnr, before = (
            float(row[key]) for key in (f"{by}_low", f"{by}_high", "psnr", "input_psnr")
        )
        return Point(low, high, int(row["patients"]), psnr, bounds or None, before, name)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{run.files.evaluation(name)}/by_{by}.csv cannot be read ({error}); remove it, "
            "or evaluate again"
        ) from error


def _scores_this(run: FinishedRun, options: DictConfig) -> bool:
    """Whether an evaluation has the split, weights, data and definition of the figure."""
    own = {
        "split": (run.split,),
        "checkpoint": (run.checkpoint,),
        "metrics": (None, run.cfg.metrics),
        "source": (None, "phantoms" if run.files.source == "phantoms" else "prepared"),
        "engine": ("torch",),
    }
    precision = OmegaConf.select(options, "trainer.precision")
    return precision == "32-true" and all(options.get(key) in some for key, some in own.items())


def _trained(run: FinishedRun) -> dict[str, dict[str, Range]]:
    """Range that the patients of the training were drawn from, by parameter and task."""
    found: dict[str, dict[str, Range]] = {}
    for task in run.tasks:
        for name, limits in drawn_ranges(task).items():
            found.setdefault(name, {})[task.name] = limits
    return found


def _labels(runs: Sequence[FinishedRun], titles: Mapping[str, str]) -> list[str]:
    """Shortest texts that tell the runs apart: the network, its number of tasks, the run."""
    networks = [titles.get(run.network_name, run.network_name) for run in runs]
    tasks = [f"{len(run.tasks)} task{'s' if len(run.tasks) > 1 else ''}" for run in runs]
    both = [", ".join(pair) for pair in zip(networks, tasks, strict=True)]
    named = [", ".join(pair) for pair in zip(networks, (run.name for run in runs), strict=True)]
    return next(one for one in (networks, both, named) if len({*one}) == len(runs) or one is named)


def _curve(ax: Axes, some: Sequence[Point], trained: Range, label: str, tone: str) -> None:
    shown = [one for one in some if math.isfinite(one.psnr)]
    means = sorted((one for one in shown if one.patients > 1), key=lambda point: point.at)
    for pair in itertools.pairwise(means):
        style = "-" if all(_inside(one, trained) for one in pair) else "--"
        ax.plot(*_places(pair), color=tone, lw=1.2, ls=style)
    for one in means:
        if one.bounds is not None:
            ax.plot([one.at, one.at], one.bounds, color=tone, lw=0.7)
    ax.plot(*_places(means), "o", color=tone, ms=3)
    singles = [one for one in shown if one.patients == 1]
    ax.plot(*_places(singles), "o", color=tone, ms=2.5, alpha=0.6, mec="none")
    ax.plot([], [], "o-", color=tone, lw=1.2, ms=3, label=label)


def _places(some: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [one.at for one in some], [one.psnr for one in some]


def _inside(point: Point, trained: Range) -> bool:
    return trained[0] <= point.at <= trained[1]


def _axes(ax: Axes, task: Task, by: str, some: Sequence[Point], trained: Range) -> None:
    values = [*trained, *(one.at for one in some)]
    if 0 < _FEW * min(values) < max(values):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
    if any(not _inside(one, trained) for one in some):
        ax.plot([], [], "k--", lw=1.2, label="beyond it")
    ax.set_title(task.title, fontsize=8)
    ax.set_xlabel(by, fontsize=7)
    ax.tick_params(which="both", labelsize=7)
    ax.grid(color="0.9", lw=0.5)


def _rows(
    run: FinishedRun, task: Task, by: str, some: Sequence[Point], trained: Range
) -> Iterator[dict[str, object]]:
    for one in some:
        low, high = one.bounds or ("", "")
        yield {
            "task": task.name,
            "network": run.network_name,
            "parameter": by,
            "low": one.low,
            "high": one.high,
            "patients": one.patients,
            "psnr": one.psnr,
            "psnr_low": low,
            "psnr_high": high,
            "input_psnr": one.input_psnr,
            "trained_low": trained[0],
            "trained_high": trained[1],
            "trained": _inside(one, trained),
            "evaluation": one.evaluation,
            **run.drawn_from,
        }
