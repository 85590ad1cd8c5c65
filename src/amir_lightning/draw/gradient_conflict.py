"""Gradient conflict and interference over time, as logged by ``callbacks=interference``."""

from amir_lightning.draw.curves import label, series
from amir_lightning.draw.finished_run import FinishedRun
from amir_lightning.draw.style import Drawing, new_figure, palette
from amir_lightning.errors import InputError

_KINDS = {
    "conflict": "cosine of mean gradients",
    "interference": "interference, ratio of means",
}


def draw(run: FinishedRun) -> Drawing:
    """Draw one row per layer: cosine between the tasks' gradients, and interference.

    Raises:
        InputError: The run was trained without ``callbacks=interference``.
    """
    logged = run.files.logged()
    keys = sorted({key for row in logged for key in row if key.split("/")[0] in _KINDS})
    layers = sorted({key.split("/")[1] for key in keys})
    if not layers:
        raise InputError(
            f"{run.name} has not measured its gradients; train with callbacks=interference, which "
            "measures every callbacks.interference.every steps, or measure the trained network "
            "alone with draw=interference"
        )
    figure = new_figure(7.0, 2.6 * len(layers) + 0.2)
    grid = figure.subplots(len(layers), 2, squeeze=False)
    rows: list[dict[str, object]] = []
    for axes, layer in zip(grid, layers, strict=True):
        for ax, (kind, title) in zip(axes, _KINDS.items(), strict=True):
            own = [key for key in keys if key.startswith(f"{kind}/{layer}/")]
            for index, key in enumerate(own):
                pair = key.rsplit("/", 1)[-1]
                steps, values = series(logged, key)
                ax.plot(
                    steps,
                    values,
                    color=palette(index),
                    lw=1,
                    marker="o",
                    ms=2.5,
                    label=pair.replace("_on_", " on ").replace("_", ", "),
                )
                rows += [
                    {
                        "kind": kind,
                        "layer": layer,
                        "pair": pair,
                        "step": step,
                        "value": value,
                        "run": run.name,
                    }
                    for step, value in zip(steps, values, strict=True)
                ]
            ax.axhline(0, color="0.5", lw=0.8)
            label(ax, f"{title}\n{layer}")
            ax.title.set_fontsize(7)
            ax.legend(fontsize=6, frameon=False, ncols=2)
    return Drawing(figure, {"": rows})
