"""Processor cores that a process may use, and the number of threads it starts on them.

Works without torch: its libraries read the environment when they are loaded.
"""

import functools
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from amir_lightning.errors import InputError
from amir_lightning.system.wording import counted

_THREADS = "OMP_NUM_THREADS"
# How often a waiting thread looks before it sleeps. Measured in experiments/performance/README.md,
# "Two commands at once".
_SPINS = "1000"
_log = logging.getLogger(__name__)


def usable(root: Path = Path("/")) -> int:
    """Number of cores that this process may use.

    This is the size of its CPU affinity, limited by the quota of its container and by what Slurm
    gives to a task. A quota of 1.5 cores counts as two, so that all of it can be used.

    Args:
        root: Folder that holds ``/proc`` and ``/sys``.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # macOS and Windows
        cores = os.cpu_count() or 1
    limits = [math.ceil(quota) for quota in _quotas(root)]
    if (task := os.environ.get("SLURM_CPUS_PER_TASK", "")).isdecimal():
        limits.append(int(task))
    return max(1, min([cores, *limits]))


def threads(processes: int) -> int:
    """Number of threads of each process when several processes share the cores.

    OMP_NUM_THREADS decides if the user or a launcher has set it.

    Raises:
        InputError: OMP_NUM_THREADS is not a number of threads.
    """
    return _typed() or max(1, usable() // processes)


def devices(trainer: Mapping[str, Any]) -> int:
    """Number of processes that a trainer starts on one machine: one per device.

    Args:
        trainer: Trainer options, with ``devices`` and ``accelerator``.
    """
    chosen = trainer["devices"]
    if chosen == "auto" and trainer["accelerator"] == "cpu":
        return 1
    if chosen in (-1, "-1", "auto"):
        import torch  # imported only where it is needed, because it loads slowly

        return max(torch.cuda.device_count(), 1)
    if isinstance(chosen, int):
        return chosen
    # Indices of devices, as a list or separated by commas.
    return len(chosen.split(",") if isinstance(chosen, str) else chosen)


def let_others_run() -> None:
    """Make waiting threads sleep soon, and make joblib count cores as `usable` does.

    By default a thread of GNU OpenMP spins for 8 ms while it waits for the other threads. If
    another command occupies the core of one of them, all the others spin at each of the many
    barriers of a training step and slow both commands down.

    Libraries read both variables when they are loaded, and child processes inherit them.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", str(usable()))


def share(trainer: Mapping[str, Any] | None) -> None:
    """Set the number of threads of this process and log it.

    The number of torch's threads is set, too, if torch has been loaded.

    Args:
        trainer: Trainer options, whose processes share the cores; None if there is no trainer.

    Raises:
        InputError: OMP_NUM_THREADS is not a number of threads.
    """
    processes = _processes(trainer)
    count, cores, typed = threads(processes), usable(), _typed()
    told = counted("thread", count)
    told += f" in each of {processes} processes" if processes > 1 else ""
    told += f", as {_THREADS} says" if typed else ""
    whose = "this process" if processes == 1 else "they"
    told += f" (of {counted('core', cores)} {whose} may use)"
    if not typed:
        os.environ[_THREADS] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    if _is_first():
        _say(told)


@functools.cache  # a resumed run and every job of a sweep call `share` again
def _say(sentence: str) -> None:
    _log.info("%s", sentence)


@functools.cache  # read before `share` writes it, which is not a choice of the user
def _typed() -> int | None:
    """OMP_NUM_THREADS as the command found it; None if neither user nor launcher has set it."""
    text = os.environ.get(_THREADS, "")
    if not text:
        return None
    first = text.split(",")[0].strip()  # the others are for nested levels
    if not first.isdecimal() or int(first) < 1:
        raise InputError(
            f"{_THREADS} is '{text}', expected a number of threads; type {_THREADS}={usable()} "
            f"before the command, or unset {_THREADS}"
        )
    return int(first)


def _processes(trainer: Mapping[str, Any] | None) -> int:
    """Number of processes that share the cores counted by `usable`."""
    if (torchrun := os.environ.get("LOCAL_WORLD_SIZE", "")).isdecimal():
        return max(int(torchrun), 1)
    if os.environ.get("SLURM_NTASKS", "1") != "1":
        return 1  # each process is a task, and Slurm gives each task its cores
    return 1 if trainer is None else max(devices(trainer), 1)


def _is_first() -> bool:
    """Whether this is process 0, which logs for all processes of the run."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _quotas(root: Path) -> Iterator[float]:
    """Yield the processor-time limits, in cores, of the control groups of this process."""
    groups = root / "sys" / "fs" / "cgroup"
    for line in _read(root / "proc" / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            mounts = [groups]
        elif "cpu" in controllers.split(","):  # version 1
            mounts = [groups / "cpu", groups / controllers]
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for mount in mounts:
            # A container may see its group as the root, but named by its path on the host.
            for depth in range(len(parts) + 1):
                yield from _quota(mount.joinpath(*parts[:depth]))


def _quota(group: Path) -> Iterator[float]:
    limit = _read(group / "cpu.max").split()  # version 2: "150000 100000", or "max 100000"
    if not limit:
        limit = [_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(limit) == 2 and all(number.isdecimal() for number in limit):  # no limit: max or -1
        quota, period = (int(number) for number in limit)
        if quota and period:
            yield quota / period


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
