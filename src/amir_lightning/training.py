"""One run from its configuration to its result: new, resumed, or already there."""

import logging
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig, OmegaConf

from amir_lightning import runs
from amir_lightning.assemble import (
    active_tasks,
    build_data,
    build_module,
    build_trainer,
    fingerprints,
    load_weights,
    locate_data,
    plain,
    same_data,
)
from amir_lightning.data.datamodule import MultiTaskDataModule
from amir_lightning.errors import InputError
from amir_lightning.loggers import build_loggers, close_wandb, log_cases
from amir_lightning.metrics import summarise
from amir_lightning.modules import RestorationModule
from amir_lightning.scores import print_scores, read_rows, write_scores
from amir_lightning.tasks import Task

_log = logging.getLogger(__name__)

# What may change when a run is resumed: the machine, not the experiment.
_MACHINE = ("paths.", "logger", "callbacks", "trainer.accelerator", "trainer.strategy", "trusted")


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
    def last(self) -> Path:
        """The checkpoint that a stopped run goes on from."""
        return self.folder / "checkpoints" / "last.ckpt"

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
    if hydra.mode is RunMode.MULTIRUN and cfg.trainer.devices != 1:
        raise InputError(
            "-m with several devices would start the whole sweep once per process; start one "
            "command per run, or type trainer.devices=1"
        )
    if cfg.run is not None:
        return _resumed(cfg, list(hydra.overrides.task))
    tasks = active_tasks(cfg)
    cfg.task = "+".join(task.name for task in tasks)
    stores = locate_data(cfg, tasks)
    data = fingerprints(stores)
    devices = cfg.trainer.devices
    processes = torch.cuda.device_count() if devices in (-1, "auto") else devices
    content = runs.content(plain(cfg), [task.name for task in tasks], data, processes)
    folder = Path(cfg.paths.runs_dir) / runs.run_name(content)
    return Run(cfg, folder, tasks, stores, data)


def train(run: Run) -> float | None:
    """Train, test the best checkpoint, write the result and print it.

    Returns:
        Best mean PSNR over the tasks on the validation patients, by which a sweeper may choose: the
        test patients are no part of any choice. None if it does not exist.
    """
    from hydra.core.hydra_config import HydraConfig

    if run.result.exists():
        _log.info("this run has finished before; repeat=2 trains it again in a folder of its own")
        _show_result(run)
        return runs.read_json(run.result).get("val/avg/psnr")
    cfg = run.cfg
    module = build_module(cfg, run.tasks, start=not run.last.exists())
    step = 0
    if run.last.exists():
        step = load_weights(module, run.last)
        _log.info("resuming %s at step %d", run.folder, step)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{run.folder} cannot be made ({error.strerror}); type paths.runs_dir=<folder>"
        ) from error
    path = run.folder / "run.json"
    before = runs.read_json(path) if path.exists() else {}
    wandb_id = before.get("wandb_id", f"{run.folder.name}-{secrets.token_hex(2)}")
    config = _config(run)
    experiment = before.get("experiment", HydraConfig.get().runtime.choices.get("experiment"))
    loggers = build_loggers(plain(cfg.logger), run.folder, config, step, wandb_id, experiment)
    trainer = build_trainer(cfg, run.folder, loggers)
    data = build_data(cfg, run.stores)
    record = {**before, **_record(run, trainer, module), "experiment": experiment}
    record["wandb_id"] = wandb_id
    session = {"started": runs.now(), "from_step": step, **runs.environment()}
    record["sessions"] = [*before.get("sessions", []), session]
    if trainer.is_global_zero:
        OmegaConf.save(OmegaConf.create(config), run.folder / "config.yaml")
        runs.write_json(path, {**record, "started": session["started"], "status": "running"})
        _log.info(
            "training %s with %s parameters on %s for %d steps into %s",
            cfg.network_name,
            f"{record['parameters']:,}",
            record["device"],
            trainer.max_steps,
            run.folder,
        )
    status, clock = "failed", time.monotonic()
    try:
        _fit(run, trainer, module, data, resume=step > 0)
        best = load_weights(module, run.folder / "checkpoints" / "best.ckpt")
        trainer.test(module, datamodule=data, verbose=False)
        log_cases(loggers, module.rows, trainer.global_step)
        status = "finished"
    except Interrupted:
        status = "interrupted"
        raise
    finally:
        close_wandb(status == "finished")
        begun = trainer.global_step > 0 or run.last.exists()
        if trainer.is_global_zero and status == "failed" and not begun:
            shutil.rmtree(run.folder)  # a mistake that stopped the run before its first step
        elif trainer.is_global_zero:
            ended = {
                "status": status,
                "finished": runs.now(),
                "seconds": before.get("seconds", 0) + round(time.monotonic() - clock, 1),
                "step": trainer.global_step,
            }
            runs.write_json(path, {**runs.read_json(path), **ended})
    if not trainer.is_global_zero or module.summary is None:
        return None  # rank zero writes
    scores = module.summary.flat("test")
    write_scores(run.folder / "evaluation" / "test", module.rows, module.summary)
    chosen = getattr(trainer.checkpoint_callback, "best_model_score", None)
    scores |= {} if chosen is None else {"val/avg/psnr": float(chosen)}
    runs.write_json(run.result, {**scores, "best_step": best, "metrics": cfg.metrics})
    _show_result(run)
    return scores.get("val/avg/psnr")


