"""How many processor cores a process may use, and how many threads it starts on them.

Works without torch: its libraries read the environment when they are loaded.
"""

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
_SPINS = "1000"  # of a thread that waits; experiments/performance/README.md, Two commands at once
_log = logging.getLogger(__name__)
_ours: str | None = None  # what `share` wrote to OMP_NUM_THREADS, which is no choice of the user's
_said: str | None = None


def usable(root: Path = Path("/")) -> int:
    """Cores that this process may use.

    They are those of its CPU affinity, no more than the quota of its container and than Slurm gives
    a task. A quota of 1.5 cores counts as two, so that all of it can be used.

    Args:
        root: Where ``/proc`` and ``/sys`` lie.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    limits = [math.ceil(quota) for quota in _quotas(root)]
    if (task := os.environ.get("SLURM_CPUS_PER_TASK", "")).isdecimal():
        limits.append(int(task))
    return max(1, min([cores, *limits]))


def threads(processes: int) -> int:
    """Threads of each process, if so many share the cores; OMP_NUM_THREADS, if it is set, decides.

    Raises:
        InputError: OMP_NUM_THREADS is no number of threads.
    """
    return _typed() or max(1, usable() // processes)


def devices(trainer: Mapping[str, Any]) -> int:
    """Processes that a trainer runs on a machine, one for each device.

    Args:
        trainer: Its options, ``devices`` and ``accelerator`` among them.
    """
    chosen = trainer["devices"]
    if chosen == "auto" and trainer["accelerator"] == "cpu":
        return 1
    if chosen in (-1, "-1", "auto"):
        import torch  # only here: it takes long to load

        return max(torch.cuda.device_count(), 1)
    if isinstance(chosen, int):
        return chosen
    # Numbers of devices, as a list or joined with commas.
    return len(chosen.split(",") if isinstance(chosen, str) else chosen)


def let_others_run() -> None:
    """Let threads that wait sleep soon, and joblib count cores as `usable` does.

    A thread of GNU OpenMP that waits for the others spins for 8 ms by default. Where another
    command has taken the core of one of those, it spins in the way of both at every one of the
    many barriers of a pass. Both are read when libraries are loaded, and inherited by processes.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", str(usable()))


def share(trainer: Mapping[str, Any] | None) -> None:
    """Let this process start as many threads as it may, and say how many those are.

    Threads of torch, if that is loaded, follow.

    Args:
        trainer: Options of the trainer, whose processes share the cores; None: there is none.

    Raises:
        InputError: OMP_NUM_THREADS is no number of threads.
    """
    global _ours, _said
    processes = _processes(trainer)
    count, cores, typed = threads(processes), usable(), _typed()
    said = counted("thread", count)
    said += f" in each of {processes} processes" if processes > 1 else ""
    said += f", as {_THREADS} says" if typed else ""
    whose = "this process" if processes == 1 else "they"
    said += f" (of {counted('core', cores)} {whose} may use)"
    if not typed:
        os.environ[_THREADS] = _ours = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    if said != _said and _is_first():
        _log.info("%s", said)
    _said = said


def _typed() -> int | None:
    """OMP_NUM_THREADS, if a person or a launcher set it."""
    text = os.environ.get(_THREADS, "")
    if text in ("", _ours):
        return None
    first = text.split(",")[0].strip()  # of nested levels
    if not first.isdecimal() or int(first) < 1:
        raise InputError(
            f"{_THREADS} is '{text}', expected a number of threads; type {_THREADS}={usable()} "
            f"before the command, or unset {_THREADS}"
        )
    return int(first)


def _processes(trainer: Mapping[str, Any] | None) -> int:
    """Processes that share what `usable` counts."""
    if (torchrun := os.environ.get("LOCAL_WORLD_SIZE", "")).isdecimal():
        return max(int(torchrun), 1)
    if os.environ.get("SLURM_NTASKS", "1") != "1":
        return 1  # each process is a task, with cores of its own
    return 1 if trainer is None else max(devices(trainer), 1)


def _is_first() -> bool:
    """Whether this process speaks for those that run with it."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _quotas(root: Path) -> Iterator[float]:
    """Limits on processor time [cores] of the control groups that this process is in."""
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
            # A container may see its own group as the root, under the path of the host.
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
