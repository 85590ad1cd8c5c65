"""Fresh processes for measurements, with clock and memory."""

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
    """Call a function in a fresh process, so that earlier measurements do not count.

    Raises:
        InputError: The process was killed, most often because memory ran out.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            raise InputError(
                "the process of a measurement was killed, most likely because memory ran out; "
                "choose smaller images or batches"
            ) from error


def clock(device: str) -> float:
    """Wait for the device, and read the clock [s]."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def forget_peak(device: str) -> None:
    """Reset the peak to the memory in use."""
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
    """Read a line of the process status. Unlike getrusage, it leaves out the parent process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 2**10
    raise OSError(f"/proc/self/status has no {field}")
