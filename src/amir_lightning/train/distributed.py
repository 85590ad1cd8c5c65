"""End all processes of a run, with a message, when one of them ends; requeue a Slurm job."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time

import lightning.pytorch as pl
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only
from torch import distributed

_log = logging.getLogger(__name__)
_OBSERVER = "child-process-observer"  # Lightning's thread in the process that started the others


def end_with_launcher(trainer: pl.Trainer) -> None:
    """End this process if process 0, which started it, is killed, instead of waiting forever.

    torchrun and Slurm end their processes themselves.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if not isinstance(environment, LightningEnvironment) or trainer.local_rank == 0:
        return
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        print(f"error: process {trainer.global_rank} ends because process 0 ended", file=sys.stderr)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="launcher-watch").start()


def say_which_process_ended() -> None:
    """Replace Lightning's message about a lost process by our own sentence.

    Lightning kills all processes right after its message, so ours cannot be printed later.
    """
    logger = logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script")
    logger.setLevel(logging.INFO)

    def reworded(record: logging.LogRecord) -> bool:
        if "terminated with code" in record.getMessage():
            record.msg, record.args = (
                (
                    "error: another process of this run ended, so all end; the same command goes "
                    "on from the last checkpoint"
                ),
                (),
            )
            return True
        return record.levelno >= logging.WARNING

    logger.addFilter(reworded)


def end_others(trainer: pl.Trainer, seconds: float = 10) -> None:
    """Wait for the processes that this one has started, and kill those that hang."""
    for thread in threading.enumerate():
        if thread.name == _OBSERVER:
            thread._child_processes = []  # type: ignore[attr-defined]  # else it kills this process, too
    end = time.monotonic() + seconds
    for process in getattr(trainer.strategy.launcher, "procs", []):
        try:
            process.wait(max(end - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_first_process() -> bool:
    """Return whether this is process 0 of the run, even before there is a trainer."""
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return rank_zero_only.rank == 0 and node == "0"  # type: ignore[attr-defined]


def requeue(signum: int) -> None:
    """Requeue this Slurm job after SIGUSR1, by which Slurm warns of the time limit.

    Process 0 does it and the other processes wait, because srun ends all tasks when the first one
    ends.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if signum != signal.SIGUSR1 or job is None:
        return
    if is_first_process():
        _requeue(job)
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()


def _requeue(job: str) -> None:
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("scontrol requeue %s failed (%s); send the job again", job, error)
    else:
        _log.info("job %s is queued again and will resume from here", job)
