"""The second pass: each patient's slice pairs in a file of their own, kept until all are done."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import torch

from amir_lightning.data.layouts import RawPatient
from amir_lightning.data.pairs import SlicePairs, fit, informative_rows, make_pairs, patient_seed
from amir_lightning.data.store_writer import patient_id
from amir_lightning.degradation import Degradation
from amir_lightning.prepare.inspection import Looked
from amir_lightning.prepare.options import Options
from amir_lightning.system.atomic import complete_file, reserve
from amir_lightning.tasks import Task

_VERSION = 1  # of what a part holds; another number makes old parts unusable


def part_path(folder: Path, looked: Looked, task: Task, options: Options) -> Path:
    """File of a patient's pairs, named by everything that decides them.

    Args:
        folder: Folder of the parts.
        looked: What the first pass found.
        task: The task.
        options: The options.
    """
    decisive = {
        "version": _VERSION,
        "key": looked.key,
        "sources": looked.sources,
        "degradation": dict(task.degradation),
        "plane": task.plane,
        "value_range": task.value_range,
        "display_window": task.display_window,
        "score_range": task.score_range,
        "grid": options.grid,
        "central_slices": options.central_slices,
        "intensity_scale": options.intensity_scale,
        "seed": options.seed,
        "salt": options.salt,
    }
    text = json.dumps(decisive, sort_keys=True, default=str)
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.h5"


def make_part(
    path: Path,
    patient: RawPatient,
    task: Task,
    degradation: Degradation,
    options: Options,
    threads: int,
) -> None:
    """Read a patient, simulate LQ where it is not measured, and write the part.

    Args:
        path: The part; it appears when it is complete.
        patient: The patient.
        task: The task.
        degradation: Makes LQ from HQ.
        options: The options.
        threads: Processor threads to use.

    Raises:
        InputError: The simulation refuses the scan, or the disk is full.
    """
    torch.set_num_threads(threads)
    with _told_already():
        scan = fit(patient.read(), task, options.grid, options.intensity_scale)
    seed = patient_seed(options.seed, patient_id(patient.key))
    pairs = make_pairs(scan, task, degradation, seed, options.central_slices)
    pairs = pairs.take(informative_rows(pairs.hq, task))
    with complete_file(path) as partial, h5py.File(partial, "w") as file:
        reserve(partial, pairs.lq.nbytes + pairs.hq.nbytes + 65536)
        for name in ("lq", "hq", "slice_index", "affine"):
            file[name] = getattr(pairs, name)
        file.attrs["spacing_mm"] = pairs.spacing_mm
        file.attrs["source"] = scan.hq.source


@contextlib.contextmanager
def _told_already() -> Iterator[None]:
    """Without the warnings about a scan: `look` has read it before."""
    logger = logging.getLogger("amir_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def read_part(path: Path) -> tuple[SlicePairs, str]:
    """Slice pairs of a finished part, and where they came from."""
    with h5py.File(path, "r") as file:
        slices, row, column = (float(value) for value in file.attrs["spacing_mm"])
        pairs = SlicePairs(
            lq=file["lq"][:],
            hq=file["hq"][:],
            slice_index=np.asarray(file["slice_index"][:]),
            affine=file["affine"][:],
            spacing_mm=(slices, row, column),
        )
        return pairs, str(file.attrs["source"])
