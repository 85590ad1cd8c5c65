"""Milliseconds to read random patches: from the prepared store, and as the released loader does."""

import pickle
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from torch import Tensor

from amir_lightning.data.dataset import PairedSlices, PatchMixture, collate
from amir_lightning.data.sampler import MultiTaskSampler
from amir_lightning.tasks import Task


class Reading(NamedTuple):
    """Time to read, normalise and crop one pair of patches in one process.

    Attributes:
        store_ms: From the prepared store.
        pickles_ms: From one pickled file for each slice.
        slice_size: Rows and columns of the slices.
    """

    store_ms: float
    pickles_ms: float
    slice_size: tuple[int, int]


def patch_times(path: Path, task: Task, patch_size: int, patches: int, rounds: int) -> Reading:
    """Measure both ways of reading random patches in turn; medians over all patches.

    All files are in the page cache, because they were just read or written.

    Args:
        path: Prepared store.
        task: Its task.
        patch_size: Side of a patch.
        patches: Patches per way and round.
        rounds: Number of rounds.
    """
    part = PairedSlices(path, task, 0, "train")
    mixture = PatchMixture([part], patch_size, seed=0)
    draws = iter(MultiTaskSampler({task.name: len(part)}))
    from_store, from_pickles = [], []
    with TemporaryDirectory() as folder:
        files = _pickle_slices(part, Path(folder))
        for _ in range(rounds):
            from_store += _times(lambda: mixture[next(draws)], patches)
            from_pickles += _times(lambda: _unpickle_patch(files, task, patch_size), patches)
    size = part.store.shape(part.refs[0])
    return Reading(1e3 * median(from_store), 1e3 * median(from_pickles), size)


def batch_time(
    stores: Sequence[tuple[Task, Path]], patch_size: int, batch_size: int, batches: int
) -> float:
    """Median seconds to draw, read and stack one batch of several tasks."""
    parts = [PairedSlices(path, task, i, "train") for i, (task, path) in enumerate(stores)]
    mixture = PatchMixture(parts, patch_size, seed=0)
    draws = iter(MultiTaskSampler([len(part) for part in parts], policy="balanced"))
    read = lambda: collate([mixture[next(draws)] for _ in range(batch_size)])  # noqa: E731
    return median(_times(read, batches))


def _times(read: Callable[[], object], count: int) -> list[float]:
    read()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        read()
        times.append(time.perf_counter() - start)
    return times


def _pickle_slices(part: PairedSlices, folder: Path) -> list[tuple[Path, Path]]:
    """Pickle each slice as a (1, H, W) tensor in physical units, LQ and HQ in separate files."""
    files = []
    for number, ref in enumerate(part.refs):
        pair = (folder / f"{number}-lq.bin", folder / f"{number}-hq.bin")
        for path, pixels in zip(pair, part.store.read(ref), strict=True):
            path.write_bytes(pickle.dumps(torch.from_numpy(pixels)[None]))
        files.append(pair)
    return files


def _unpickle_patch(
    files: Sequence[tuple[Path, Path]], task: Task, size: int
) -> tuple[Tensor, Tensor]:
    """Read a patch as the released format allows: load and normalise whole slices, then crop."""
    pair = [pickle.loads(path.read_bytes()) for path in random.choice(files)]
    lq, hq = (task.normalise(pixels) for pixels in pair)
    top, left = (random.randint(0, side - size) for side in lq.shape[-2:])
    window = (..., slice(top, top + size), slice(left, left + size))
    return lq[window], hq[window]
