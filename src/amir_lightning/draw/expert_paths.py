"""Fig. 4 (b): the expert that each task uses most in each spatial routing module, as a path."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Curve
from torch import Tensor

from amir_lightning.draw.finished_run import FinishedRun
from amir_lightning.draw.gates import gates_of, top_share
from amir_lightning.draw.separation import distances_by_task
from amir_lightning.draw.style import Drawing, Rows, colour, new_figure

_NODE = 0.09  # radius of an expert


class Use(NamedTuple):
    """Use of the experts of each module by one task.

    Attributes:
        mass: Share of the gate mass over all pixels, (L, M).
        first: Share of pixels for which the expert has the largest gate, mean over slices, (L, M).
    """

    mass: Tensor
    first: Tensor


class PatientUse(NamedTuple):
    """Gate mass of each expert in each module, over all pixels of a patient.

    Attributes:
        task: Name of the task.
        patient: Hashed patient id.
        mass: (L, M).
    """

    task: str
    patient: str
    mass: Tensor


def expert_use(run: FinishedRun) -> tuple[dict[str, Use], list[PatientUse]]:
    """Measure the use of the experts by each task and patient over all slices of the split.

    Raises:
        InputError: The network has no gates.
    """
    mass: dict[tuple[str, str], list[Tensor]] = defaultdict(list)
    first: dict[str, list[Tensor]] = defaultdict(list)
    for one in run.restored():
        gates = gates_of(run, one)
        own = torch.stack([level.sum(dim=(0, 1)) for level in gates])
        mass[one.task.name, one.patient].append(own)
        first[one.task.name].append(torch.stack([top_share(level) for level in gates]))
    patients = [PatientUse(*key, torch.stack(own).sum(dim=0)) for key, own in mass.items()]
    tasks = {
        name: Use(
            _shares(torch.stack([one.mass for one in patients if one.task == name]).sum(dim=0)),
            torch.stack(own).mean(dim=0),
        )
        for name, own in first.items()
    }
    return tasks, patients


def patient_rows(patients: Sequence[PatientUse]) -> list[dict[str, object]]:
    """Measure how far the gate masses of the tasks are apart, patient by patient.

    The distance of two patients is the share of the gate mass that lies with other experts, in the
    mean over the modules. ``within`` is the mean distance to the other patients of the task,
    ``between`` that to the patients of the nearest other task. ``own_path`` is the share of the
    gate mass on the path of the other patients of the task, minus that on the path of another
    task, whichever is larger; it is 0 if both are the same path.
    """
    tasks = np.array([one.task for one in patients])
    shares = [_shares(one.mass) for one in patients]
    stacked = torch.stack(shares).numpy()
    distances = 0.5 * np.abs(stacked[:, None] - stacked).sum(axis=-1).mean(axis=-1)
    within, between = distances_by_task(distances, tasks)
    total = {
        task: torch.stack([one.mass for one in patients if one.task == task]).sum(dim=0)
        for task in dict.fromkeys(tasks.tolist())
    }
    rows: list[dict[str, object]] = []
    for at, (one, share) in enumerate(zip(patients, shares, strict=True)):
        alone = bool(np.isnan(within[at]))
        own = _on_path(share, total[one.task] - one.mass)
        others = [_on_path(share, mass) for task, mass in total.items() if task != one.task]
        rows.append(
            {
                "task": one.task,
                "patient": one.patient,
                "within": "" if alone else float(within[at]),
                "between": float(between[at]),
                "own_path": "" if alone else own - max(others),
                "path": "-".join(str(int(level.argmax())) for level in one.mass),
            }
        )
    return rows


def draw(run: FinishedRun) -> Drawing:
    """Draw paths through the experts, and the matrix of all shares below.

    Raises:
        InputError: The network has no gates.
    """
    use, patients = expert_use(run)
    levels, experts = next(iter(use.values())).mass.shape
    each = max(0.45, 0.1 * len(use))  # inches of an expert, through which all paths may go
    figure = new_figure(1.2 + 1.5 * levels, 1.6 + each * experts + 0.26 * len(use))
    above, below = figure.subplots(
        2, 1, height_ratios=[0.9 + each * experts, 0.3 + 0.26 * len(use)]
    )
    _flow(above, run, use)
    _matrix(below, run, use)
    rows = [
        {
            "task": name,
            "srm": level + 1,
            "expert": expert,
            "share": float(own.mass[level, expert]),
            "top1_pixels": float(own.first[level, expert]),
            "on_path": int(own.mass[level].argmax()) == expert,
            "run": run.name,
        }
        for name, own in use.items()
        for level in range(levels)
        for expert in range(experts)
    ]
    tables: dict[str, Rows] = {"": rows}
    if len(use) > 1:
        tables["patients"] = [{**row, **run.drawn_from} for row in patient_rows(patients)]
    return Drawing(figure, tables)


def _on_path(share: Tensor, mass: Tensor) -> float:
    """Share on the experts that have the largest gate mass, in the mean over the modules."""
    path = mass.argmax(dim=-1, keepdim=True)
    return float(share.gather(-1, path).mean())


def _shares(mass: Tensor) -> Tensor:
    return mass / mass.sum(dim=-1, keepdim=True).clamp_min(1e-12)


def _flow(ax: Axes, run: FinishedRun, use: Mapping[str, Use]) -> None:
    """Draw the paths from left to right; their width is the share of the expert."""
    levels, experts = next(iter(use.values())).mass.shape
    centre = (experts - 1) / 2
    # Paths through one expert, and their starts, stay apart.
    apart = min(0.16, 0.64 / len(use))
    start = min(0.9, (experts + 0.4) / len(use))
    for level in range(levels):
        ax.text(level + 1, -0.85, f"SRM {level + 1}", ha="center", fontsize=7)
        for expert in range(experts):
            box = (level + 1 - _NODE, expert - 0.34)
            ax.add_patch(
                Rectangle(box, 2 * _NODE, 0.68, facecolor="0.92", edgecolor="0.6", lw=0.6, zorder=3)
            )
            ax.text(level + 1, expert - 0.36, f"E{expert}", ha="center", va="bottom", fontsize=6.5)
    for index, task in enumerate(run.tasks):
        shares = use[task.name].mass
        place = index - (len(use) - 1) / 2
        heights = [centre + start * place]
        heights += [int(level.argmax()) + apart * place for level in shares]
        ax.text(0, heights[0], f"{task.title} ", ha="right", va="center", fontsize=7)
        for level in range(levels):
            left, entry = level + (level > 0) * _NODE, level + 1 - _NODE
            middle, before, after = (left + entry) / 2, heights[level], heights[level + 1]
            curve = [(left, before), (middle, before), (middle, after), (entry, after)]
            curve.append((entry + 2 * _NODE, after))
            codes = [Curve.MOVETO, *[Curve.CURVE4] * 3, Curve.LINETO]
            patch = PathPatch(
                Curve(curve, codes),
                fill=False,
                edgecolor=colour(run.tasks, task),
                lw=5 * float(shares[level].max()),
                capstyle="butt",
                zorder=4,
            )
            ax.add_patch(patch)
    ax.set_xlim(-1.1, levels + 0.3)
    ax.set_ylim(experts - 0.4, -1.05)
    ax.axis("off")


def _matrix(ax: Axes, run: FinishedRun, use: Mapping[str, Use]) -> None:
    levels, experts = next(iter(use.values())).mass.shape
    table = np.stack([use[task.name].mass.flatten().numpy() for task in run.tasks])
    ax.imshow(table, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for row, task in enumerate(run.tasks):
        for level in range(levels):
            best = level * experts + int(use[task.name].mass[level].argmax())
            box = Rectangle(
                (best - 0.46, row - 0.44),
                0.92,
                0.88,
                fill=False,
                ec=colour(run.tasks, task),
                lw=1.5,
            )
            ax.add_patch(box)
        for column, share in enumerate(table[row]):
            text = f"{100 * share:.0f}"
            tone = "w" if share > 0.6 else "k"
            ax.text(column, row, text, ha="center", va="center", fontsize=7, color=tone)
    for level in range(1, levels):
        ax.axvline(level * experts - 0.5, color="k", lw=0.8)
    ax.set_yticks(range(len(run.tasks)), [task.name.upper() for task in run.tasks], fontsize=7)
    labels = [f"{level + 1}.E{expert}" for level in range(levels) for expert in range(experts)]
    ax.set_xticks(range(levels * experts), labels, fontsize=6)
    ax.tick_params(length=0)
    ax.set_title("share of the gate mass in each SRM [%], largest outlined", fontsize=7)
