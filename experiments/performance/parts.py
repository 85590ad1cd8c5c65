"""Measure which operations take the time of AMIR on a CPU, and what two changes give.

``python experiments/performance/parts.py`` profiles one pass and one training step at paper size in
float32 and bf16. Then it takes turns: passes with and without the fused convolutions of
`layers/onednn.py`, and training steps with activations kept in float32 and in bf16.
"""

import argparse
import contextlib
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from amir_lightning.networks import AMIR
from amir_lightning.networks.layers import onednn
from amir_lightning.system import cores
from amir_lightning.system.allocator import keep_memory
from amir_lightning.system.markdown import table
from amir_lightning.system.wording import counted

HERE = Path(__file__).parent
PARTS = {  # by words in the names of operations; the first that fits
    "convolutions, backward": ("convolution_backward", "conv2d_backward"),
    "convolutions, forward": ("conv",),
    "products (attention, experts)": ("mm", "dot"),
    "GELU and its gradient": ("gelu",),
    "layer normalisation": ("layer_norm",),
    "Adam": ("adam",),
    "element-wise, copies, sums": ("",),
}
LARGE = 2**16  # values of a tensor from which it is kept in bf16


def part(name: str) -> str:
    """Part to which an operation belongs."""
    return next(one for one, words in PARTS.items() if any(word in name for word in words))


def shares(run: Callable[[], None]) -> dict[str, float]:
    """Share of the time of each part, in the second of two runs."""
    run()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    found: Counter[str] = Counter()
    for event in profiled.key_averages():
        found[part(event.key.lower())] += event.self_cpu_time_total
    return {one: found[one] / found.total() for one in PARTS}


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Return a context without fused convolutions."""
    before, onednn._EXISTS = onednn._EXISTS, False
    try:
        yield
    finally:
        onednn._EXISTS = before


def kept_in_bf16() -> contextlib.AbstractContextManager[object]:
    """Return a context in which large activations are kept in bf16 for the backward pass."""

    def pack(kept: Tensor) -> tuple[Tensor, bool]:
        large = kept.dtype == torch.float32 and kept.numel() >= LARGE
        large = large and not isinstance(kept, nn.Parameter)
        return kept.bfloat16() if large else kept, large

    def unpack(packed: tuple[Tensor, bool]) -> Tensor:
        return packed[0].float() if packed[1] else packed[0]

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def ratio(
    run: Callable[[], None],
    change: Callable[[], contextlib.AbstractContextManager[object]],
    turns: int,
) -> float:
    """Processor time with a change over that without, medians in turns."""
    took: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(turns + 1):
        for changed in (True, False):
            with change() if changed else contextlib.nullcontext():
                start = time.process_time()
                run()
                took[changed].append(time.process_time() - start)
    with_it, without = (median(took[changed][1:]) for changed in (True, False))
    return with_it / without


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=42, help="channels of the first level")
    parser.add_argument("--side", type=int, default=128, help="pixels per side of an image")
    parser.add_argument("--batch", type=int, default=2, help="images of a training step")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--output", type=Path, default=HERE / "parts.md")
    options = parser.parse_args()
    keep_memory()
    torch.manual_seed(0)
    network = AMIR(width=options.width)
    image = torch.rand(1, 1, options.side, options.side)
    lq, hq = (torch.rand(options.batch, 1, options.side, options.side) for _ in range(2))
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, foreach=False)

    def infer() -> None:
        network.eval()
        with torch.inference_mode():
            network(image)

    def train() -> None:
        network.train()
        optimizer.zero_grad()
        loss = (network(lq) - hq).abs().mean()
        with torch.autocast("cpu", enabled=False):
            loss.backward()
            optimizer.step()

    found, ratios = {}, []
    for precision in ("float32", "bf16"):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            for name, run in (("inference", infer), ("training", train)):
                found[f"{name}, {precision}"] = shares(run)
            value = ratio(infer, unfused, options.turns)
            ratios.append([f"inference, {precision}, convolutions not fused", f"{value:.2f}"])
    value = ratio(train, kept_in_bf16, options.turns)
    ratios.append(["training, float32, large activations kept in bf16", f"{value:.2f}"])
    rows = [[one, *(f"{100 * each[one]:.0f} %" for each in found.values())] for one in PARTS]
    about = (
        f"AMIR of width {options.width}, inference of one image and training of {options.batch} "
        f"images of {options.side}x{options.side}: shares of the time of operations in one run, "
        "then processor time with the change over that without, medians in turns. torch "
        f"{torch.__version__}, {platform.machine()}, {counted('CPU core', cores.usable())}."
    )
    parts = table(["Part", *found], rows)
    changes = table(["Change", "Times as long"], ratios)
    options.output.write_text(f"{parts}\n{changes}\n{about}\n")
    print(options.output.read_text())


if __name__ == "__main__":
    main()
