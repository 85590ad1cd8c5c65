"""Seconds and peak memory of restoring one slice, in a process of its own."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch


class Speed(NamedTuple):
    """One slice of one size.

    Attributes:
        seconds: Median time of a forward pass.
        memory_mib: Peak memory of weights and activations [MiB]: on a GPU what the allocator gave
            out, on a CPU what the process grew by since before the network was built.
    """

    seconds: float
    memory_mib: float


def measure_apart(
    config: Mapping[str, Any], sizes: Sequence[tuple[int, int]], seconds: float, device: str
) -> list[Speed]:
    """Measure a network in a fresh process, so that no other one's memory is counted.

    Args:
        config: Hydra node of the network, plain types.
        sizes: Heights and widths of slices.
        seconds: Passes are repeated for at least so long.
        device: "cpu" or "cuda".

    Returns:
        One result per size.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, config, sizes, seconds, device).result()


def measure(
    config: Mapping[str, Any], sizes: Sequence[tuple[int, int]], seconds: float, device: str
) -> list[Speed]:
    """Measure a network in this process; see `measure_apart`."""
    from hydra.utils import get_class, instantiate

    get_class(config["_target_"])  # its libraries, MONAI perhaps, are no memory of the network
    torch.zeros(64, 64, device=device) @ torch.zeros(64, 64, device=device)  # libraries are loaded
    before = _resident_mib("VmRSS")
    network = instantiate(dict(config)).eval().to(device)
    results = []
    with torch.inference_mode():
        network(torch.rand(1, int(config["in_channels"]), 64, 64, device=device))
        # From small to large: where the peak cannot be reset, the larger one covers the smaller.
        for index in sorted(range(len(sizes)), key=lambda i: sizes[i][0] * sizes[i][1]):
            lq = torch.rand(1, int(config["in_channels"]), *sizes[index], device=device)
            _forget_peak(device)
            times: list[float] = []
            while sum(times) < seconds:
                start = _clock(device)
                network(lq)
                times.append(_clock(device) - start)
            peak = _peak_mib(device) - (before if device == "cpu" else 0)
            results.append((index, Speed(median(times), peak)))
    return [speed for _, speed in sorted(results)]


def _clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _forget_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # containers may forbid it


def _peak_mib(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return _resident_mib("VmHWM")


def _resident_mib(field: str) -> float:
    """A line of the process's status: unlike getrusage, it knows nothing of the parent process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 2**10
    raise OSError(f"/proc/self/status has no {field}")
