"""Which run a configuration means: its folder, its tasks and its data."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from amir_lightning import cores, runs
from amir_lightning.assemble import active_tasks, fingerprints, locate_data, plain, same_data
from amir_lightning.errors import InputError
from amir_lightning.tasks import Task

# What may change when a run is resumed: the machine, not the experiment.
_MACHINE = (
    "paths.",
    "logger",
    "callbacks",
    "checkpoint.",
    "on_nan",
    "data.batch_size",  # of a process: the batch of all must stay
    "data.num_workers",
    "compile",
    "recompute",
    "trusted",
)
_DEVICES = ("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy")


@dataclass(frozen=True)
class Run:
    """A run that is ready to start or to go on.

    Attributes:
        cfg: Its configuration.
        folder: Its run folder.
        tasks: The tasks it trains.
        stores: The file that each task reads.
        data: Content hash of each file.
    """

    cfg: DictConfig
    folder: Path
    tasks: list[Task]
    stores: dict[Task, Path]
    data: dict[str, str]

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie: best, last and the one before."""
        return self.folder / "checkpoints"

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that the run folder keeps: of the tasks that are trained."""
        config = plain(self.cfg)
        config["tasks"] = {task.name: config["tasks"][task.name] for task in self.tasks}
        return config | {"run": None}

    @property
    def record(self) -> Path:
        """How and on what the run was trained."""
        return self.folder / "run.json"

    @property
    def result(self) -> Path:
        """The scores of a finished run."""
        return self.folder / "result.json"


def open_run(cfg: DictConfig) -> Run:
    """The run that a configuration means: ``run=<folder or last>``, or its content.

    Raises:
        InputError: The run does not exist, its data changed, or an option cannot be used here.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    own_group = "submitit" in str(
        hydra.launcher.get("_target_")
    )  # srun starts each job's processes
    if hydra.mode is RunMode.MULTIRUN and cfg.trainer.devices != 1 and not own_group:
        raise InputError(
            "-m with several devices would start the whole sweep once per process; start one "
            "command per run, send them to a cluster with hydra/launcher=slurm, or type "
            "trainer.devices=1"
        )
    if cfg.run is not None:
        return _resumed(cfg, list(hydra.overrides.task))
    tasks = active_tasks(cfg)
    cfg.task = "+".join(task.name for task in tasks)
    stores = locate_data(cfg, tasks)
    data = fingerprints(stores)
    names = [task.name for task in tasks]
    content = runs.content(plain(cfg), names, data, _processes(cfg))
    folder = Path(cfg.paths.runs_dir) / runs.run_name(content)
    return Run(cfg, folder, tasks, stores, data)


def _nodes(key: str) -> tuple[str, ...]:
    """What an option of a resumed run takes from the command line."""
    if key == "trainer":  # its devices; precision and steps stay those of the run
        return _DEVICES
    if key.startswith(("run", "paths")):
        return ()
    return (key.split(".")[0] if key.startswith(("logger", "callbacks")) else key,)


def _processes(cfg: DictConfig) -> int:
    """Number of processes of a run on all its nodes."""
    return cores.devices(cfg.trainer) * int(cfg.trainer.num_nodes)


def _resumed(cfg: DictConfig, overrides: list[str]) -> Run:
    for override in overrides:
        if not override.startswith(("run=", "trainer=", *_MACHINE, *_DEVICES)):
            raise InputError(
                f"run={cfg.run} resumes a run as it was and '{override}' would change it; drop "
                "that option, or leave out run= to start another run"
            )
    folder = runs.find_run(str(cfg.run), Path(cfg.paths.runs_dir))
    saved = runs.saved_config(folder, cfg.trusted)
    before = copy.deepcopy(saved)
    saved.paths = cfg.paths
    for override in overrides:
        for node in _nodes(override.split("=")[0]):
            OmegaConf.update(saved, node, OmegaConf.select(cfg, node), merge=False)
    batches = [one.data.batch_size * _processes(one) for one in (before, saved)]
    if batches[0] != batches[1]:
        raise InputError(
            f"{folder.name} is trained on batches of {batches[0]} patches and these options make "
            f"{batches[1]}; type data.batch_size={max(batches[0] // _processes(saved), 1)} with "
            f"{_processes(saved)} processes, or a number of processes that divides {batches[0]}"
        )
    tasks = active_tasks(saved)
    stores = locate_data(saved, tasks)
    return Run(saved, folder, tasks, stores, same_data(stores, folder))
