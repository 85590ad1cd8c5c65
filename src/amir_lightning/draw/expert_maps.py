"""Routing maps: the expert of each pixel of a slice, in each spatial routing module."""

from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.patches import Patch

from amir_lightning import pictures
from amir_lightning.draw.comparison import Choice, choose
from amir_lightning.draw.finished_run import FinishedRun
from amir_lightning.draw.gates import gates_of, top_share
from amir_lightning.draw.style import Drawing, new_figure, palette

_COLUMN = 1.6  # inches


def draw(run: FinishedRun, choice: Choice) -> Drawing:
    """Draw one row per task: LQ, then the top-1 expert of each pixel in each module.

    Args:
        run: Run of a network with spatial routing.
        choice: Restricts the slices; the one with the median PSNR is shown.

    Raises:
        InputError: The network has no gates, or no slice is allowed.
    """
    slices = list(choose([run], choice).values())
    gates = [gates_of(run, one) for one in slices]
    levels, experts = len(gates[0]), gates[0][0].shape[-1]
    colours = ListedColormap([palette(expert) for expert in range(experts)])
    norm = BoundaryNorm([expert - 0.5 for expert in range(experts + 1)], experts)
    heights = [_COLUMN * len(one.hq) / one.hq.shape[1] for one in slices]
    figure = new_figure(_COLUMN * (levels + 1) + 0.3, sum(heights) + 0.8)
    grid = figure.subplots(len(slices), levels + 1, squeeze=False, height_ratios=heights)
    rows: list[dict[str, object]] = []
    for axes, one, own in zip(grid, slices, gates, strict=True):
        for ax in axes:
            ax.set_xticks([])
            ax.set_yticks([])
        axes[0].imshow(pictures.grey(one.lq.numpy(), one.task.display_window))
        axes[0].set_ylabel(one.task.title, fontsize=7)
        for level, (ax, level_gates) in enumerate(zip(axes[1:], own, strict=True), 1):
            ax.imshow(
                level_gates.argmax(dim=-1).numpy(), cmap=colours, norm=norm, interpolation="nearest"
            )
            for expert, share in enumerate(top_share(level_gates).tolist()):
                rows.append(
                    {
                        "task": one.task.name,
                        "patient": one.patient,
                        "slice": one.slice_index,
                        "srm": level,
                        "expert": expert,
                        "top1_pixels": share,
                        "run": run.name,
                    }
                )
    for ax, title in zip(grid[0], ("LQ", *(f"SRM {i + 1}" for i in range(levels))), strict=True):
        ax.set_title(title, fontsize=7)
    patches = [Patch(color=palette(one), label=f"expert E{one}") for one in range(experts)]
    figure.legend(
        handles=patches, loc="outside upper center", ncols=experts, fontsize=7, frameon=False
    )
    return Drawing(figure, {"": rows})
