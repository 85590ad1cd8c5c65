"""Volumes on disk while they are restored, so that memory does not grow with their slices."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amir_lightning.degradation import Degradation
from amir_lightning.io.orientation import Where
from amir_lightning.io.scan import Scan
from amir_lightning.system.atomic import reserve
from amir_lightning.tasks import Task

_BLOCK = 8  # slices; the projector of CT is built once for all of a block
_SPREAD = 0x9E3779B9  # makes the seeds of blocks unlike


class ScratchVolume:
    """A canonical (Z, Y, X) float32 array in a file, from and to which slices are copied.

    The file is mapped for each access alone: pages that were touched leave the memory with the map,
    and several processes may write different slices. Its space on the disk is claimed at once: on a
    full disk a mapped write ends the process.

    Args:
        path: The file; made if it does not exist.
        shape: (Z, Y, X).

    Raises:
        InputError: The disk has less space left.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = path, shape
        if not path.exists():
            path.touch()
            num_bytes = 4 * int(np.prod(shape, dtype=np.int64))
            reserve(path, num_bytes, "choose another place with output=<folder>")
            os.truncate(path, num_bytes)  # where space cannot be claimed

    def __getitem__(self, where: Where) -> NDArray[np.float32]:
        return np.array(self._map("r")[where])

    def __setitem__(self, where: Where, image: NDArray[np.floating]) -> None:
        self._map("r+")[where] = image

    def _map(self, mode: str) -> NDArray[np.float32]:
        return np.memmap(self.path, np.float32, mode, shape=self.shape)  # type: ignore


def stage(scan: Scan, volume: ScratchVolume, intensity_scale: float) -> None:
    """Copy a scan slice by slice.

    Raises:
        InputError: The scan is damaged.
    """
    for where, image in scan.slices():
        volume[where] = image * np.float32(intensity_scale)


def degrade(
    hq: ScratchVolume,
    lq: ScratchVolume,
    task: Task,
    degradation: Degradation,
    spacing_mm: tuple[float, float, float],
    seed: int,
) -> None:
    """Simulate LQ: axial slices block by block, each with noise of its own; else the whole volume.

    Args:
        hq: The scan.
        lq: Filled.
        task: The task.
        degradation: Its physics.
        spacing_mm: Voxel size along (z, y, x) [mm].
        seed: Seed of the noise.
    """
    import torch

    floor = np.float32(task.value_range[0])
    step = _BLOCK if task.plane == "axial" else hq.shape[0]
    for first in range(0, hq.shape[0], step):
        block = (slice(first, first + step),)
        image = torch.from_numpy(np.maximum(hq[block], floor))
        lq[block] = degradation.degrade(image, spacing_mm, seed + first * _SPREAD).numpy()
