"""The figure of the experiment: one lesion of each task at every contrast, in all images."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from amir_lightning import pictures
from amir_lightning.clinical.inserts import Insert, Scan, scans_with, square
from amir_lightning.clinical.known import level_of
from amir_lightning.clinical.methods import Method
from amir_lightning.clinical.rescans import anatomies_of
from amir_lightning.clinical.whole_patients import restorer
from amir_lightning.data.embedded import Cohort
from amir_lightning.data.store import Store
from amir_lightning.draw.finished_run import FinishedRun
from amir_lightning.draw.style import Drawing, new_figure
from amir_lightning.metrics.clinical import Image, Place
from amir_lightning.runs.data import locate_data
from amir_lightning.tasks import Task

_log = logging.getLogger(__name__)

_PANEL = 1.0  # inches
_RADII = 6  # from the lesion to the border of a panel


class Line(NamedTuple):
    """Panels of one task at one contrast."""

    task: Task
    level: str
    window: tuple[float, float]
    panels: Mapping[str, Image]


def draw(
    methods: Sequence[Method], tasks: Sequence[Task], options: Mapping[str, Any]
) -> Drawing | None:
    """Draw the square around one lesion, which is the deepest of a slice of the first patient.

    Two ticks point at its middle. No other lesion of the slice is added.

    Args:
        methods: One column for each.
        tasks: Rows of each, one for each contrast.
        options: The node ``measures`` of the configuration.

    Returns:
        The figure; None if the patients are no embedded ones, or none has room for a lesion.
    """
    lines = [line for task in tasks for line in _lines(methods, task, options)]
    if not lines:
        return None
    columns = ["HQ", "LQ", *(method.title for method in methods)]
    figure = new_figure(_PANEL * len(columns) + 0.6, (_PANEL + 0.12) * len(lines) + 0.5)
    grid = figure.subplots(len(lines), len(columns), squeeze=False)
    by_title = {method.title: method for method in methods}
    rows = []
    for at, (axes, line) in enumerate(zip(grid, lines, strict=True)):
        for ax, title in zip(axes, columns, strict=True):
            ax.set_xticks([])
            ax.set_yticks([])
            area = _area(by_title.get(title, methods[0]), line, title)
            text = "" if area is None else f"area {area:.2f}"
            if title in line.panels:
                ax.imshow(pictures.grey(line.panels[title], line.window), interpolation="nearest")
                middle = len(line.panels[title]) // 2
                ax.set_xticks([middle], labels=[""])
                ax.set_yticks([middle], labels=[""])
                ax.tick_params(length=2)
                rows.append(
                    {
                        "task": line.task.name,
                        "contrast": line.level,
                        "image": title,
                        "observer_auc": "" if area is None else f"{area:.4g}",
                        "black": f"{line.window[0]:.6g}",
                        "white": f"{line.window[1]:.6g}",
                    }
                )
            else:
                ax.set_visible(False)
            ax.set_title(f"{title}\n{text}" if at == 0 else text, fontsize=6, pad=2)
        axes[0].set_ylabel(f"{line.task.name}\n{line.level}", fontsize=6)
    return Drawing(figure, {"": rows})


def _area(method: Method, line: Line, title: str) -> float | None:
    found = method.find(line.task.name, "observer_auc", line.level)
    if found is None:
        return None
    name = {"HQ": "hq", "LQ": "input"}.get(title, "restored")
    return found.values.get(name)  # type: ignore[call-overload]


def _lines(methods: Sequence[Method], task: Task, options: Mapping[str, Any]) -> Iterator[Line]:
    own = [method for method in methods if task.name in {one.name for one in method.runs[0].tasks}]
    first = own[0].runs[0]
    insert = Insert.of(task, options["inserts"])
    if insert is None or _store(first, task).source != "phantoms":
        return
    insert = insert._replace(per_slice=1)
    place, scans = _scans(first, task, insert)
    if not scans:
        _log.info(
            "the figure leaves %s out: no patient has room for a lesion of %g mm in %s; type a "
            "smaller measures.inserts.%s.radius_mm, or another organ",
            *(task.name, insert.radius_mm, insert.organ, task.dicom_modality),
        )
        return
    absent, *levels = scans
    store = _store(first, task)
    _, *spacing = store.spacing_mm(store.patients(first.split)[0])
    half = round(_RADII * insert.radius_mm / max(spacing))
    middle = float(np.median(square(absent.hq, place, half)))
    reach = 2 * max(abs(one) for one in insert.contrasts)
    window = middle - reach, middle + reach
    if task.display_window[0] > task.display_window[1]:
        window = window[1], window[0]
    for scan in levels:
        panels = {"HQ": square(scan.hq, place, half), "LQ": square(scan.lq, place, half)}
        for method in own:
            run = method.runs[0]
            restore = restorer(run.module.network, run.module.device)
            restored = restore(task, scan.lq[place[0]][None])
            panels[method.title] = square(restored, (0, *place[1:]), half)
        yield Line(task, level_of(scan.contrast, task), window, panels)


def _scans(run: FinishedRun, task: Task, insert: Insert) -> tuple[Place, list[Scan]]:
    """Scans of the first patient with room, and the place of one lesion in the middle slice."""
    store = _store(run, task)
    cohort = Cohort(**{str(key): value for key, value in run.cfg.data.phantoms.items()})
    for anatomy in anatomies_of(task, store, run.split, cohort):
        scans = [*scans_with(task, anatomy, insert)]
        if scans:
            places = scans[0].places
            return places[len(places) // 2], scans
    return (0, 0, 0), []


def _store(run: FinishedRun, task: Task) -> Store:
    (path,) = locate_data(run.cfg, [task]).values()
    return Store(path, task.name)
