"""Scores, range and pictures of a restored scan."""

from typing import Any

import numpy as np

from amir_lightning.data.pairs import informative_rows
from amir_lightning.metrics import METRICS
from amir_lightning.pictures import Pixels, column, comparison, grey, heat, row
from amir_lightning.restore.dataset import Slices
from amir_lightning.restore.scratch import ScratchVolume
from amir_lightning.tasks import Task


def score_slices(
    hq: ScratchVolume,
    lq: ScratchVolume,
    restored: ScratchVolume,
    task: Task,
    name: str,
    metrics: str,
) -> list[dict[str, Any]]:
    """Score restored and LQ slices. Air and constant slices are left out, as by `prepare`."""
    score, originals = METRICS[metrics], Slices(hq, task)
    rows = []
    for index in range(len(originals)):
        images = (Slices(volume, task)[index].lq[None] for volume in (hq, lq, restored))
        truth, low, high = images
        if not len(informative_rows(truth[0].numpy(), task)):
            continue
        row_ = {"task": task.name, "patient": name, "slice": index}
        row_ |= {key: float(value) for key, value in score(high, truth, task).items()}
        row_ |= {f"input_{key}": float(value) for key, value in score(low, truth, task).items()}
        rows.append(row_)
    return rows


def value_range(volume: ScratchVolume, slices: Slices) -> tuple[float, float]:
    """Smallest and largest value of a volume, read slice by slice."""
    extremes = [
        (float(image.min()), float(image.max()))
        for image in (volume[slices.where(index)] for index in range(len(slices)))
    ]
    return min(low for low, _ in extremes), max(high for _, high in extremes)


def show_slices(
    given: ScratchVolume,
    lq: ScratchVolume | None,
    restored: ScratchVolume,
    task: Task,
    count: int,
) -> Pixels:
    """Draw evenly spread slices: LQ, restored, and their difference or the error."""
    last = len(Slices(given, task)) - 1
    inner = np.linspace(0, last, count + 2)[1:-1].round().astype(int)
    rows = []
    for index in sorted(set(inner.tolist())):
        hq, low, high = (
            Slices(volume, task)[index].lq[0].numpy()
            for volume in (given, given if lq is None else lq, restored)
        )
        if lq is not None:
            rows.append(comparison(low, high, hq, task))
            continue
        panels = [grey(image, task.display_window) for image in (low, high)]
        panels.append(heat(high - low, task.error_window))
        titles = [
            f"input, slice {index}",
            "restored",
            f"|change| 0..{task.error_window:g} {task.units}",
        ]
        rows.append(row(panels, titles))
    return column(rows)
