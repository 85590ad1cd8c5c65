"""A process of its own for a measurement, its clock and its memory."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import torch

from amir_lightning.errors import InputError

P = ParamSpec("P")
T = TypeVar("T")


def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a fresh process, so that nothing measured before is counted.

    Raises:
        InputError: The process was killed, mostly for want of memory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise InputError(
                "the process of a measurement was killed, most likely for want of memory; "
                "choose smaller images or batches"
            ) from error


def clock(device: str) -> float:
    """Seconds, after all that was asked of the device."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def forget_peak(device: str) -> None:
    """Let the peak start anew from the memory in use."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # containers may forbid it


def peak_mib(device: str) -> float:
    """Peak of the CUDA allocator, or of the process's resident memory on a CPU [MiB]."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resident_mib("VmHWM")


def resident_mib(field: str = "VmRSS") -> float:
    """A line of the process's status: unlike getrusage, it knows nothing of the parent process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 2**10
    raise OSError(f"/proc/self/status has no {field}")
