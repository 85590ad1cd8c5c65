"""A finished run for figures: its tasks, data, network and files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import DictConfig

from amir_lightning.data.datamodule import MultiTaskDataModule
from amir_lightning.data.dataset import PairedSlices
from amir_lightning.data.splits import Split
from amir_lightning.errors import InputError
from amir_lightning.modules import RestorationModule
from amir_lightning.networks import Report
from amir_lightning.runs.data import locate_data, same_data
from amir_lightning.runs.folder import RunFolder, find_run
from amir_lightning.runs.scores import Patients, read_patients
from amir_lightning.runs.task_data import TaskData
from amir_lightning.tasks import Task, active_tasks
from amir_lightning.train.build import build_data, build_module
from amir_lightning.weights.checkpoint import load_checkpoint


class Restored(NamedTuple):
    """One slice, restored.

    Attributes:
        task: Its task.
        patient: Hashed patient id.
        slice_index: Position along the cut axis of the scan.
        lq: Low-quality slice, (H, W), physical units.
        hq: High-quality slice, (H, W), physical units.
        image: Restored slice, (H, W), physical units.
        report: Report of the network, for a batch of one.
    """

    task: Task
    patient: str
    slice_index: int
    lq: torch.Tensor
    hq: torch.Tensor
    image: torch.Tensor
    report: Report


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run.

    Attributes:
        files: Its run folder.
        cfg: Its configuration, with the paths of this command.
        checkpoint: "best" or "last".
        split: Split whose slices are shown.
    """

    files: RunFolder
    cfg: DictConfig
    checkpoint: str
    split: Split

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.files.name

    @property
    def network_name(self) -> str:
        """Name of the network, as typed."""
        return str(self.cfg.network_name)

    @property
    def drawn_from(self) -> dict[str, str]:
        """Columns that say where numbers come from: the run, its checkpoint and the split."""
        return {"run": self.name, "checkpoint": self.checkpoint, "split": self.split}

    @cached_property
    def tasks(self) -> list[Task]:
        """Tasks of the run."""
        return active_tasks(self.cfg)

    @cached_property
    def data(self) -> MultiTaskDataModule:
        """Data that the run was trained on."""
        stores = locate_data(self.cfg, self.tasks)
        same_data(stores, self.files)
        return build_data(self.cfg, stores, test_split=self.split)

    @cached_property
    def module(self) -> RestorationModule:
        """The trained network, in evaluation mode, on the GPU if there is one."""
        module = build_module(self.cfg, self.tasks)
        load_checkpoint(module, self.files.checkpoint(self.checkpoint))
        return module.eval().to("cuda" if torch.cuda.is_available() else "cpu")

    def slices(self, task: Task) -> PairedSlices:
        """All slices of the split of one task."""
        index = [one.name for one in self.tasks].index(task.name)
        return self.data.modules[index].slices(self.split, None, index)

    def restore(self, task: Task, index: int) -> Restored:
        """Restore the slice at a position in `slices`."""
        sample = self.slices(task)[index]
        module = self.module  # weights that are loaded in inference mode could have no gradients
        with torch.inference_mode():
            report = module.network.report(sample.lq[None].to(module.device))
        lq, hq, image = (
            task.denormalise(one.float().cpu().squeeze())
            for one in (sample.lq, sample.hq, report.image)
        )
        return Restored(task, sample.patient, sample.slice_index, lq, hq, image, report)

    def restored(self) -> Iterator[Restored]:
        """Restore every slice of the split, task by task."""
        for task in self.tasks:
            for index in range(len(self.slices(task))):
                yield self.restore(task, index)

    def scores(self) -> list[dict[str, str]]:
        """Rows of ``slices.csv`` of the split."""
        return self.files.rows(*self._evaluation)

    def patients(self) -> Patients:
        """Mean scores of each patient of the split, which kept runs have, too."""
        return read_patients(self.files, *self._evaluation)

    @property
    def _evaluation(self) -> tuple[str, ...]:
        return (self.split,) if self.checkpoint == "best" else (self.split, self.checkpoint)


def open_finished(name: str, cfg: DictConfig) -> FinishedRun:
    """Open a finished run by its name.

    Args:
        name: Folder, name, or "last" for the newest finished run.
        cfg: The draw command's options: paths, checkpoint, split and trusted.

    Raises:
        InputError: There is no such run, or it has not finished.
    """
    files = find_run(name, Path(cfg.paths.runs_dir), "result.json")
    if not files.finished:
        raise InputError(
            f"run {files.name} has not finished (it is {files.record.get('status')}); "
            f"type python -m amir_lightning.train run={files.typed} to continue it"
        )
    saved = files.config(cfg.trusted)
    saved.paths = cfg.paths
    return FinishedRun(files, saved, cfg.checkpoint, cfg.split)


def alike(runs_: Sequence[FinishedRun]) -> None:
    """Refuse runs that cannot be compared.

    Raises:
        InputError: They differ in scale, definition of the metrics or data of a task.
    """
    first = runs_[0]
    for run in runs_[1:]:
        for what, option in (("scale", "scale"), ("definition of the scores", "metrics")):
            one, other = str(first.cfg[option]), str(run.cfg[option])
            if one != other:
                raise InputError(
                    f"{first.name} and {run.name} differ in {what}, {one} and {other}, and cannot "
                    f"share a figure; give runs of one {option} (runs=[...])"
                )
    seen: dict[str, tuple[TaskData, str]] = {}
    for run in runs_:
        for task, data in run.files.data.items():
            before, name = seen.setdefault(task, (data, run.name))
            if not before.is_same(data):
                raise InputError(
                    f"{name} and {run.name} were trained on other data of {task} (fingerprints "
                    f"{before.fingerprint[:12]} and {data.fingerprint[:12]}); give runs of the "
                    "same data (runs=[...])"
                )
