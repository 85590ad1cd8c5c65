"""Embedded patients scanned again: some of their slices, and with other noise."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray

from amir_lightning.data.embedded import Cohort, Redrawn, redraw
from amir_lightning.data.pairs import AXES, cut_slices
from amir_lightning.data.splits import Split
from amir_lightning.data.store import Store
from amir_lightning.degradation import Degradation, fixed_for
from amir_lightning.metrics.clinical import Image, Spacing
from amir_lightning.metrics.clinical.structures import split_error
from amir_lightning.runs.clinical import Image as Name
from amir_lightning.runs.clinical import Row
from amir_lightning.tasks import Task

Restore = Callable[[Task, Image], Image]
"""Restores slices of a task in physical units, (S, H, W)."""

SEEN: tuple[Name, ...] = ("hq", "input", "restored")
"""Images of a scan."""

_NOISE_SEED = 1 << 32  # seeds of the repeated scans lie beyond those of the patients


class Anatomy(NamedTuple):
    """The part of an embedded patient that is scanned again.

    Attributes:
        redrawn: The patient.
        positions: Position of its stored slices along the cut axis, (S,).
        number: Number of the patient, for groups of places.
    """

    redrawn: Redrawn
    positions: NDArray[np.integer]
    number: int


def anatomies_of(task: Task, store: Store, split: Split, cohort: Cohort) -> Iterator[Anatomy]:
    """Draw the embedded patients of a split again, with the positions of their stored slices."""
    positions: dict[str, list[int]] = {}
    for ref in store.slices(split):
        positions.setdefault(ref.patient, []).append(ref.slice_index)
    for number, one in enumerate(redraw(task, cohort, split)):
        if one.patient in positions:  # a phantom of one's own may have been changed since
            yield Anatomy(one, np.array(positions[one.patient]), number)


def measure_draws(
    task: Task, anatomies: Sequence[Anatomy], options: Mapping[str, int], restore: Restore
) -> list[Row]:
    """Scan the same patients again with other noise, and split the error of the images.

    A drawn parameter, such as the dose, stays that of the patient.
    """
    rows = []
    for anatomy in anatomies[: options["patients"]]:
        volume, seed = anatomy.redrawn.volume, anatomy.redrawn.seed
        degradation: Degradation = fixed_for(instantiate(dict(task.degradation)), seed)
        count = min(options["slices"], len(anatomy.positions))
        middle = np.linspace(0, len(anatomy.positions) - 1, count + 2).round().astype(int)[1:-1]
        chosen = np.unique(anatomy.positions[middle])
        draws: dict[Name, list[Image]] = {name: [] for name in SEEN}
        for number in range(options["count"]):
            noise = _NOISE_SEED + 1000 * seed + number
            lq, hq = scan_slices(task, degradation, anatomy, volume.array, chosen, noise)
            for name, image in zip(SEEN, (hq, lq, restore(task, lq)), strict=True):
                draws[name].append(image)
        truth = volume.array.transpose(AXES[task.plane])[chosen].astype(np.float64)
        region = np.ones(truth.shape, bool)
        if volume.labels is not None:
            region = volume.labels.organs.transpose(AXES[task.plane])[chosen] > 0
        split = {name: split_error(np.array(images), truth) for name, images in draws.items()}
        key = task.name, anatomy.redrawn.patient
        bias = {name: one.rms_bias(region) for name, one in split.items()}
        spread = {name: one.rms_deviation(region) for name, one in split.items()}
        rows.append(Row(*key, "bias", "", "patient", task.units, bias))
        rows.append(Row(*key, "spread", "", "patient", task.units, spread))
    return rows


def in_plane(task: Task, spacing_mm: Sequence[float]) -> Spacing:
    """Distance between rows and columns of the slices of a volume [mm]."""
    _, row, column = AXES[task.plane]
    return spacing_mm[row], spacing_mm[column]


def scan_slices(
    task: Task,
    degradation: Degradation,
    anatomy: Anatomy,
    truth: Image,
    rows: NDArray[np.integer],
    seed: int,
) -> tuple[Image, Image]:
    """Scan some slices of a patient; axial ones are scanned independently, so only those are.

    Args:
        task: The task.
        degradation: Its degradation.
        anatomy: The patient, for the geometry.
        truth: What is scanned, (Z, Y, X) [units].
        rows: Positions of the slices along the cut axis, (S,).
        seed: Seed of the noise.

    Returns:
        LQ and HQ, (S, H, W) each, clipped to the value range as the network sees them.
    """
    volume = anatomy.redrawn.volume
    if task.plane == "axial":
        truth = truth[rows]
    with torch.inference_mode():
        lq, hq = degradation.acquire(torch.from_numpy(truth), volume.spacing_mm, seed)
    pairs = cut_slices(lq.numpy(), hq.numpy(), volume.affine, task.plane)
    if task.plane != "axial":
        pairs = pairs.take(rows)
    return np.clip(pairs.lq, *task.value_range), np.clip(pairs.hq, *task.value_range)
