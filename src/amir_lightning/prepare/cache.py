"""Second pass: simulate LQ and cache each patient's slice pairs in one file per patient.

The files are kept until all patients are done, so that a stopped preparation can continue.
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch

from amir_lightning.data.layouts import RawPatient
from amir_lightning.data.pairs import (
    SlicePairs,
    fit_to_grid,
    informative_rows,
    make_pairs,
    patient_seed,
    with_lq,
)
from amir_lightning.data.store_writer import patient_id
from amir_lightning.degradation import Degradation
from amir_lightning.prepare.inspection import Inspection
from amir_lightning.prepare.options import Options
from amir_lightning.system.atomic import complete_file, reserve
from amir_lightning.tasks import Task

_VERSION = 2  # raise it when the content of a cached file changes, so that old ones are not used


def cache_path(folder: Path, inspection: Inspection, task: Task, options: Options) -> Path:
    """Path of a patient's cached pairs, named by a hash of everything that decides their content.

    Args:
        folder: Cache folder.
        inspection: Result of the first pass.
        task: The task.
        options: The options.
    """
    decisive = {
        "version": _VERSION,
        "key": inspection.key,
        "sources": inspection.sources,
        "degradation": dict(task.degradation),
        "plane": task.plane,
        "measured": task.measured,
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


def cache_pairs(
    path: Path,
    patient: RawPatient,
    source: str,
    task: Task,
    degradation: Degradation,
    options: Options,
    threads: int,
) -> None:
    """Read a patient, simulate LQ unless it was measured, and write the pairs.

    Args:
        path: Target; it appears when it is complete.
        patient: The patient.
        source: `Inspection.source` of the patient: its files are not hashed a second time.
        task: The task.
        degradation: Simulates LQ from HQ.
        options: The options.
        threads: Number of CPU threads for torch.

    Raises:
        InputError: The simulation refuses the scan, or the disk is full.
    """
    torch.set_num_threads(threads)
    seed = patient_seed(options.seed, patient_id(patient.key))
    with _warnings_off():
        scan, drawn = with_lq(patient.read(), task, degradation, seed)
    scan = fit_to_grid(scan, task, options.grid, options.intensity_scale)
    pairs = make_pairs(scan, task, degradation, seed, options.central_slices)
    pairs = pairs.take(informative_rows(pairs.hq, task))
    with complete_file(path) as partial, h5py.File(partial, "w") as file:
        reserve(partial, pairs.lq.nbytes + pairs.hq.nbytes + 65536)
        for name in ("lq", "hq", "slice_index", "affine"):
            file[name] = getattr(pairs, name)
        file.attrs["spacing_mm"] = pairs.spacing_mm
        file.attrs["source"] = source
        file.attrs["parameters"] = json.dumps(drawn)


@contextlib.contextmanager
def _warnings_off() -> Iterator[None]:
    """Suppress warnings about the scan, which the first pass has logged already."""
    logger = logging.getLogger("amir_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


class Cached(NamedTuple):
    """A finished patient.

    Attributes:
        pairs: The slice pairs.
        source: `Inspection.source` that they were made from.
        parameters: Parameters that the degradation has drawn for the patient.
    """

    pairs: SlicePairs
    source: str
    parameters: dict[str, float]


def read_cached_pairs(path: Path) -> Cached:
    """Read what `cache_pairs` has written."""
    with h5py.File(path, "r") as file:
        slices, row, column = (float(value) for value in file.attrs["spacing_mm"])
        pairs = SlicePairs(
            lq=file["lq"][:],
            hq=file["hq"][:],
            slice_index=np.asarray(file["slice_index"][:]),
            affine=file["affine"][:],
            spacing_mm=(slices, row, column),
        )
        parameters = json.loads(file.attrs["parameters"])
        return Cached(pairs, str(file.attrs["source"]), parameters)
