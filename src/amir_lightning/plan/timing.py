"""Time of the parts of a run, measured with its own network, data and trainer."""

import copy
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import lightning.pytorch as pl
from omegaconf import DictConfig, OmegaConf

from amir_lightning.callbacks import Progress
from amir_lightning.callbacks.each_step import EachStep
from amir_lightning.data.embedded import Cohort, cache_name, embedded_store, recipe
from amir_lightning.data.store import Store
from amir_lightning.errors import InputError
from amir_lightning.plan.costs import Cost, Estimate, bytes_of
from amir_lightning.runs.sweep import Job
from amir_lightning.system import cores
from amir_lightning.system.allocator import keep_memory
from amir_lightning.tasks import Task, active_tasks
from amir_lightning.train.build import build_data, build_module, build_trainer

_log = logging.getLogger(__name__)
_WARM = 10  # steps before the timed ones, in which memory and kernels settle


class Data(NamedTuple):
    """Data of one task.

    Attributes:
        store: File to measure with.
        final: File that the runs read, which may have to be drawn first.
        drawing: Seconds to draw it; 0 if it exists.
        val: Slices of the validation patients.
        test: Slices of the test patients.
    """

    store: Path
    final: Path
    drawing: float
    val: int
    test: int


class Timing(NamedTuple):
    """Seconds of the parts of a run.

    Attributes:
        start: Until the first step: network, data, trainer.
        step: One optimiser step, mean.
        validation: One slice of a validation with its pictures, mean, by task.
        slices: One slice, median, by task: most have no picture.
        rest: Rest of a validation: writing pictures and checkpoints.
        num_bytes: Size of the run folder.
    """

    start: float
    step: float
    validation: Mapping[str, float]
    slices: Mapping[str, float]
    rest: float
    num_bytes: float

    def cost(self, cfg: DictConfig, left: int, data: Mapping[str, Data]) -> Cost:
        """Cost of a run of the tasks in `data` with its validations and final scores."""
        validations = left / min(cfg.validation.every, cfg.trainer.max_steps)
        seconds = self.start + left * self.step + validations * self.rest
        for name, one in data.items():
            seconds += validations * min(cfg.validation.slices, one.val) * self.validation[name]
            seconds += (one.test if cfg.scored == "test" else one.val) * self.slices[name]
        return Cost(seconds, self.num_bytes)


def from_steps(wanted: Sequence[Job], steps: int) -> tuple[Estimate, float]:
    """Estimate by some training steps and one validation of each network.

    Runs that differ only in tasks, seed, rate or length share a measurement.

    Args:
        wanted: Jobs that have not finished.
        steps: Number of timed steps.

    Returns:
        The estimate, and the seconds that the embedded patients of all jobs take to be drawn.

    Raises:
        InputError: A job would use several devices, or cannot be trained.
    """
    for job in wanted:
        if job.cfg.trainer.devices != 1 or job.cfg.trainer.num_nodes != 1:
            raise InputError("time=true measures one process; type trainer=default")
    keep_memory()
    tasks: dict[str, dict[str, None]] = {}
    for job in wanted:
        tasks.setdefault(_kind(job, steps), {}).update(dict.fromkeys(job.tasks))
    timings: dict[str, Timing] = {}
    data: dict[tuple[str, str], Data] = {}
    with TemporaryDirectory() as folder:
        for job in wanted:
            kind = _kind(job, steps)
            cfg = copy.deepcopy(job.cfg)
            cfg.task = "+".join(tasks[kind])
            stores = {}
            for task in active_tasks(cfg):
                key = (str(_final(cfg, task)), task.name)
                if key not in data:
                    data[key] = _data(cfg, task, Path(folder))
                stores[task] = data[key].store
            if kind not in timings:
                _log.info("timing %d steps of %s", steps, job.network)
                timings[kind] = _measure(_short(cfg, steps), stores, steps)

    def estimate(job: Job, left: int) -> Cost:
        own = {
            task.name: data[str(_final(job.cfg, task)), task.name] for task in active_tasks(job.cfg)
        }
        return timings[_kind(job, steps)].cost(job.cfg, left, own)

    return estimate, sum(one.drawing for one in data.values())


