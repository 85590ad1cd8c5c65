"""Prepared files of embedded patients: phantoms scanned by the task's degradation, cached."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from amir_lightning.data.pairs import AXES, cut_slices, informative_rows
from amir_lightning.data.splits import Split
from amir_lightning.data.store_writer import PreparedPatient, Truth, patient_id, write_store
from amir_lightning.degradation import drawn_for
from amir_lightning.degradation.parameters import value_of
from amir_lightning.errors import InputError
from amir_lightning.io.volume import Volume
from amir_lightning.system.locks import locked
from amir_lightning.system.own_code import own_code
from amir_lightning.system.wording import counted
from amir_lightning.tasks import Task

_log = logging.getLogger(__name__)
Pixel = TypeVar("Pixel", np.float32, np.uint8)
_VERSION = 3  # raise it when a phantom or a degradation gives other images for the same options


@dataclass(frozen=True)
class Cohort:
    """Numbers of embedded patients.

    Attributes:
        train: Number of training patients.
        val: Number of validation patients.
        test: Number of test patients.
        seed: Seed of the cohort; patient i of a task is the same for all numbers of patients.
    """

    train: int
    val: int
    test: int
    seed: int = 0


class Redrawn(NamedTuple):
    """An embedded patient before any scan.

    Attributes:
        patient: Id of the patient in the prepared file.
        seed: Seed of the patient, and of the scans in the prepared file.
        volume: The anatomy without noise, with labels.
    """

    patient: str
    seed: int
    volume: Volume


def embedded_store(task: Task, cohort: Cohort, folder: Path) -> Path:
    """Path of the prepared file of a task's embedded patients, which is written on first use.

    Args:
        task: The task; its phantom node is drawn and its degradation node scans it.
        cohort: Numbers of patients.
        folder: Cache folder.
    """
    drawn = recipe(task, cohort)
    path = folder / cache_name(task.name, drawn)
    if not path.exists():
        with locked(path.with_name(f".{path.name}.lock"), f"drawing {path}", wait=True):
            if not path.exists():  # no other process wrote it during the wait
                _draw(path, task, cohort, drawn)
    return path


def redraw(task: Task, cohort: Cohort, split: Split) -> Iterator[Redrawn]:
    """Draw the patients of a split again, to scan them in another way.

    Args:
        task: The task; its phantom node is drawn.
        cohort: Numbers of patients.
        split: Their split.
    """
    for seed, own in _seeds(cohort):
        if own == split:
            volume = _phantom(task, seed).sample(seed)
            yield Redrawn(patient_id(volume.source), seed, volume)


def recipe(task: Task, cohort: Cohort) -> dict[str, object]:
    """Everything that decides the embedded patients of a task, including the user's own code."""
    own = own_code([task.phantom, task.degradation])
    return {
        "version": _VERSION,
        "phantom": dict(task.phantom),
        "degradation": dict(task.degradation),
        "slices": task.phantom_slices,
        "plane": task.plane,
        "stored": [task.units, list(task.value_range)],
        "cohort": vars(cohort),
        **({"own_code": own} if own else {}),
    }


def cache_name(task: str, drawn: Mapping[str, object]) -> str:
    """File name for the embedded patients of a recipe."""
    digest = hashlib.sha256(json.dumps(drawn, sort_keys=True).encode()).hexdigest()[:12]
    return f"{task}-{digest}.h5"


def _draw(path: Path, task: Task, cohort: Cohort, drawn: Mapping[str, object]) -> None:
    patients = counted("embedded patient", _count(cohort))
    _log.info("%s: drawing %s into %s", task.name, patients, path)
    write_store(
        path,
        task,
        _patients(task, cohort),
        degradation=task.degradation,
        source="phantoms",
        drawn=drawn,
        split_kind="patients",
    )


def _count(cohort: Cohort) -> int:
    return cohort.train + cohort.val + cohort.test


def _seeds(cohort: Cohort) -> Iterator[tuple[int, Split]]:
    """Seed and split of each patient."""
    splits: list[Split] = ["train"] * cohort.train
    splits += ["val"] * cohort.val
    splits += ["test"] * cohort.test
    return ((cohort.seed * 10_000 + number, split) for number, split in enumerate(splits))


def _patients(task: Task, cohort: Cohort) -> Iterator[PreparedPatient]:
    from hydra.utils import instantiate

    degradation = instantiate(dict(task.degradation))
    for seed, split in _seeds(cohort):
        volume = _phantom(task, seed).sample(seed)
        truth = torch.from_numpy(volume.array)
        lq, hq = degradation.acquire(truth, volume.spacing_mm, seed)
        pairs = cut_slices(lq.numpy(), hq.numpy(), volume.affine, task.plane)
        rows = informative_rows(pairs.hq, task)
        wanted = task.phantom_slices
        if wanted is not None and wanted < len(rows):
            rows = rows[np.linspace(0, len(rows) - 1, wanted).round().astype(int)]
        pairs = pairs.take(rows)
        yield PreparedPatient(
            patient_key=volume.source,
            lq=pairs.lq,
            hq=pairs.hq,
            slice_index=pairs.slice_index,
            split=[split] * len(rows),
            affine=pairs.affine,
            spacing_mm=pairs.spacing_mm,
            source=volume.source,
            truth=_truth(volume, task, rows),
            parameters=drawn_for(degradation, seed),
        )


def _truth(volume: Volume, task: Task, rows: NDArray[np.integer]) -> Truth:
    """Values without noise and labels, in the slices of the pairs."""

    def slices(array: NDArray[Pixel]) -> NDArray[Pixel]:
        return np.ascontiguousarray(array.transpose(AXES[task.plane])[rows])

    labels = volume.labels
    if labels is not None and not labels.organs.shape == labels.lesions.shape == volume.array.shape:
        raise InputError(
            f"{volume.source} is {volume.array.shape} voxels, its organs {labels.organs.shape} and "
            f"lesions {labels.lesions.shape}; expected the same grid: correct the phantom of task "
            f"{task.name}, or let it return no labels"
        )
    return Truth(slices(volume.array), labels and labels.cut(slices))


def _phantom(task: Task, seed: int) -> Any:
    """Generator of one patient: a parameter that is drawn for each patient becomes a number.

    It draws no more axial slices than the task keeps.
    """
    from hydra.utils import instantiate

    node = {
        name: value_of(instantiate(value), name, seed) if isinstance(value, Mapping) else value
        for name, value in task.phantom.items()
    }
    if task.plane == "axial" and task.phantom_slices is not None:
        node["num_slices"] = min(task.phantom_slices, node["num_slices"])
    return instantiate(node)
