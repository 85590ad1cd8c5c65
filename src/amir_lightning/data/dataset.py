"""PyTorch datasets over prepared slices: whole slices and random patches."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from amir_lightning.data.sampler import POSITIVE_CROP, Draw, brightness_factor, crop_origin
from amir_lightning.data.splits import Split
from amir_lightning.data.store import SliceRef, Store
from amir_lightning.errors import InputError
from amir_lightning.tasks import ARBITRARY_UNITS, Task


class Sample(NamedTuple):
    """One LQ/HQ pair, normalised to [0, 1], and the slice it comes from."""

    lq: Tensor  # (1, H, W)
    hq: Tensor  # (1, H, W)
    task: int  # index into the tasks that are trained
    patient: str  # hashed patient id
    slice_index: int
    counter: int  # number of the draw, which seeds its random numbers
    positive: Tensor | None = None  # (1, H, W), a second crop of the LQ slice


class Batch(NamedTuple):
    """Samples of equal size, from one or several tasks."""

    lq: Tensor  # (B, 1, H, W)
    hq: Tensor  # (B, 1, H, W)
    task: Tensor  # (B,) index into the module's tasks
    patient: list[str]
    slice_index: list[int]
    counters: list[int]  # number of each draw, which seeds its random numbers
    positive: Tensor | None = None  # (B, 1, H, W), second crops of the LQ slices


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples into a batch."""
    lq, hq, task, patient, slice_index, counter, positive = zip(*samples, strict=True)
    return Batch(
        lq=torch.stack(lq),
        hq=torch.stack(hq),
        task=torch.tensor(task),
        patient=list(patient),
        slice_index=list(slice_index),
        counters=list(counter),
        positive=None if positive[0] is None else torch.stack(positive),
    )


class PairedSlices(Dataset[Sample]):
    """The slices of one split of one prepared file.

    Args:
        path: Prepared file.
        task: The task of the file.
        task_index: Index of the task among the tasks that are trained.
        split: "train", "val" or "test".
        limit: Number of slices to use, evenly spread; None uses all.

    Raises:
        InputError: The file cannot be read, or does not fit the task.
    """

    def __init__(
        self, path: Path, task: Task, task_index: int, split: Split, limit: int | None = None
    ) -> None:
        self.store = Store(path, task.name)
        for key in ("units", "plane", "value_range"):
            stored, wanted = getattr(self.store, key), getattr(task, key)
            if stored != wanted:
                raise InputError(
                    f"{path} was prepared with {key} {stored}, but task {task.name} has {wanted}; "
                    f"prepare it again: python -m amir_lightning.prepare task={task.name} "
                    "raw_dir=<folder>"
                )
        self.task = task
        self.task_index = task_index
        self.refs: list[SliceRef] = self.store.slices(split)
        if limit is not None and limit < len(self.refs):
            rows = np.linspace(0, len(self.refs) - 1, limit).round().astype(int)
            self.refs = [self.refs[row] for row in rows]

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, index: int) -> Sample:
        """Read a whole slice."""
        ref = self.refs[index]
        lq, hq = self.store.read(ref)
        return self._sample(ref, lq, hq, counter=index)

    def patch(
        self,
        index: int,
        seed: int,
        counter: int,
        size: int,
        positives: bool = False,
        brightness: Sequence[float] | None = None,
    ) -> Sample:
        """Read a random (size, size) patch, which depends on `seed` and `counter` only.

        Args:
            index: Index of the slice.
            seed: Seed of the run.
            counter: Number of the draw.
            size: Side of the patch [pixels].
            positives: Add a second patch of the LQ slice.
            brightness: Limits of a random factor for the values of a task in arbitrary units.

        Raises:
            InputError: The slice is smaller than the patch.
        """
        ref = self.refs[index]
        factor = np.float32(1)
        if brightness is not None and self.task.units == ARBITRARY_UNITS:
            factor = np.float32(brightness_factor(seed, counter, brightness))
        top, left = crop_origin(seed, counter, *self.store.shape(ref), size)
        lq, hq = self.store.crop(ref, top, left, size)
        sample = self._sample(ref, lq * factor, hq * factor, counter)
        if not positives:
            return sample
        top, left = crop_origin(seed, counter, *self.store.shape(ref), size, POSITIVE_CROP)
        lq, _ = self.store.crop(ref, top, left, size)
        return sample._replace(positive=torch.from_numpy(self.task.normalise(lq * factor))[None])

    def _sample(self, ref: SliceRef, lq: np.ndarray, hq: np.ndarray, counter: int) -> Sample:
        normalise = self.task.normalise
        return Sample(
            lq=torch.from_numpy(normalise(lq))[None],
            hq=torch.from_numpy(normalise(hq))[None],
            task=self.task_index,
            patient=ref.patient,
            slice_index=ref.slice_index,
            counter=counter,
        )


class PatchMixture(Dataset[Sample]):
    """Random patches from the slices of several tasks, indexed by the sampler's draws.

    Args:
        parts: Slices of each task.
        patch_size: Side of a patch [pixels].
        seed: Seed of the run.
        positives: Add a second patch of each LQ slice.
        brightness: Limits of a random factor for the values of tasks in arbitrary units.
    """

    def __init__(
        self,
        parts: Sequence[PairedSlices],
        patch_size: int,
        seed: int,
        positives: bool = False,
        brightness: Sequence[float] | None = None,
    ) -> None:
        self.parts = parts
        self.patch_size = patch_size
        self.seed = seed
        self.positives = positives
        self.brightness = brightness
        self.ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, draw: Draw) -> Sample:
        part = int(np.searchsorted(self.ends, draw.index, side="right"))
        start = int(self.ends[part]) - len(self.parts[part])
        return self.parts[part].patch(
            draw.index - start,
            self.seed,
            draw.counter,
            self.patch_size,
            self.positives,
            self.brightness,
        )
