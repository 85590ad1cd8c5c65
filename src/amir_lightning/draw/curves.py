"""Training curves of each task."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import LogFormatterSciNotation

from amir_lightning.draw.finished_run import FinishedRun
from amir_lightning.draw.style import Drawing, colour, new_figure
from amir_lightning.errors import InputError

_PANELS = {
    "train/{task}/l1": "training L1, normalised",
    "val/{task}/psnr": "validation PSNR [dB]",
    "val/{task}/ssim": "validation SSIM",
    "val/{task}/rmse": "validation RMSE over its first value",
}


def series(rows: Sequence[dict[str, str]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of a logged key; empty if it was never logged."""
    kept = [(int(row["step"]) + 1, float(row[key])) for row in rows if row.get(key)]
    return [step for step, _ in kept], [value for _, value in kept]


def draw(run: FinishedRun) -> Drawing:
    """Draw training L1 and validation scores over the optimiser steps, one line per task.

    Raises:
        InputError: The run has logged nothing.
    """
    logged = run.files.logged()
    figure = new_figure(6.5, 4.4)
    rows: list[dict[str, object]] = []
    for ax, (pattern, title) in zip(figure.subplots(2, 2).flat, _PANELS.items(), strict=True):
        for task in run.tasks:
            key = pattern.format(task=task.name)
            steps, values = series(logged, key)
            rows += [
                {"key": key, "task": task.name, "step": step, "value": value, "run": run.name}
                for step, value in zip(steps, values, strict=True)
            ]
            if "rmse" in key and values:  # each task has its own unit
                values = [value / values[0] for value in values]
            # Mark single validations if there are few.
            marker = "o" if len(steps) <= 20 else None
            tone = colour(run.tasks, task)
            ax.plot(steps, values, color=tone, lw=1, marker=marker, ms=2.5, label=task.title)
        label(ax, title)
    if not rows:
        raise InputError(
            f"{run.files.path / 'metrics.csv'} holds no curves; draw another run (run=<folder>)"
        )
    figure.axes[0].set_yscale("log")
    figure.axes[0].yaxis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(1, 0.1)))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=len(labels), fontsize=7, frameon=False
    )
    return Drawing(figure, {"": rows})


def label(ax: Axes, title: str) -> None:
    """Name a panel over optimiser steps."""
    ax.set_title(title, fontsize=8)
    ax.set_xlabel("optimiser step", fontsize=7)
    ax.tick_params(which="both", labelsize=7)
    ax.grid(color="0.9", lw=0.5)
