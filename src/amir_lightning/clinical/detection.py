"""How well the rule of detection tells lesions from places without one, over all patients."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from amir_lightning.clinical.patients import Detected
from amir_lightning.clinical.rescans import SEEN
from amir_lightning.metrics.clinical import Image, intervals, observer
from amir_lightning.runs.clinical import Curve, Overall
from amir_lightning.runs.clinical import Image as Name
from amir_lightning.tasks import Task


class Place(NamedTuple):
    """A place of a patient, with or without a lesion."""

    patient: str
    seen: Detected


def detection_area(task: Task, places: Sequence[Place], bootstrap: int) -> list[Overall]:
    """Area under the receiver curve of the rule; empty without both kinds of places."""
    lesion = np.array([one.seen.lesion for one in places], bool)
    if lesion.all() or not lesion.any():
        return []
    groups = np.array([one.patient for one in places])
    ratios = {name: _ratios(places, name) for name in SEEN}
    areas = {n: observer.area(ratio[~lesion], ratio[lesion]) for n, ratio in ratios.items()}
    own = ratios["restored"]
    interval = intervals.of_area(
        own[~lesion], own[lesion], groups[~lesion], groups[lesion], bootstrap
    )
    count = len(np.unique(groups))
    return [Overall(task.name, "detection_auc", "", "1", count, areas, interval)]


def receiver_curves(task: Task, places: Sequence[Place]) -> list[Curve]:
    """Receiver curve of the rule in each image; empty without both kinds of places."""
    lesion = np.array([one.seen.lesion for one in places], bool)
    if lesion.all() or not lesion.any():
        return []
    curves = []
    for name in SEEN:
        ratios = _ratios(places, name)
        false, true = observer.receiver_curve(ratios[~lesion], ratios[lesion])
        points = [*zip(false.tolist(), true.tolist(), strict=True)]
        unit = "share without a lesion, share with one"
        curves.append(Curve(task.name, "receiver", name, unit, points))
    return curves


def _ratios(places: Sequence[Place], name: Name) -> Image:
    return np.array([one.seen.values[name] for one in places])
