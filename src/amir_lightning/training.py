"""One run from its configuration to its result: new, resumed, or already there."""

import contextlib
import logging
import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from omegaconf import OmegaConf

from amir_lightning import runs
from amir_lightning.assemble import build_data, build_module, build_trainer, load_weights, plain
from amir_lightning.callbacks import Stopped
from amir_lightning.checkpoints import LAST, PREVIOUS, newest_whole
from amir_lightning.errors import InputError
from amir_lightning.failures import Unlucky, explain
from amir_lightning.loggers import build_loggers
from amir_lightning.metrics import summarise
from amir_lightning.modules import RestorationModule
from amir_lightning.opening import Run
from amir_lightning.scores import print_scores, read_rows, write_scores

_log = logging.getLogger(__name__)


def train(run: Run) -> float | None:
    """Train, test the best checkpoint, write the result and print it.

    Returns:
        Mean PSNR over the tasks on the test split; None if it does not exist.

    Raises:
        InputError: An option cannot be used, or the run was stopped and can go on.
    """
    if run.result.exists():
        _log.info("this run has finished before; repeat=2 trains it again in a folder of its own")
        _show_result(run)
        return runs.read_json(run.result).get("test/avg/psnr")
    cfg = run.cfg
    last = newest_whole(run.checkpoints)
    module = build_module(cfg, run.tasks, start=last is None)
    step = 0
    if last is not None:
        step = load_weights(module, last)
        _log.info("resuming %s at step %d", run.folder, step)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{run.folder} cannot be made ({error.strerror}); type paths.runs_dir=<folder>"
        ) from error
    before = runs.read_json(run.record) if run.record.exists() else {}
    wandb_id = before.get("wandb_id", f"{run.folder.name}-{secrets.token_hex(2)}")
    loggers = build_loggers(plain(cfg.logger), run.folder, run.config, step, wandb_id)
    trainer = build_trainer(cfg, run.folder, loggers)
    data = build_data(cfg, run.stores)
    record = {**before, **_record(run, trainer, module), "wandb_id": wandb_id}
    session = {"started": runs.now(), "from_step": step, **runs.environment()}
    record["sessions"] = [*before.get("sessions", []), session]
    if trainer.is_global_zero:
        OmegaConf.save(OmegaConf.create(run.config), run.folder / "config.yaml")
        runs.write_json(run.record, {**record, "started": session["started"], "status": "running"})
        _log.info("training %s", _plan(run, record))
    status = "failed"
    try:
        trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
        best = load_weights(module, run.checkpoints / "best.ckpt")
        trainer.test(module, datamodule=data, verbose=False)
        status = "finished"
    except (Exception, SystemExit) as error:
        told = explain(error, _again(run, trainer))
        status = "interrupted" if isinstance(told, Stopped | Unlucky) else "failed"
        if told is None:
            raise
        raise told from error
    finally:
        _close_wandb()
        begun = trainer.global_step > 0 or last is not None
        if trainer.is_global_zero and status == "failed" and not begun:
            shutil.rmtree(run.folder)  # a mistake that stopped the run before its first step
        elif trainer.is_global_zero:
            ended = {"status": status, "finished": runs.now(), "step": trainer.global_step}
            with contextlib.suppress(OSError):  # of a full disk, which has been told
                runs.write_json(run.record, {**runs.read_json(run.record), **ended})
    if not trainer.is_global_zero or module.summary is None:
        return None  # rank zero writes
    scores = module.summary.flat("test")
    write_scores(run.folder / "evaluation" / "test", module.rows, module.summary)
    runs.write_json(run.result, {**scores, "best_step": best, "metrics": cfg.metrics})
    _show_result(run)
    return scores.get("test/avg/psnr")


def _again(run: Run, trainer: pl.Trainer) -> str:
    """The command that goes on with a run, and what it repeats."""
    kept = any((run.checkpoints / name).exists() for name in (LAST, PREVIOUS))
    where = "goes on from the last checkpoint" if kept else "starts again"
    return (
        f"at step {trainer.global_step} of {trainer.max_steps}: python -m amir_lightning.train "
        f"run={run.folder.name} {where}"
    )


def _plan(run: Run, record: Mapping[str, Any]) -> str:
    cfg = run.cfg
    accumulated = cfg.trainer.accumulate_grad_batches
    return (
        f"{cfg.network_name} with {record['parameters']:,} parameters on {record['device']} for "
        f"{record['max_steps']} steps of {record['effective_batch']} patches "
        f"({record['processes']} processes x {cfg.data.batch_size} x {accumulated} accumulated); "
        f"learning rate {cfg.optimizer.learning_rate:g} whatever the batch; into {run.folder}"
    )


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


def _close_wandb() -> None:
    if "wandb" in sys.modules:  # otherwise the next job of a sweep would continue this run
        sys.modules["wandb"].finish()


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
