"""Open the run of a configuration: its folder, tasks and data."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from amir_lightning.config import plain
from amir_lightning.errors import InputError
from amir_lightning.runs.data import (
    describe_data,
    locate_data,
    same_data,
    say_other_phantoms,
)
from amir_lightning.runs.folder import RunFolder, find_run, folder_of
from amir_lightning.runs.identity import (
    OWN_CODE,
    identity,
    network_name,
    number_of_processes,
    without_data,
)
from amir_lightning.runs.task_data import Source, TaskData, common_source
from amir_lightning.system.trust import refuse_foreign_classes
from amir_lightning.tasks import Task, active_tasks
from amir_lightning.train.loggers import TENSORBOARD

# Options that may change when a run is resumed. They belong to the machine or the session.
_MACHINE = (
    "paths.",
    "logger",
    "profiler",
    "callbacks",
    "checkpoint.",
    "on_nan",
    "data.batch_size",  # per process; the global batch must not change
    "data.num_workers",
    "compile",
    "recompute",
    "trusted",
)
_DEVICES = ("trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy")


@dataclass(frozen=True)
class Run:
    """A run that is ready to start or to resume.

    Attributes:
        cfg: Configuration.
        files: Run folder.
        tasks: Trained tasks.
        stores: Data file of each task.
        data: Description of each data file.
        identity: Identity of the run; None if an earlier version started it without one.
    """

    cfg: DictConfig
    files: RunFolder
    tasks: list[Task]
    stores: dict[Task, Path]
    data: dict[str, TaskData]
    identity: Mapping[str, Any] | None

    @property
    def folder(self) -> Path:
        """Path of the run folder."""
        return self.files.path

    @property
    def scored(self) -> Literal["test", "val"]:
        """Split whose scores end the run.

        Raises:
            InputError: It is neither the test nor the validation patients.
        """
        split = self.cfg.get("scored", "test")  # run folders of earlier versions lack it
        if split not in ("test", "val"):
            raise InputError(f"scored is '{split}'; choose from test, val")
        return split

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints: best, last and previous."""
        return self.folder / "checkpoints"

    @property
    def source(self) -> Source:
        """Common source of the data: phantoms or scans."""
        return common_source(self.data.values())

    @property
    def config(self) -> dict[str, Any]:
        """Configuration that the run folder keeps: no other tasks, and no options of a session."""
        config = plain(self.cfg)
        config["tasks"] = {task.name: config["tasks"][task.name] for task in self.tasks}
        return config | {"run": None, "profiler": None}


def open_run(cfg: DictConfig) -> Run:
    """Open the run named by ``run=<folder or last>``, or else the run with this configuration.

    Raises:
        InputError: The run does not exist, its data has changed, or an option is not possible.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    # submitit starts the processes of each job with srun.
    own_group = "submitit" in str(hydra.launcher.get("_target_"))
    if hydra.mode is RunMode.MULTIRUN and cfg.trainer.devices != 1 and not own_group:
        raise InputError(
            "-m with several devices would start the whole sweep once per process; start one "
            "command per run, send them to a cluster with hydra/launcher=slurm, or type "
            "trainer.devices=1"
        )
    if cfg.run is not None:
        return _resumed(cfg, list(hydra.overrides.task))
    cfg.network_name = network_name(cfg.network_name, cfg.network, hydra.overrides.task)
    tasks = active_tasks(cfg)
    cfg.task = "+".join(task.name for task in tasks)
    stores = locate_data(cfg, tasks, "data.source")
    data = describe_data(stores)
    own = _identity(cfg, tasks, data)
    files = folder_of(own, Path(cfg.paths.runs_dir))
    if files.record_file.exists():
        say_other_phantoms(data, files)
    return Run(cfg, files, tasks, stores, data, own)


def _identity(
    cfg: DictConfig, tasks: list[Task], data: Mapping[str, TaskData], started: bool = False
) -> dict[str, Any]:
    config, facts = plain(cfg), {name: one._asdict() for name, one in data.items()}
    if started:  # the file of its initial weights may be gone
        config["network"]["pretrained"] = None
    return identity(config, [task.name for task in tasks], facts, number_of_processes(cfg))


def _nodes(key: str) -> tuple[str, ...]:
    """Nodes that an option of the command line replaces in the configuration of a resumed run."""
    key = key.lstrip("+~")
    if key == "trainer":  # take the devices only; precision and steps belong to the run
        return _DEVICES
    if key.startswith(("run", "paths")):
        return ()
    return (key.split(".")[0] if key.startswith(("logger", "profiler", "callbacks")) else key,)


def _logger(files: RunFolder, cfg: DictConfig) -> Any:
    """Return the logger node of a run folder.

    Raises:
        InputError: It names a class that is not trusted. `logger=tensorboard` names one that is.
    """
    node = files.settings.get("logger", cfg.logger)
    if node != OmegaConf.to_container(OmegaConf.load(TENSORBOARD)):
        refuse_foreign_classes(node, files.config_file, cfg.trusted)
    return node


def _resumed(cfg: DictConfig, overrides: list[str]) -> Run:
    for override in overrides:
        if not override.lstrip("+~").startswith(("run=", "trainer=", *_MACHINE, *_DEVICES)):
            raise InputError(
                f"run={cfg.run} resumes a run unchanged, and '{override}' would change it; drop "
                "that option, or leave out run= to start another run"
            )
    files = find_run(str(cfg.run), Path(cfg.paths.runs_dir))
    saved = files.config(cfg.trusted)
    before = copy.deepcopy(saved)
    saved.paths = cfg.paths
    if not any(text.lstrip("+~").startswith("logger") for text in overrides):
        saved.logger = _logger(files, cfg)
    for override in overrides:
        for node in _nodes(override.split("=")[0]):
            OmegaConf.update(saved, node, OmegaConf.select(cfg, node), merge=False)
    processes = number_of_processes(saved)
    batch = before.data.batch_size * number_of_processes(before)
    # devices=-1 may mean fewer devices here than on the machine that started the run.
    batch = (files.identity or {}).get("data.global_batch", batch)
    if batch != saved.data.batch_size * processes:
        raise InputError(
            f"{files.name} is trained on batches of {batch} patches and these options make "
            f"{saved.data.batch_size * processes}; type "
            f"data.batch_size={max(batch // processes, 1)} with {processes} processes, or a number "
            f"of processes that divides {batch}"
        )
    tasks = active_tasks(saved)
    stores = locate_data(saved, tasks)
    data = same_data(stores, files)
    started = any((files.path / "checkpoints").glob("*.ckpt"))
    was = without_data(files.identity or _identity(before, tasks, data, started))
    now = without_data(_identity(saved, tasks, data, started))
    same = {"network.pretrained"} if started else set()
    changed = sorted(key for key in {*was, *now} - same if was.get(key) != now.get(key))
    if code := [key.removeprefix(f"{OWN_CODE}.") for key in changed if key.startswith(OWN_CODE)]:
        raise InputError(
            f"the code of {', '.join(code)} changed since {files.name} was started; undo the "
            "change, or leave out run= to start another run"
        )
    if changed:
        raise InputError(
            f"run={cfg.run} resumes a run unchanged, and {', '.join(changed)} would change it; "
            "drop that option, or leave out run= to start another run"
        )
    return Run(saved, files, tasks, stores, data, files.identity)
