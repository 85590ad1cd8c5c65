"""Volumes on disk, so that memory does not grow with the number of slices."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amir_lightning.degradation import Degradation
from amir_lightning.io.orientation import Where
from amir_lightning.io.scan import Scan
from amir_lightning.system.atomic import reserve
from amir_lightning.tasks import Task

_BLOCK = 8  # slices per block; the projector of CT is built once for each block
_SPREAD = 0x9E3779B9  # tells the seeds of blocks apart


class ScratchVolume:
    """A canonical (Z, Y, X) float32 array in a file; slices are copied in and out.

    The file is mapped anew for each access, so that its pages leave the memory afterwards. Several
    processes may write different slices. The disk space is claimed in advance, because writing
    through a map to a full disk kills the process.

    Args:
        path: The file; created if it does not exist.
        shape: (Z, Y, X).

    Raises:
        InputError: The disk has not enough space left.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = path, shape
        if not path.exists():
            path.touch()
            num_bytes = 4 * int(np.prod(shape, dtype=np.int64))
            reserve(path, num_bytes, "choose another place with output=<folder>")
            os.truncate(path, num_bytes)  # file systems that cannot claim space

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
    """Simulate LQ: axial volumes in blocks of slices with independent noise, others as a whole.

    Args:
        hq: The scan.
        lq: Takes the result.
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
