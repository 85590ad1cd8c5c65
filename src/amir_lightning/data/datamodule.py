"""Lightning data modules: one per task, and one that combines several tasks.

A counter-based sampler draws the training patches. It starts at the trainer's global step, so a
resumed run continues in the middle of an epoch. Validation and test slices are distributed over the
ranks, and each counts once in the scores.
"""

import math
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import lightning.pytorch as pl
from torch.utils.data import DataLoader, Subset

from amir_lightning.data.dataset import PairedSlices, PatchMixture, Sample, collate
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
        num_workers: Loader processes; 0 loads in the training process.
        validation_slices: Slices per task in a validation; None uses all.
        policy: Sampling policy over the tasks: proportional, balanced or temperature.
        temperature: Temperature of the temperature policy.
        seed: Seed of the data order and of the crops.
        positives: Add a second crop of the slice to each training sample.
        brightness: Limits of a random factor for the training patches of tasks in arbitrary units;
            None leaves them as they are.

    Raises:
        InputError: A number is out of its range.
    """

    patch_size: int
    batch_size: int
    num_workers: int = 0
    validation_slices: int | None = None
    policy: str = "proportional"
    temperature: float = 1.0
    seed: int = 0
    positives: bool = False
    brightness: list[float] | None = None

    def __post_init__(self) -> None:
        for option, value, least in (
            ("data.patch_size", self.patch_size, 9),
            ("data.batch_size", self.batch_size, 1),
            ("data.num_workers", self.num_workers, 0),
            ("validation.slices", self.validation_slices, 1),
        ):
            if value is not None and value < least:
                raise InputError(
                    f"{option} is {value}, expected at least {least}; type {option}={least}"
                )
        if self.brightness is not None and not _are_factors(self.brightness):
            raise InputError(
                f"data.brightness is {self.brightness}, expected two increasing factors above 0; "
                "type data.brightness=[0.5,1.2], or null to leave the patches as they are"
            )


def _are_factors(limits: object) -> bool:
    """Whether a typed value is two increasing numbers above 0; its YAML is null and has no type."""
    if not isinstance(limits, list) or len(limits) != 2:
        return False
    numbers = [one for one in limits if isinstance(one, int | float) and math.isfinite(one)]
    return len(numbers) == 2 and 0 < numbers[0] <= numbers[1]


class MultiTaskDataModule(pl.LightningDataModule):
    """Several tasks as one training stream.

    Args:
        modules: One data module per task; their order gives the task indices.
        options: How slices become batches.
    """

    def __init__(self, modules: Sequence["TaskDataModule"], options: LoadingOptions) -> None:
        super().__init__()
        self.modules = modules
        self.options = options

    def train_dataloader(self) -> Loader:
        """Endless batches of random patches from all tasks."""
        options, trainer = self.options, self.trainer
        parts = [module.slices("train", None, i) for i, module in enumerate(self.modules)]
        step = trainer.global_step * trainer.accumulate_grad_batches if trainer else 0
        sampler = MultiTaskSampler(
            {part.task.name: len(part) for part in parts},
            policy=options.policy,
            temperature=options.temperature,
            seed=options.seed,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            start=step * options.batch_size,
        )
        return DataLoader(
            PatchMixture(
                parts, options.patch_size, options.seed, options.positives, options.brightness
            ),
            batch_size=options.batch_size,
            sampler=sampler,
            num_workers=options.num_workers,
            persistent_workers=options.num_workers > 0,
            pin_memory=self._on_gpu(),
            collate_fn=collate,
            worker_init_fn=_leave_signals_to_the_run,
        )

    def val_dataloader(self) -> list[Loader]:
        """Whole slices, one loader per task."""
        limit = self.options.validation_slices
        return [self._whole(m.slices("val", limit, i)) for i, m in enumerate(self.modules)]

    def test_dataloader(self) -> list[Loader]:
        """Whole slices of the test split, one loader per task."""
        return [self._whole(m.slices(m.test_split, None, i)) for i, m in enumerate(self.modules)]

    def _whole(self, part: PairedSlices) -> Loader:
        rank = self.trainer.global_rank if self.trainer else 0
        world_size = self.trainer.world_size if self.trainer else 1
        return DataLoader(
            # Every rank needs a slice, or gathering the scores would hang. A slice that two ranks
            # score counts once.
            Subset(part, range(rank, len(part), world_size) or [rank % len(part)]),
            batch_size=1,  # slices of different patients may differ in size
            num_workers=self.options.num_workers,
            pin_memory=self._on_gpu(),
            collate_fn=collate,
            worker_init_fn=_leave_signals_to_the_run,
        )

    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"


def _leave_signals_to_the_run(_worker: int) -> None:
    """Keep a loader process alive until the training process has finished its step.

    A scheduler sends its signal to the whole process group, loader processes included.
    """
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)

    def later(_number: int, _frame: FrameType | None) -> None:
        signal.alarm(10)  # ends this process in 10 s, which is enough for the step

    signal.signal(signal.SIGTERM, later)


class TaskDataModule(MultiTaskDataModule):
    """The prepared file of one task, used alone or inside a `MultiTaskDataModule`.

    Args:
        task: The task.
        path: Prepared file of the task.
        options: How slices become batches.
        test_split: Split that `test_dataloader` reads.
    """

    def __init__(
        self, task: Task, path: Path, options: LoadingOptions, test_split: Split = "test"
    ) -> None:
        super().__init__([self], options)
        self.task = task
        self.path = path
        self.test_split = test_split

    def slices(self, split: Split, limit: int | None, task_index: int) -> PairedSlices:
        """Slices of one split; a `limit` keeps that many of them, evenly spread.

        Raises:
            InputError: The split is empty.
        """
        part = PairedSlices(self.path, self.task, task_index, split, limit)
        if not len(part):
            raise InputError(
                f"{self.path} holds no {split} slices; prepare it with another split (python -m "
                f"amir_lightning.prepare task={self.task.name} raw_dir=<folder>), or with phantoms "
                f"type data.phantoms.{split}=1"
            )
        return part
