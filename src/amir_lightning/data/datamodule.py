"""Lightning glue: one DataModule per modality, and their combination.

Training draws come from one counter-based sampler that starts at the trainer's global step, so a
resumed run continues in mid-epoch where it stopped. Validation and test slices are dealt out to the
processes in turn, without repetition, so that no slice is scored twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
from torch.utils.data import DataLoader, Subset

from amir_lightning.data.dataset import Batch, PairedSlices, PatchMixture, Sample, collate
from amir_lightning.data.sampler import MultiTaskSampler
from amir_lightning.data.splits import Split
from amir_lightning.errors import InputError
from amir_lightning.tasks import Task

Loader = DataLoader[Sample]


@dataclass(frozen=True)
class LoadingOptions:
    """How slices become batches.

    Attributes:
        patch_size: Side of a training patch [pixels].
        batch_size: Patches per step and process.
        num_workers: Loader processes; 0 reads in the training process.
        validation_slices: Slices per task in a validation; None for all.
        policy: Sampling policy over the tasks: proportional, balanced or temperature.
        temperature: Of the temperature policy.
        seed: Seed of the data order and the crops.
    """

    patch_size: int
    batch_size: int
    num_workers: int = 0
    validation_slices: int | None = None
    policy: str = "proportional"
    temperature: float = 1.0
    seed: int = 0


class MultiTaskDataModule(pl.LightningDataModule):
    """The prepared files of a combination of tasks as one training stream.

    Args:
        stores: Prepared file of each task, in the order of the combination.
        options: How slices become batches.
        test_split: Split that `test_dataloader` reads: "test", or "val" or "train".
    """

    def __init__(
        self, stores: Mapping[Task, Path], options: LoadingOptions, test_split: Split = "test"
    ) -> None:
        super().__init__()
        self.stores = dict(stores)
        self.options = options
        self.test_split = test_split

    def train_dataloader(self) -> Loader:
        """Batches of random patches, endless; all tasks in one stream."""
        options = self.options
        parts = self._slices("train")
        step = (
            self.trainer.global_step * self.trainer.accumulate_grad_batches if self.trainer else 0
        )
        sampler = MultiTaskSampler(
            {part.task.name: len(part) for part in parts},
            policy=options.policy,
            temperature=options.temperature,
            seed=options.seed,
            rank=self.trainer.global_rank if self.trainer else 0,
            world_size=self.trainer.world_size if self.trainer else 1,
            start=step * options.batch_size,
        )
        return DataLoader(
            PatchMixture(parts, options.patch_size, options.seed),
            batch_size=options.batch_size,
            sampler=sampler,
            num_workers=options.num_workers,
            persistent_workers=options.num_workers > 0,
            pin_memory=self._on_gpu(),
            collate_fn=collate,
        )

    def val_dataloader(self) -> list[Loader]:
        """Whole slices, one loader per task."""
        return self._evaluation_loaders("val", self.options.validation_slices)

    def test_dataloader(self) -> list[Loader]:
        """Whole slices of the test split, one loader per task."""
        return self._evaluation_loaders(self.test_split, None)

    def _slices(self, split: Split, limit: int | None = None) -> Sequence[PairedSlices]:
        parts = [
            PairedSlices(path, task, index, split, limit)
            for index, (task, path) in enumerate(self.stores.items())
        ]
        for part, path in zip(parts, self.stores.values(), strict=True):
            if not len(part):
                raise InputError(
                    f"{path} holds no {split} slices; prepare it with another split: python -m "
                    f"amir_lightning.prepare task={part.task.name} raw_dir=<folder>"
                )
        return parts

    def _evaluation_loaders(self, split: Split, limit: int | None) -> list[Loader]:
        rank = self.trainer.global_rank if self.trainer else 0
        world_size = self.trainer.world_size if self.trainer else 1
        return [
            DataLoader(
                Subset(part, range(rank, len(part), world_size)),
                batch_size=1,  # slices of different patients may differ in size
                num_workers=self.options.num_workers,
                pin_memory=self._on_gpu(),
                collate_fn=collate,
            )
            for part in self._slices(split, limit)
        ]

    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"


class TaskDataModule(MultiTaskDataModule):
    """The prepared file of a single task, usable alone.

    Args:
        task: The task.
        path: Its prepared file.
        options: How slices become batches.
        test_split: Split that `test_dataloader` reads.
    """

    def __init__(
        self, task: Task, path: Path, options: LoadingOptions, test_split: Split = "test"
    ) -> None:
        super().__init__({task: path}, options, test_split)


__all__ = ["Batch", "LoadingOptions", "MultiTaskDataModule", "TaskDataModule"]
