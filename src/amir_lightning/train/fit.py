"""Train a run to its result, whether it is new, was stopped or has finished already."""

import contextlib
import logging
import secrets
import shlex
import shutil
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from amir_lightning.callbacks import Stopped
from amir_lightning.config import plain
from amir_lightning.errors import InputError
from amir_lightning.metrics import pool
from amir_lightning.modules import RestorationModule
from amir_lightning.runs.checkpoint_io import LAST, PREVIOUS, newest_whole
from amir_lightning.runs.folder import RunFolder
from amir_lightning.runs.record import environment, now, read_json, write_json
from amir_lightning.runs.scores import print_scores, read_patients, write_scores
from amir_lightning.system import cores
from amir_lightning.system.atomic import complete_file
from amir_lightning.system.locks import locked
from amir_lightning.system.wording import counted
from amir_lightning.train.build import build_data, build_module, build_trainer, compile_network
from amir_lightning.train.distributed import (
    end_others,
    end_with_launcher,
    is_first_process,
    requeue,
    say_which_process_ended,
)
from amir_lightning.train.interruptions import Unlucky, explain
from amir_lightning.train.loggers import build_loggers, close_wandb, log_cases
from amir_lightning.train.run import Run
from amir_lightning.weights.checkpoint import load_checkpoint

_log = logging.getLogger(__name__)


def train(run: Run) -> float | None:
    """Train, score the best checkpoint, write the result and print it.

    Returns:
        Best mean PSNR over the tasks on the validation patients, by which a sweeper may choose
        (test patients must not decide anything); None if there is no validation.

    Raises:
        InputError: An option cannot be used, or the run was stopped and can go on.
        Taken: Another process trains this run.
    """
    purpose = f"training {run.folder.name}"
    try:
        if run.files.finished or not is_first_process():
            return _known(run) if run.files.finished else _train(run)
        with locked(run.folder / ".lock", purpose, advice="type paths.runs_dir=<folder>"):
            # Another process may have finished the run in the meantime.
            return _known(run) if run.files.finished else _train(run)
    except Stopped as stopped:
        requeue(stopped.signum)
        raise


def _known(run: Run) -> float | None:
    _log.info("this run has finished before; repeat=2 trains it again, into another folder")
    return _show_result(run)


def _train(run: Run) -> float | None:
    cfg = run.cfg
    last = newest_whole(run.checkpoints)
    module = build_module(cfg, run.tasks, start=last is None)
    step = 0
    if last is not None:
        step = load_checkpoint(module, last)
        _log.info("resuming %s at step %d", run.folder, step)
    if cfg.compile:
        compile_network(cfg, module)
    before = run.files.record if run.files.record_file.exists() else {}
    wandb_id = before.get("wandb_id", f"{run.folder.name}-{secrets.token_hex(2)}")
    experiment = before.get("experiment", HydraConfig.get().runtime.choices.get("experiment"))
    data = build_data(cfg, run.stores, run.scored)
    loggers = build_loggers(
        plain(cfg.logger),
        run.folder,
        {**run.config, "source": run.source},
        step,
        wandb_id,
        experiment,
    )
    trainer = build_trainer(cfg, run.folder, loggers)
    end_with_launcher(trainer)
    say_which_process_ended()
    status, failure, clock = "failed", None, time.monotonic()
    try:
        if trainer.is_global_zero:
            names = {"experiment": experiment, "wandb_id": wandb_id}
            record = {**before, **_record(run, trainer, module), **names}
            if last is not None:
                _compare_threads(before, record)
            _begin(run, record, step)
        # Convert before fit(), which would load float64 checkpoints into float32 weights.
        trainer.precision_plugin.convert_module(module)
        trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
        best = load_checkpoint(module, run.files.checkpoint("best"))
        if run.scored != "test":
            trainer.loggers = []  # which would log these scores as those of a test
        trainer.test(module, datamodule=data, verbose=False)
        log_cases(trainer.loggers, module.rows, trainer.global_step)
        if trainer.is_global_zero and module.summary is not None:
            write_scores(run.files.evaluation(run.scored), module.rows, module.summary)
            chosen = getattr(trainer.checkpoint_callback, "best_model_score", None)
            scores = {} if chosen is None else {"val/avg/psnr": float(chosen)}
            scores |= module.summary.flat(run.scored)
            write_json(run.files.result_file, {**scores, "best_step": best, "metrics": cfg.metrics})
        status = "finished"
    except (Exception, SystemExit) as error:
        end_others(trainer)
        failure = explain(error, _again(run, trainer))
        status = "interrupted" if isinstance(failure, Stopped | Unlucky) else "failed"
        if failure is None:
            raise
    finally:
        close_wandb(status == "finished")
        if trainer.is_global_zero:
            seconds = before.get("seconds", 0) + round(time.monotonic() - clock, 1)
            begun = trainer.global_step > 0 or step > 0
            _end(run, status, trainer.global_step, seconds, begun)
    if failure is not None:
        raise failure  # outside `except`, whose traceback would keep loader workers alive
    if not trainer.is_global_zero:
        return None
    return _show_result(run)


