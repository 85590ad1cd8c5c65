"""Fig. 1 (b): interference of task j on task i at some layers of a trained all-in-one network."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.image import AxesImage

from amir_lightning.draw.finished_run import FinishedRun
from amir_lightning.draw.style import Drawing, new_figure
from amir_lightning.metrics.interference import Interference, Matrix, interference
from amir_lightning.modules.gradients import check, find_layers, task_gradients

_DEFINITIONS = ("mean_of_ratios", "ratio_of_means")
_RED_TO_GREEN = LinearSegmentedColormap.from_list("interference", ["#B2182B", "white", "#1A7F3C"])


def draw(run: FinishedRun, layers: Sequence[str], batches: int, bootstrap: int) -> Drawing:
    """Draw heat maps of both definitions with 95 % bootstrap intervals, one row per layer.

    Args:
        run: Run of several tasks.
        layers: Names as `find_layers` takes them.
        batches: Mini-batches per task.
        bootstrap: Resamples of the mini-batches.

    Raises:
        InputError: There are fewer than two tasks, or no such layer.
    """
    check(len(run.tasks), {}, batches)
    module = run.module
    found = find_layers(module.network, layers)
    module.train()
    gradients = task_gradients(module, run.data, found, batches)
    module.eval()
    metrics = {
        layer: interference(one, bootstrap, run.cfg.seed) for layer, one in gradients.items()
    }

    size = 1.0 + 0.75 * len(run.tasks)
    figure = new_figure(2 * size + 0.9, (size + 0.1) * len(metrics) + 0.3)
    grid = figure.subplots(len(metrics), 2, squeeze=False)
    names = [task.name.upper() for task in run.tasks]
    for axes, (layer, metric) in zip(grid, metrics.items(), strict=True):
        for ax, definition in zip(axes, _DEFINITIONS, strict=True):
            values = getattr(metric, definition)
            image = _heat_map(ax, values, getattr(metric, f"{definition}_bounds"), names)
            ax.set_title(f"{definition.replace('_', ' ')}\n{layer}", fontsize=7)
    bar = figure.colorbar(image, ax=grid, extend="both", shrink=0.6)
    bar.set_label("interference: < 0 task j hurts task i, > 0 it helps", fontsize=7)
    bar.ax.tick_params(labelsize=7)
    blocks = {next(iter(find_layers(module.network, [one]))): one for one in layers}
    return Drawing(
        figure,
        {"": _rows(run, metrics, batches), "mean": _mean_rows(run, metrics, blocks, batches)},
    )


def _heat_map(ax: Axes, values: Matrix, bounds: Matrix, names: Sequence[str]) -> AxesImage:
    image = ax.imshow(values, cmap=_RED_TO_GREEN, vmin=-1, vmax=1)
    for i in range(len(names)):
        for j in range(len(names)):
            low, high = bounds[:, i, j]
            dark = abs(values[i, j]) > 0.8
            text = f"{values[i, j]:.2f}"
            if i != j and low == low:
                text += f"\n[{low:.2f}, {high:.2f}]"
            size = 6 if i != j else 8
            ax.text(j, i, text, ha="center", va="center", fontsize=size, color="w" if dark else "k")
    ax.set_xticks(range(len(names)), names, fontsize=7)
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.set_xlabel("acting task j", fontsize=7)
    ax.set_ylabel("affected task i", fontsize=7)
    return image


def _rows(
    run: FinishedRun, metrics: dict[str, Interference], batches: int
) -> list[dict[str, object]]:
    return [
        {
            "layer": layer,
            "definition": definition,
            "affected": affected.name,
            "acting": acting.name,
            "value": getattr(metric, definition)[i, j],
            "low": getattr(metric, f"{definition}_bounds")[0, i, j],
            "high": getattr(metric, f"{definition}_bounds")[1, i, j],
            "batches": batches,
            "run": run.name,
        }
        for layer, metric in metrics.items()
        for definition in _DEFINITIONS
        for i, affected in enumerate(run.tasks)
        for j, acting in enumerate(run.tasks)
    ]


def _mean_rows(
    run: FinishedRun, metrics: dict[str, Interference], blocks: dict[str, str], batches: int
) -> list[dict[str, object]]:
    """Mean over all pairs of two tasks, by layer as it was typed and by its full name."""
    return [
        {
            "block": blocks[layer],
            "layer": layer,
            "definition": definition,
            **getattr(metric, f"{definition}_others")._asdict(),
            "batches": batches,
            **run.drawn_from,
        }
        for layer, metric in metrics.items()
        for definition in _DEFINITIONS
    ]
