"""Which tasks share experts, and whether those help each other."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from scipy.stats import rankdata

from amir_lightning.draw.expert_paths import Use, expert_use
from amir_lightning.draw.finished_run import FinishedRun, alike
from amir_lightning.draw.interference_matrix import measure
from amir_lightning.draw.style import Drawing, new_figure
from amir_lightning.errors import InputError
from amir_lightning.metrics.interference import Matrix

FEWEST = 4
"""Tasks of a run: three have three pairs, too few for a correlation."""

_ALL_ORDERS = 8  # of so many tasks, all orders are counted; of more, a sample
_SAMPLE = 20_000


class Correlation(NamedTuple):
    """Rank correlation over pairs of tasks.

    Attributes:
        pairs: Number of pairs.
        spearman: Spearman's correlation; NaN where all values are equal.
        p: Share of the orders of the tasks whose correlation is at least as far from 0.
        orders: Number of these orders.
    """

    pairs: int
    spearman: float
    p: float
    orders: int


def suitable(runs: Sequence[FinishedRun]) -> list[FinishedRun]:
    """Runs of at least `FEWEST` tasks, whose networks have gates.

    Raises:
        InputError: There are none, or they cannot share a figure.
    """
    found = [
        run
        for run in runs
        if len(run.tasks) >= FEWEST and run.restore(run.tasks[0], 0).report.gates
    ]
    if not found:
        raise InputError(
            f"none of the runs trains at least {FEWEST} tasks with a network that routes pixels; "
            "type run=<a run of network=amir with more tasks>"
        )
    alike(found)
    return found


def draw(runs: Sequence[FinishedRun], layers: Sequence[str], batches: int) -> Drawing:
    """Draw one row for each run: the shared gate mass, and interference against it in each layer.

    The shared gate mass of two tasks is the mass that lies with the same experts, in the mean over
    the modules. Two tasks help each other by the mean of their interference, ratio of means, in
    both directions.

    Args:
        runs: Runs that are `suitable`.
        layers: Names as `find_layers` takes them.
        batches: Mini-batches per task.

    Raises:
        InputError: There is no such layer.
    """
    measured = [measure(run, layers, batches, bootstrap=0) for run in runs]
    columns = 1 + max(map(len, measured))  # two names may mean one layer
    figure = new_figure(3.6 * columns, 3.7 * len(runs) + 0.2)
    grid = figure.subplots(len(runs), columns, squeeze=False)
    pairs: list[dict[str, object]] = []
    correlations: list[dict[str, object]] = []
    for axes, run, found in zip(grid, runs, measured, strict=True):
        names = [task.name for task in run.tasks]
        modalities = [task.dicom_modality for task in run.tasks]
        shared = shared_mass(expert_use(run)[0], names)
        _heat_map(axes[0], shared, names)
        for ax in axes[1 + len(found) :]:
            ax.axis("off")
        for ax, (layer, metric) in zip(axes[1:], found.items(), strict=False):
            acting = metric.ratio_of_means
            both = (acting + acting.T) / 2
            every = correlation(shared, both)
            apart = correlation(shared, both, modalities)
            _scatter(ax, shared, both, names, modalities)
            ax.set_title(
                f"{layer}\nSpearman {every.spearman:.2f} (p = {every.p:.2g}), "
                f"of two modalities {apart.spearman:.2f} (p = {apart.p:.2g})",
                fontsize=6.5,
            )
            figure.draw_without_rendering()  # the names need the size of the panel
            _name_pairs(ax, shared, both, names)
            correlations += [
                {"layer": layer, "of": of, **one._asdict(), "batches": batches, **run.drawn_from}
                for of, one in (("all", every), ("two_modalities", apart))
            ]
            pairs += [
                {
                    "layer": layer,
                    "task": names[i],
                    "other": names[j],
                    "same_modality": modalities[i] == modalities[j],
                    "shared": shared[i, j],
                    "both": both[i, j],
                    "on_task": acting[i, j],
                    "on_other": acting[j, i],
                    **run.drawn_from,
                }
                for i, j in itertools.combinations(range(len(names)), 2)
            ]
    return Drawing(figure, {"": pairs, "correlation": correlations})


def shared_mass(use: Mapping[str, Use], names: Sequence[str]) -> Matrix:
    """Share of the gate mass of two tasks that lies with the same experts, mean over the modules.

    Args:
        use: Use of the experts by each task.
        names: Names of T tasks.

    Returns:
        (T, T), from 0 to 1; 1 on the diagonal.
    """
    mass = np.stack([use[name].mass.double().numpy() for name in names])
    common: Matrix = np.minimum(mass[:, None], mass).sum(axis=-1).mean(axis=-1)
    return common


def correlation(
    one: Matrix, other: Matrix, modalities: Sequence[str] | None = None, seed: int = 0
) -> Correlation:
    """Correlate two symmetric matrices of the same tasks, with the test of Mantel.

    Pairs that have a task in common depend on each other, so whole tasks are put into another
    order, not pairs. Tasks of one modality may share experts, and help each other, for that reason
    alone. With `modalities` only pairs of two modalities count, and tasks change places within
    their modality.

    Source: N. Mantel, Cancer Res 27, 1967.

    Args:
        one: (T, T).
        other: (T, T).
        modalities: Modality of each task, (T,); None counts all pairs.
        seed: Seed of the orders, if there are too many to count all of them.
    """
    kinds = np.array(modalities or [""] * len(one))
    i, j = np.triu_indices(len(kinds), 1)
    if modalities is not None:
        apart = kinds[i] != kinds[j]
        i, j = i[apart], j[apart]
    left, right = (rankdata(values[i, j]) for values in (one, other))
    left, right = left - left.mean(), right - right.mean()
    length = math.sqrt((left**2).sum() * (right**2).sum())
    if len(i) < 2 or length == 0:
        return Correlation(len(i), math.nan, math.nan, 0)
    ranks = np.zeros_like(other)
    ranks[i, j] = ranks[j, i] = right
    orders = _orders(kinds, seed)
    found = (left * ranks[orders[:, i], orders[:, j]]).sum(axis=1) / length
    value = float(left @ right / length)
    p = float((np.abs(found) >= abs(value) - 1e-9).mean())
    return Correlation(len(i), value, p, len(orders))


def _orders(kinds: NDArray[np.str_], seed: int) -> NDArray[np.intp]:
    """Orders of the tasks in which each place keeps its modality; the first is that of now."""
    places = np.arange(len(kinds))
    if len(kinds) <= _ALL_ORDERS:
        every = np.array(list(itertools.permutations(places)))
        kept: NDArray[np.intp] = every[(kinds[every] == kinds).all(axis=1)]
        return kept
    rng = np.random.default_rng(seed)
    drawn = np.tile(places, (_SAMPLE, 1))
    for kind in np.unique(kinds):
        own = np.flatnonzero(kinds == kind)
        drawn[1:, own] = rng.permuted(drawn[1:, own], axis=1)
    return drawn


def _heat_map(ax: Axes, shared: Matrix, names: Sequence[str]) -> None:
    ax.imshow(shared, cmap="Greys", vmin=0, vmax=1)
    for i, j in itertools.product(range(len(names)), repeat=2):
        tone = "w" if shared[i, j] > 0.6 else "k"
        text = f"{100 * shared[i, j]:.0f}"
        ax.text(j, i, text, ha="center", va="center", fontsize=6, color=tone)
    ax.set_xticks(range(len(names)), names, fontsize=6, rotation=90)
    ax.set_yticks(range(len(names)), names, fontsize=6)
    ax.tick_params(length=0)
    ax.set_title("shared gate mass [%]", fontsize=6.5)


def _scatter(
    ax: Axes, shared: Matrix, both: Matrix, names: Sequence[str], modalities: Sequence[str]
) -> None:
    i, j = np.triu_indices(len(names), 1)
    kinds = np.array(modalities)
    same = kinds[i] == kinds[j]
    for chosen, colour, label in (
        (same, "#D55E00", "one modality"),
        (~same, "#0072B2", "two modalities"),
    ):
        x, y = shared[i, j][chosen], both[i, j][chosen]
        ax.scatter(x, y, s=14, color=colour, label=label, edgecolor="w", lw=0.3)
    ax.margins(0.15, 0.08)
    ax.axhline(0, color="0.6", lw=0.7)
    ax.set_xlabel("shared gate mass", fontsize=7)
    ax.set_ylabel("interference, mean of both directions", fontsize=7)
    ax.tick_params(labelsize=6)
    ax.legend(fontsize=5.5, frameon=False)


def _name_pairs(ax: Axes, shared: Matrix, both: Matrix, names: Sequence[str]) -> None:
    """Name the points, from the outermost inwards; one whose name would cover another has none."""
    pairs = [*itertools.combinations(range(len(names)), 2)]
    x, y = (np.array([values[pair] for pair in pairs]) for values in (shared, both))
    outwards = np.hypot(*((values - values.mean()) / (np.ptp(values) or 1) for values in (x, y)))
    taken: list[Bbox] = []
    for at in np.argsort(-outwards).tolist():
        label = ax.annotate(
            ", ".join(names[task] for task in pairs[at]),
            (x[at], y[at]),
            (0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=4,
            color="0.4",
        )
        box = label.get_window_extent()
        if any(box.overlaps(other) for other in taken):
            label.remove()
        else:
            taken.append(box)
