"""Lesions of known contrast: how much of it is left, how sharp it is, who sees it."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from amir_lightning.clinical.inserts import Insert, Inserts, covered
from amir_lightning.clinical.rescans import SEEN
from amir_lightning.metrics.clinical import Image, Spacing, intervals, observer, sharpness
from amir_lightning.runs.clinical import Image as Name
from amir_lightning.runs.clinical import Overall, Row
from amir_lightning.tasks import Task

_STANDARD_ERRORS = 5  # least mean change of lesions whose borders are measured


def level_of(contrast: float, task: Task) -> str:
    """A contrast with its unit, as tables show it."""
    return f"{contrast:g} {task.units}"


def recovered(
    task: Task,
    insert: Insert,
    scans: Sequence[Inserts],
    spacing_mm: Spacing,
    names: Mapping[int, str],
) -> list[Row]:
    """Share of each added contrast that the images show, lesion by lesion.

    The contrast of a lesion is the mean over its section with the lesion minus the mean without
    it. Pixels that the lesion covers in part count by what they should show.

    Args:
        task: The task.
        insert: What was added.
        scans: Squares without lesions, then of each contrast.
        spacing_mm: Distance between rows and columns [mm].
        names: Patient ids by number.
    """
    absent, *levels = scans
    away = _away(absent, spacing_mm)
    inside = away <= insert.radius_mm
    share = covered(away[inside], insert.radius_mm, min(spacing_mm)).mean()
    rows = []
    for one in levels:
        changes = {
            name: (one.images[name] - absent.images[name])[:, inside].mean(axis=1) for name in SEEN
        }
        for at, number in enumerate(one.patients):
            full = one.contrast * share
            values = {name: float(change[at]) / full for name, change in changes.items()}
            key = task.name, names[int(number)], "insert_recovery", level_of(one.contrast, task)
            rows.append(Row(*key, f"lesion {at + 1}", "1", values))
    return rows


def transfer(
    task: Task, insert: Insert, scans: Sequence[Inserts], spacing_mm: Spacing
) -> list[Overall]:
    """Task transfer function of the borders of added lesions: where it falls to 50 %.

    The profile is that of the mean change that the lesions of one contrast make. An image has none
    if that change is less than five of its standard errors.
    """
    absent, *levels = scans
    pixel = sum(spacing_mm) / 2
    away = _away(absent, spacing_mm) - insert.radius_mm
    found = []
    for one in levels:
        values = {}
        for name in SEEN:
            change = one.images[name] - absent.images[name]
            edge = sharpness.edge_profile(change.mean(axis=0), away, insert.radius_mm, pixel)
            if edge is None or not _stands_out(change[:, away < 0].mean(axis=1), one.contrast):
                continue
            half = sharpness.half_frequency(edge)
            if np.isfinite(half):
                values[name] = half
        if "restored" in values:
            key = task.name, "ttf50", level_of(one.contrast, task), "1/mm"
            found.append(Overall(*key, len(np.unique(one.patients)), values, None))
    return found


def observed(
    task: Task,
    insert: Insert,
    scans: Sequence[Inserts],
    spacing_mm: Spacing,
    options: Mapping[str, float],
    bootstrap: int,
) -> list[Overall]:
    """Area under the receiver curve of the model observer at each contrast, for each image.

    Raises:
        InputError: There are too few places to train the observer on.
    """
    absent, *levels = scans
    side = absent.images["hq"].shape[-1]
    width = options["width"] * insert.radius_mm
    channels = observer.laguerre_gauss(side, width, spacing_mm, int(options["channels"]))
    groups = absent.patients
    fold = observer.folds_of(groups, int(options["folds"]), len(channels))
    without = {name: observer.channel_outputs(absent.images[name], channels) for name in SEEN}
    found = []
    for one in levels:
        within = {name: observer.channel_outputs(one.images[name], channels) for name in SEEN}

        def area(
            name: Name, places: NDArray[np.integer], within: Mapping[Name, Image] = within
        ) -> float:
            own = without[name][places], within[name][places]
            return observer.area(*observer.hotelling_scores(*own, fold[places]))

        def judged(places: NDArray[np.integer], area: Callable[..., float] = area) -> list[float]:
            # A patient that is drawn twice stays in its fold: nobody is trained on whom it scores.
            sizes = np.bincount(fold[places])
            if len(places) - sizes.max() <= len(channels):  # too few others to train on
                return [np.nan, np.nan]
            restored = area("restored", places)
            return [restored, restored - area("input", places)]

        areas = {name: area(name, np.arange(len(groups))) for name in SEEN}
        gains = {name: areas[name] - areas["input"] for name in SEEN}
        of_area, of_gain = intervals.of_places(groups, judged, bootstrap)
        for measure, values, interval in (
            ("observer_auc", areas, of_area),
            ("observer_gain", gains, of_gain),
        ):
            key = task.name, measure, level_of(one.contrast, task), "1"
            found.append(Overall(*key, len(np.unique(groups)), values, interval))
    return found


def _stands_out(changes: Image, contrast: float) -> bool:
    """Whether lesions change an image by more than noise does, with the sign of their contrast."""
    if len(changes) < 2:
        return False
    error = changes.std(ddof=1) / np.sqrt(len(changes))
    return bool(changes.mean() * np.sign(contrast) > _STANDARD_ERRORS * error)


def _away(scans: Inserts, spacing_mm: Spacing) -> Image:
    """Distance of each pixel of a square to its middle [mm]."""
    side = scans.images["hq"].shape[-1]
    at = np.arange(side) - side // 2
    return np.hypot((at * spacing_mm[0])[:, None], at * spacing_mm[1])
