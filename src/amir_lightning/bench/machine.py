"""Peak speed of the machine: matrix products and memory copies."""

import platform
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from amir_lightning.bench.process import clock
from amir_lightning.system import cores
from amir_lightning.system.allocator import keep_memory


class Peaks(NamedTuple):
    """The fastest of many repetitions.

    Attributes:
        float32: Products of matrices in float32 [GFLOP/s].
        bf16: The same in bfloat16 [GFLOP/s].
        copy: Memory copies, counting bytes read and written [GB/s].
    """

    float32: float
    bf16: float
    copy: float


def peaks(device: str, seconds: float, side: int) -> Peaks:
    """Measure in this process; call it through `apart`.

    Args:
        device: "cpu" or "cuda".
        seconds: Each of the three is repeated for at least this time.
        side: Rows and columns of the matrices.
    """
    keep_memory()

    def product(dtype: torch.dtype) -> float:
        left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
        out = torch.empty_like(left)
        return 2 * side**3 / 1e9 / _fastest(lambda: torch.mm(left, right, out=out), device, seconds)

    source = torch.ones(64 * 2**20, device=device)  # 256 MiB exceed all caches
    target = torch.empty_like(source)
    copied = 2 * source.numel() * source.element_size() / 1e9
    return Peaks(
        product(torch.float32),
        product(torch.bfloat16),
        copied / _fastest(lambda: target.copy_(source), device, seconds),
    )


def _fastest(run: Callable[[], object], device: str, seconds: float) -> float:
    run()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while not times or time.perf_counter() < until:
        start = clock(device)
        run()
        times.append(clock(device) - start)
    return min(times)


def share_of_peak(gmacs: float, passes: int, seconds: float, gflops: float) -> float:
    """Fraction of the peak that a measurement reached.

    Args:
        gmacs: Multiply-adds of one forward pass of the batch, in 10^9; one is two operations.
        passes: Forward passes that it is worth: 1 for inference; 3 for a training step, whose
            backward pass multiplies twice as much as the forward pass.
        seconds: Measured time.
        gflops: The machine's peak [GFLOP/s].
    """
    return 2 * gmacs * passes / seconds / gflops


def description(device: str) -> dict[str, str | int]:
    """Name of the machine, for readers of the numbers."""
    gpu = device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if gpu else f"{platform.machine()} CPU",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": cores.usable(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
