"""Slices of a scratch volume as a dataset, and the module that restores them."""

from collections.abc import Callable
from typing import NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from amir_lightning.data.pairs import AXES
from amir_lightning.io.orientation import Where
from amir_lightning.restore.scratch import ScratchVolume
from amir_lightning.restore.spread import Spread
from amir_lightning.restore.tiling import Tiling
from amir_lightning.system.allocator import return_memory
from amir_lightning.tasks import Task

# Share of the value range: noise in the air of a CT lies slightly below it, padding far below.
_NOISE = 0.1


class SliceBatch(NamedTuple):
    """Slices in physical units, (B, 1, H, W), and their positions along the cut axis, (B,)."""

    lq: Tensor
    position: Tensor


class Slices(Dataset[SliceBatch]):
    """All slices of a volume along the plane of a task.

    Args:
        volume: Scratch volume in physical units.
        task: The task; its plane is used.
    """

    def __init__(self, volume: ScratchVolume, task: Task) -> None:
        self.volume = volume
        self.axes = AXES[task.plane]

    def __len__(self) -> int:
        return self.volume.shape[self.axes[0]]

    def __getitem__(self, index: int) -> SliceBatch:
        image = to_slice(self.volume[self.where(index)], self.axes)
        return SliceBatch(torch.from_numpy(image)[None], torch.tensor(index))

    def where(self, index: int) -> Where:
        """Index of a slice in the volume."""
        place: list[slice | int] = [slice(None)] * 3
        place[self.axes[0]] = index
        return tuple(place)


def to_slice(image: np.ndarray, axes: tuple[int, int, int]) -> np.ndarray:
    """Turn an array into rows and columns of the task's plane, or back: it is its own inverse."""
    return np.ascontiguousarray(image if axes[1] < axes[2] else image.T)


class SliceRestorer(pl.LightningModule):
    """Restores slices and writes each to its place, so that no predictions pile up in memory.

    Restored values are clipped to the task's range, as they are for scoring. Pixels of the input
    outside that range, such as padding or metal, are copied.

    Args:
        network: The network.
        task: The task.
        slices: Source of the slices.
        output: Volume that takes the restored slices.
        tiling: Tiles; None restores whole slices.
        spread: Other ways to restore the slices, or None.
        uncertainty: Volume that takes the standard deviation over all ways, or None.
    """

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        slices: Slices,
        output: ScratchVolume,
        tiling: Tiling | None,
        spread: Spread | None = None,
        uncertainty: ScratchVolume | None = None,
    ) -> None:
        super().__init__()
        self.network, self.task, self.slices = network, task, slices
        self.output, self.tiling = output, tiling
        self.spread, self.uncertainty = spread, uncertainty
        # Registered, so that they move to the device of this module.
        self.others = nn.ModuleList([one.network for one in (spread.weights if spread else ())])

    def on_predict_start(self) -> None:
        """Tune the C allocator to the size of the slices."""
        return_memory(self.slices[0].lq.numel())

    def predict_step(self, batch: SliceBatch, batch_idx: int) -> None:
        """Restore a batch of slices and write them."""
        low, high = self.task.value_range
        padding = batch.lq < low - _NOISE * (high - low)
        outside = padding | (batch.lq > high)
        restored = self._physical(self.network, batch.lq)
        self._write(torch.where(outside, batch.lq, restored), batch, self.output)
        if self.spread is not None and self.uncertainty is not None:
            others = [self._physical(other, batch.lq) for other in self.spread.others]
            deviation = torch.stack([restored, *others]).std(0)
            self._write(deviation.masked_fill(outside, 0), batch, self.uncertainty)

    def _physical(self, network: Callable[[Tensor], Tensor], lq: Tensor) -> Tensor:
        normalised = self.task.normalise(lq)
        restored = self.tiling(network, normalised) if self.tiling else network(normalised)
        return self.task.denormalise(restored.float()).clip(*self.task.value_range)

    def _write(self, images: Tensor, batch: SliceBatch, volume: ScratchVolume) -> None:
        for image, index in zip(images.cpu().numpy(), batch.position.tolist(), strict=True):
            volume[self.slices.where(index)] = to_slice(image[0], self.slices.axes)