def _begin(run: Run, record: Mapping[str, Any], step: int) -> None:
    """Write config.yaml and run.json, and log the first line of the training."""
    with complete_file(run.files.config_file, "type paths.runs_dir=<folder>") as partial:
        OmegaConf.save(OmegaConf.create(run.config), partial)
    session = {"started": now(), "from_step": step, "threads": record["threads"]}
    session |= environment()
    sessions = [*record.get("sessions", []), session]
    current = {"sessions": sessions, "started": session["started"], "status": "running"}
    write_json(run.files.record_file, {**record, **current})
    cfg, learning = run.cfg, record["trained_parameters"]
    _log.info(
        "training %s with %s parameters%s on %s for %s of %s (%s x %d x %d "
        "accumulated), learning rate %g whatever the batch, into %s",
        cfg.network_name,
        f"{record['parameters']:,}",
        "" if learning == record["parameters"] else f", {learning:,} of which learn,",
        record["device"],
        counted("step", record["max_steps"]),
        "1 patch" if record["effective_batch"] == 1 else f"{record['effective_batch']} patches",
        "1 process" if record["processes"] == 1 else f"{record['processes']} processes",
        cfg.data.batch_size,
        cfg.trainer.accumulate_grad_batches,
        cfg.optimizer.learning_rate,
        run.folder,
    )


def _compare_threads(before: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Warn if a run on a CPU resumes with another number of threads, which changes its rounding."""
    then, now = before.get("threads"), record["threads"]
    if then in (None, now) or not record["device"].startswith("cpu"):  # None: earlier versions
        return
    _log.warning(
        "this run had %d thread%s in each process before and goes on with %d, so that its numbers "
        "will not be bit for bit those of a run that was not stopped; to keep them, stop it and "
        "type OMP_NUM_THREADS=%d before the same command",
        then,
        "" if then == 1 else "s",
        now,
        then,
    )


def _end(run: Run, status: str, step: int, seconds: float, begun: bool) -> None:
    """Record the end of a session; remove the folder if it failed before the first step."""
    if status == "failed" and not begun:
        shutil.rmtree(run.folder)
        return
    ended = {"status": status, "finished": now(), "seconds": seconds, "step": step}
    with contextlib.suppress(InputError):  # the disk is full, which has been reported
        write_json(run.files.record_file, {**read_json(run.files.record_file), **ended})


def _again(run: Run, trainer: pl.Trainer) -> str:
    """Return the command that resumes a run, and from which step."""
    kept = any((run.checkpoints / name).exists() for name in (LAST, PREVIOUS))
    where = "goes on from the last checkpoint" if kept else "starts again"
    return (
        f"at step {trainer.global_step} of {trainer.max_steps}: python -m amir_lightning.train "
        f"run={run.files.typed} {where}"
    )


def _record(run: Run, trainer: pl.Trainer, module: RestorationModule) -> dict[str, Any]:
    """Describe a run for ``run.json`` before its first step."""
    cfg = run.cfg
    device = trainer.strategy.root_device
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else counted("core", cores.usable())
    )
    return {
        "name": run.folder.name,
        "task": cfg.task,
        "network": cfg.network_name,
        "scale": cfg.scale,
        "seed": cfg.seed,
        "device": f"{device.type} ({name})",
        "processes": trainer.world_size,
        "threads": torch.get_num_threads(),
        "precision": str(trainer.precision),
        "effective_batch": cfg.data.batch_size
        * trainer.world_size
        * trainer.accumulate_grad_batches,
        "max_steps": trainer.max_steps,
        "parameters": sum(p.numel() for p in module.network.parameters()),
        "trained_parameters": sum(
            p.numel() for p in module.network.parameters() if p.requires_grad
        ),
        "compile": cfg.compile,
        "data": {name: data._asdict() for name, data in run.data.items()},
        "identity": run.identity,
        **environment(),
    }


def _show_result(run: Run) -> float | None:
    """Print the scores, the paths of all results and the next command.

    Returns:
        Best mean validation PSNR, as in `train`.
    """
    files = RunFolder(run.folder)
    print_scores(
        pool(read_patients(files, run.scored)),
        run.tasks,
        f"{run.folder.name}\n"
        f"{run.scored} scores, {run.cfg.metrics} definition, best checkpoint "
        f"(step {files.result['best_step']})",
    )
    written = {
        "run folder": run.folder,
        "scores": files.evaluation(run.scored),
        "pictures": run.folder / "samples",
        "weights": files.checkpoint("best"),
    }
    # A kept run has neither pictures nor weights.
    lines: dict[str, object] = {name: path for name, path in written.items() if path.exists()}
    if list(run.folder.glob("wandb/offline-run-*")):
        folder = shlex.quote(str(run.folder))
        lines["dashboard"] = f"wandb sync {folder}/wandb/offline-run-*   (after wandb login)"
    if run.scored == "test" and "weights" in lines:  # a search must not see test patients
        lines["next"] = f"python -m amir_lightning.evaluate run={files.typed} split=val"
    for name, value in lines.items():
        print(f"{name:>10}  {value}")
    return files.result.get("val/avg/psnr")
