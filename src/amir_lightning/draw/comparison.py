"""Fig. 3: LQ, the result of every method, and HQ of one slice per task, with error maps."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from torch.nn import functional as F

from amir_lightning import pictures
from amir_lightning.draw.finished_run import FinishedRun, Restored, alike
from amir_lightning.draw.style import Drawing, new_figure
from amir_lightning.errors import InputError
from amir_lightning.tasks import Task

Row = Mapping[str, str]

_COLUMN, _TITLE = 1.35, 0.3  # inches


class Choice(NamedTuple):
    """Restricts which slice is shown; None allows any.

    Attributes:
        patient: Hashed patient id, or its beginning.
        slice_index: Position along the cut axis of the scan.
    """

    patient: str | None = None
    slice_index: int | None = None


def draw(
    runs: Sequence[FinishedRun],
    choice: Choice,
    inset: float,
    titles: Mapping[str, str],
    errors: str = "below",
) -> Drawing:
    """Draw the images of each task in its display window, and their absolute errors.

    Each task shows the slice with the median PSNR of the first run that was trained on it, among
    the slices that `choice` allows. Tasks without such a slice are left out. The inset shows the
    square in which LQ differs most from HQ, the same for all methods.

    Args:
        runs: One column for each; runs of one network on different tasks share a column.
        choice: Restricts the slices.
        inset: Side of the square, as a fraction of the slice's shorter side; 0 for none.
        titles: Names of networks that are printed differently from what is typed.
        errors: "below" draws the errors in a second row of each task, "beside" to the right of
            the images, which makes a wide picture with one row per task.

    Raises:
        InputError: The runs differ in scale, metrics or data, or no slice is allowed.
    """
    alike(runs)
    if not 0 <= inset <= 0.5:
        raise InputError(f"inset is {inset}, expected from 0 to 0.5; type inset=0.25")
    if errors not in ("below", "beside"):
        raise InputError(f"errors is '{errors}'; choose from below, beside")
    beside = errors == "beside"
    columns = _columns(runs, titles)
    pairs = choose(runs, choice)
    heights = [_COLUMN * len(pair.hq) / pair.hq.shape[1] for pair in pairs.values()]
    ratios = heights if beside else [height for height in heights for _ in range(2)]
    images, maps = len(columns) + 2, len(columns) + 1  # HQ has no error
    across = images + maps if beside else images
    figure = new_figure(_COLUMN * across + 0.5, sum(ratios) + _TITLE * len(heights) + 0.4)
    grid = figure.subplots(len(ratios), across, squeeze=False, height_ratios=ratios)
    for ax in grid.flat:
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
    above, below = (
        (grid[:, :images], grid[:, images:]) if beside else (grid[::2], grid[1::2, :maps])
    )
    rows: list[Row] = []
    for axes, (name, pair) in zip(zip(above, below, strict=True), pairs.items(), strict=True):
        restored = {
            title: _same_slice(own[name], pair) if name in own else None
            for title, own in columns.items()
        }
        scores = {
            title: {**_scores(own[name], pair), "method": title, "run": own[name].name}
            for title, own in columns.items()
            if name in own
        }
        rows += scores.values()
        _draw_task(axes, pair, restored, scores, inset, beside)
    layout = figure.get_layout_engine()
    assert isinstance(layout, ConstrainedLayoutEngine)
    layout.set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    return Drawing(figure, {"": rows})


def choose(runs: Sequence[FinishedRun], choice: Choice) -> dict[str, Restored]:
    """Choose the slice of each task, and restore it with the first run trained on that task.

    Raises:
        InputError: No slice is allowed.
    """
    chosen, slices = {}, set()
    for run in runs:
        for task in run.tasks:
            own = [row for row in run.scores() if row["task"] == task.name]
            slices |= {f"{task.name} {row['patient'][:12]} {row['slice']}" for row in own}
            if task.name not in chosen and (row := _median(own, choice)):
                chosen[task.name] = _restore(run, task, row["patient"], int(row["slice"]))
    if not chosen:
        raise InputError(
            f"no slice has {_wanted(choice)}; type patient= and slice= as in slices.csv of the "
            f"run, for instance {', '.join(sorted(slices)[:3])} (task, patient, slice)"
        )
    return chosen


def _wanted(choice: Choice) -> str:
    wanted = {"patient": choice.patient, "slice": choice.slice_index}
    typed = [f"{key}={value}" for key, value in wanted.items() if value is not None]
    return " and ".join(typed) or "a score"


def _columns(
    runs: Sequence[FinishedRun], titles: Mapping[str, str]
) -> dict[str, dict[str, FinishedRun]]:
    """Group runs by title and task. The title is the network, or the run if networks repeat."""
    columns: dict[str, dict[str, FinishedRun]] = {}
    for run in runs:
        names = {task.name for task in run.tasks}
        network = titles.get(run.network_name, run.network_name)
        taken = columns.get(network, {}).keys() & names
        title = run.name if taken else network
        columns.setdefault(title, {}).update(dict.fromkeys(names, run))
    return columns


def _median(rows: Sequence[Row], choice: Choice) -> Row | None:
    allowed = [
        row
        for row in rows
        if row["psnr"]
        and row["patient"].startswith(choice.patient or "")
        and choice.slice_index in (None, int(row["slice"]))
    ]
    allowed.sort(key=lambda row: float(row["psnr"]))
    return allowed[len(allowed) // 2] if allowed else None


def _restore(run: FinishedRun, task: Task, patient: str, slice_index: int) -> Restored:
    identities = [(ref.patient, ref.slice_index) for ref in run.slices(task).refs]
    return run.restore(task, identities.index((patient, slice_index)))


def _same_slice(run: FinishedRun, pair: Restored) -> Restored:
    return _restore(run, pair.task, pair.patient, pair.slice_index)


def _scores(run: FinishedRun, pair: Restored) -> dict[str, str]:
    identity = {"task": pair.task.name, "patient": pair.patient, "slice": str(pair.slice_index)}
    return next(dict(row) for row in run.scores() if identity.items() <= row.items())


def _draw_task(
    axes: tuple[Sequence[Axes], Sequence[Axes]],
    pair: Restored,
    restored: Mapping[str, Restored | None],
    scores: Mapping[str, Row],
    inset: float,
    beside: bool,
) -> None:
    task = pair.task
    side = round(inset * min(pair.hq.shape))
    corner = farthest(pair.lq.clip(*task.score_range), pair.hq.clip(*task.score_range), side)
    shown = {
        "LQ": pair.lq,
        **{title: one and one.image for title, one in restored.items()},
        "HQ": pair.hq,
    }
    any_row = next(iter(scores.values()))
    values = {title: (row["psnr"], row["ssim"]) for title, row in scores.items()}
    values["LQ"] = (any_row["input_psnr"], any_row["input_ssim"])
    scale = f"0 to {task.error_window:g} {task.units}"
    for ax, error_ax, (title, image) in zip_longest(*axes, shown.items()):
        if image is None:
            ax.text(0.5, 0.5, "not trained", transform=ax.transAxes, ha="center", fontsize=6)
            continue
        text = (
            "{:.2f} dB, SSIM {:.3f}".format(*map(float, values[title])) if title in values else " "
        )
        ax.set_title(f"{title}\n{text}", fontsize=6, pad=2)
        pixels = pictures.grey(image.numpy(), task.display_window)
        ax.imshow(pixels)
        if side:
            _inset(ax, pixels, corner, side)
        if error_ax is None:
            continue
        error = (image.clip(*task.score_range) - pair.hq.clip(*task.score_range)).numpy()
        error_ax.imshow(pictures.heat(error, task.error_window))
        if beside:
            error_ax.set_title(f"|error| of {title}\n{scale}", fontsize=6, pad=2)
    axes[0][0].set_ylabel(task.title, fontsize=7)
    if not beside:
        axes[1][0].set_ylabel(f"|error|\n{scale}", fontsize=6)


def _inset(ax: Axes, pixels: pictures.Pixels, corner: tuple[int, int], side: int) -> None:
    """Draw the square enlarged, in the corner farthest from it."""
    top, left = corner
    height, width = pixels.shape[:2]
    share = 0.42 * min(height, width)
    across = 0.0 if left + side / 2 > width / 2 else 1 - share / width
    up = 0.0 if top + side / 2 < height / 2 else 1 - share / height
    zoomed = ax.inset_axes((across, up, share / width, share / height))
    zoomed.imshow(pixels[top : top + side, left : left + side])
    zoomed.set_xticks([])
    zoomed.set_yticks([])
    for spine in zoomed.spines.values():
        spine.set_edgecolor("#E69F00")
    ax.add_patch(Rectangle((left, top), side, side, fill=False, edgecolor="#E69F00", linewidth=0.8))


def farthest(lq: torch.Tensor, hq: torch.Tensor, side: int) -> tuple[int, int]:
    """Corner (top, left) of the square with the largest mean absolute difference.

    Args:
        lq: One image, (H, W).
        hq: The other, (H, W).
        side: Side of the square [pixels]; 0 gives the first pixel.
    """
    if not side:
        return 0, 0
    means = F.avg_pool2d((lq - hq).abs()[None, None], side, stride=1)[0, 0]
    top, left = divmod(int(means.argmax()), means.shape[1])
    return top, left