class Interrupted(InputError):
    """The user stopped the run; it can go on."""


def _fit(
    run: Run,
    trainer: pl.Trainer,
    module: RestorationModule,
    data: MultiTaskDataModule,
    resume: bool,
) -> None:
    checkpoint = run.last if resume else None
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as error:  # what Lightning makes of Ctrl-C
        again = f"python -m amir_lightning.train run={run.folder.name}"
        kept = "goes on from the last validation" if run.last.exists() else "starts again"
        raise Interrupted(
            f"interrupted at step {trainer.global_step} of {trainer.max_steps}; {again} {kept}"
        ) from error


def _resumed(cfg: DictConfig, overrides: list[str]) -> Run:
    for override in overrides:
        if not override.startswith(("run=", *_MACHINE)):
            raise InputError(
                f"run={cfg.run} resumes a run as it was and '{override}' would change it; drop "
                "that option, or leave out run= to start another run"
            )
    folder = runs.find_run(str(cfg.run), Path(cfg.paths.runs_dir))
    saved = runs.saved_config(folder, cfg.trusted)
    saved.paths = cfg.paths
    for override in overrides:
        key = override.split("=")[0]
        if not key.startswith(("run", "paths")):
            node = key.split(".")[0] if key.startswith(("logger", "callbacks")) else key
            OmegaConf.update(saved, node, OmegaConf.select(cfg, node), merge=False)
    tasks = active_tasks(saved)
    stores = locate_data(saved, tasks)
    return Run(saved, folder, tasks, stores, same_data(stores, folder))


def _config(run: Run) -> dict[str, Any]:
    config = plain(run.cfg)
    config["tasks"] = {task.name: config["tasks"][task.name] for task in run.tasks}
    return config | {"run": None}


def _record(run: Run, trainer: pl.Trainer, module: RestorationModule) -> dict[str, Any]:
    """What `run.json` says before the first step."""
    cfg = run.cfg
    device = trainer.strategy.root_device
    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} cores"
    )
    return {
        "name": run.folder.name,
        "task": cfg.task,
        "network": cfg.network_name,
        "scale": cfg.scale,
        "seed": cfg.seed,
        "device": f"{device.type} ({name})",
        "processes": trainer.world_size,
        "precision": str(trainer.precision),
        "effective_batch": cfg.data.batch_size
        * trainer.world_size
        * trainer.accumulate_grad_batches,
        "max_steps": trainer.max_steps,
        "parameters": sum(p.numel() for p in module.network.parameters() if p.requires_grad),
        "data": {
            task.name: {"file": str(path), "fingerprint": run.data[task.name]}
            for task, path in run.stores.items()
        },
        **runs.environment(),
    }


def _show_result(run: Run) -> None:
    """The table, where everything lies, and the next command to type."""
    result = runs.read_json(run.result)
    print_scores(
        summarise(read_rows(run.folder / "evaluation" / "test")),
        run.tasks,
        f"{run.folder.name}\n"
        f"test scores, {run.cfg.metrics} definition, best checkpoint (step {result['best_step']})",
    )
    lines: dict[str, object] = {
        "run folder": run.folder,
        "scores": run.folder / "evaluation" / "test",
        "pictures": run.folder / "samples",
        "weights": run.folder / "checkpoints" / "best.ckpt",
    }
    if list(run.folder.glob("wandb/offline-run-*")):
        lines["dashboard"] = f"wandb sync {run.folder}/wandb/offline-run-*   (after wandb login)"
    lines["next"] = f"python -m amir_lightning.evaluate run={run.folder.name} split=val"
    for name, value in lines.items():
        print(f"{name:>10}  {value}")