def _kind(job: Job, steps: int) -> str:
    """Text that is equal for jobs whose steps and slices take the same time."""
    cfg = _short(job.cfg, steps)
    cfg.task = ""
    return OmegaConf.to_yaml(cfg, resolve=True)


def _short(cfg: DictConfig, steps: int) -> DictConfig:
    """Return the configuration of a short run, without what does not change the time of a step."""
    cfg = copy.deepcopy(cfg)
    cfg.trainer.max_steps = cfg.validation.every = _WARM + steps
    cfg.optimizer.learning_rate = cfg.optimizer.final_learning_rate
    cfg.seed, cfg.scored = 0, "test"
    return cfg


def _final(cfg: DictConfig, task: Task) -> Path:
    """Path of the data file that a training reads, whether it has been drawn or not."""
    prepared = Path(cfg.paths.prepared_dir) / f"{task.name}.h5"
    if cfg.data.source == "prepared" or (cfg.data.source == "auto" and prepared.exists()):
        return prepared
    return Path(cfg.paths.phantom_dir) / cache_name(task.name, recipe(task, _cohort(cfg)))


def _cohort(cfg: DictConfig) -> Cohort:
    return Cohort(**{str(key): value for key, value in cfg.data.phantoms.items()})


def _data(cfg: DictConfig, task: Task, folder: Path) -> Data:
    """Count the slices of a task; if its patients are not drawn yet, draw one of each split."""
    final = _final(cfg, task)
    if final.exists() or cfg.data.source == "prepared":
        return Data(final, final, 0.0, *_counts(final, task))
    cohort = _cohort(cfg)
    few = Cohort(1, 1, 1, cohort.seed)
    start = time.perf_counter()
    small = embedded_store(task, few, folder)
    each = (time.perf_counter() - start) / 3
    val, test = _counts(small, task)
    patients = cohort.train + cohort.val + cohort.test
    return Data(small, final, each * patients, val * cohort.val, test * cohort.test)


def _counts(path: Path, task: Task) -> tuple[int, int]:
    store = Store(path, task.name)
    return len(store.slices("val")), len(store.slices("test"))


def _measure(cfg: DictConfig, stores: Mapping[Task, Path], steps: int) -> Timing:
    """Train some steps with one validation, in a folder that is removed."""
    cores.share(cfg.trainer)
    clock = _Clock()
    start = time.perf_counter()
    with TemporaryDirectory() as temporary:
        module = build_module(cfg, list(stores))
        trainer: Any = build_trainer(cfg, Path(temporary), [])  # whose callbacks have no type
        quiet = [one for one in trainer.callbacks if not isinstance(one, Progress)]
        trainer.callbacks = [*quiet, clock]  # last: what the others do counts
        trainer.precision_plugin.convert_module(module)
        trainer.fit(module, datamodule=build_data(cfg, stores))
        num_bytes = bytes_of(Path(temporary))
    step = (clock.steps[-1] - clock.steps[-1 - steps]) / steps
    times = {task.name: clock.slices[index] for index, task in enumerate(stores)}
    return Timing(
        start=max(0.0, clock.steps[0] - start - step),
        step=step,
        validation={name: mean(own) for name, own in times.items()},
        slices={name: median(own) for name, own in times.items()},
        rest=clock.rest,
        num_bytes=num_bytes,
    )


class _Clock(EachStep):
    """Reads the clock after each step and after each slice of the validation."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.slices: dict[int, list[float]] = defaultdict(list)
        self.rest = 0.0
        self._last = 0.0

    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        """Read the clock."""
        self.steps.append(time.perf_counter())

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the first slice."""
        self._last = time.perf_counter()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Read the clock, loading, scoring and pictures included."""
        now = time.perf_counter()
        self.slices[dataloader_idx].append(now - self._last)
        self._last = now

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read the clock after pictures and checkpoints have been written."""
        self.rest = time.perf_counter() - self._last
