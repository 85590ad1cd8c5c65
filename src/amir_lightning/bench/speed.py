"""Seconds and peak memory of restoring one slice, in a fresh process."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import torch

from amir_lightning.bench.process import apart, clock, forget_peak, peak_mib, resident_mib
from amir_lightning.engines.choice import ON_A_CPU, Request, use_engine

ENGINES = {"torch": "float32", "openvino": "float32", "openvino_bf16": "bf16"}
"""Engines that are measured, and their precisions."""


class Speed(NamedTuple):
    """Cost of one slice of one size.

    Attributes:
        seconds: Median time of a forward pass.
        memory_mib: Peak memory of weights and activations [MiB]. On a GPU this is the peak of the
            allocator, on a CPU the growth of the process since before the network was built.
    """

    seconds: float
    memory_mib: float


def difference(config: Mapping[str, Any], size: tuple[int, int], engine: str) -> float:
    """Return the largest difference of an engine from torch in float32, on one random image.

    Args:
        config: Hydra node of the network.
        size: Height and width of the image.
        engine: One of `ENGINES`.

    Raises:
        InputError: The engine cannot run the network.
    """
    from hydra.utils import instantiate

    torch.manual_seed(0)
    network = instantiate(config).eval()
    lq = torch.rand(1, int(config.get("in_channels", 1)), *size)
    use_engine(network, Request("openvino", ENGINES[engine], (), None), ON_A_CPU)
    with torch.inference_mode():
        restored = network(lq)
        with network.as_written():
            return float((restored - network(lq)).abs().max())


def measure_apart(
    config: Mapping[str, Any],
    sizes: Sequence[tuple[int, int]],
    seconds: float,
    device: str,
    engine: str = "torch",
) -> list[Speed]:
    """Measure a network in a fresh process, so that no other one's memory is counted.

    Args:
        config: Hydra node of the network, plain types.
        sizes: Heights and widths of slices.
        seconds: Passes are repeated for at least this time.
        device: "cpu" or "cuda".
        engine: One of `ENGINES`.

    Returns:
        One result per size.
    """
    return apart(measure, config, sizes, seconds, device, engine)


def measure(
    config: Mapping[str, Any],
    sizes: Sequence[tuple[int, int]],
    seconds: float,
    device: str,
    engine: str = "torch",
) -> list[Speed]:
    """Measure a network in this process; see `measure_apart`."""
    from hydra.utils import get_class, instantiate

    get_class(config["_target_"])  # imports libraries, which do not count as memory of the network
    torch.zeros(64, 64, device=device) @ torch.zeros(64, 64, device=device)  # loads libraries
    before = resident_mib()
    network = instantiate(dict(config)).eval().to(device)
    results = []
    with torch.inference_mode():
        network(torch.rand(1, int(config.get("in_channels", 1)), 64, 64, device=device))
        if engine != "torch":
            use_engine(network, Request("openvino", ENGINES[engine], (), None), ON_A_CPU)
        # From small to large: if the peak cannot be reset, a larger slice exceeds the earlier ones.
        for index in sorted(range(len(sizes)), key=lambda i: sizes[i][0] * sizes[i][1]):
            lq = torch.rand(1, int(config.get("in_channels", 1)), *sizes[index], device=device)
            if engine != "torch":
                network(lq)  # compiled now, which is not the time of a slice
            forget_peak(device)
            times: list[float] = []
            while sum(times) < seconds:
                start = clock(device)
                network(lq)
                times.append(clock(device) - start)
            peak = peak_mib(device) - (before if device == "cpu" else 0)
            results.append((index, Speed(median(times), peak)))
    return [speed for _, speed in sorted(results)]
