"""Networks and the cases in which they are measured."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from hydra.utils import instantiate

from amir_lightning.bench.cost import Build, Case, Cost, Recipe, configured, cost
from amir_lightning.bench.machine import Peaks, peaks, share_of_peak
from amir_lightning.bench.process import apart
from amir_lightning.bench.released import (
    answer,
    converted,
    differences,
    draw_weights,
    released,
    sized,
)
from amir_lightning.bench.report import Row
from amir_lightning.bench.size import network_size

_log = logging.getLogger(__name__)


class Variant(NamedTuple):
    """One network in one case.

    Attributes:
        part: The results it belongs to: "table", "released" or "curve".
        network: Its name.
        scale: "demo" or "paper"; for `against_release`, "ours" or "released".
        case: What is measured.
        open_network: Imports its code, in the process of the measurement.
        gmacs: Multiply-adds of one slice of that size, in 10^9.
        tuned: Whether the C allocator is tuned as in training.
        curve: Name and value of the quantity that the curve varies.
    """

    part: str
    network: str
    scale: str
    case: Case
    open_network: Callable[[], Build]
    gmacs: float
    tuned: bool = True
    curve: tuple[str, int] | None = None


def variant(name: str, scale: str, node: Mapping[str, Any], case: Case) -> Variant:
    """Describe the network of a configuration node in one case."""
    case = case._replace(channels=int(node.get("in_channels", 1)))
    build = partial(instantiate, dict(node))
    gmacs = network_size(build, case.channels, case.height, case.width).gmacs
    return Variant("table", name, scale, case, partial(configured, dict(node)), gmacs)


def curves(
    name: str, scale: str, node: Mapping[str, Any], values: Mapping[str, Sequence[int]], side: int
) -> list[Variant]:
    """Vary one value at a time.

    Args:
        name: The network.
        scale: Its scale.
        node: Its configuration node.
        values: ``pixels``: sides of slices to restore. ``batches``: batch sizes of training steps.
            ``experts``: numbers of experts, in training steps of one patch.
        side: Pixels per side of a patch.
    """
    step = Case("training", 1, side, side, "float32")
    points: list[tuple[str, int, Case, Mapping[str, Any]]] = [
        *(("pixels", n, Case("inference", 1, n, n, "float32"), node) for n in values["pixels"]),
        *(("batch", n, step._replace(batch=n), node) for n in values["batches"]),
        *(("experts", n, step, {**node, "num_experts": n}) for n in values["experts"]),
    ]
    return [
        variant(name, scale, changed, case)._replace(part="curve", curve=(curve, value))
        for curve, value, case, changed in points
    ]


def against_release(
    name: str,
    checkout: Path,
    weights: Path,
    cases: Sequence[tuple[str, int, int, int]],
    engines: Sequence[str] = ("torch",),
) -> list[Variant]:
    """Pair a released network (float32) with ours (float32 and bf16), with the same weights.

    Args:
        name: Name of the network, amir or tat.
        checkout: Folder of the authors' code.
        weights: File that `same_answers` wrote.
        cases: Kind of pass, batch, rows and columns of each case.
        engines: Engines of our inference.
    """
    theirs, ours = partial(released, name, checkout, weights), partial(converted, name, weights)
    variants = []
    for what, batch, height, width in cases:
        gmacs = network_size(sized(name, weights), 1, height, width).gmacs
        plain = Case(what, batch, height, width, "float32")
        variants.append(Variant("released", name, "released", plain, theirs, gmacs, tuned=False))
        variants += [
            Variant("released", name, "ours", one, ours, gmacs)
            for engine in (engines if what == "inference" else ["torch"])
            for one in (
                plain._replace(engine=engine),
                plain._replace(engine=engine, precision="bf16"),
            )
        ]
    return variants


def same_answers(
    name: str, checkout: Path, weights: Path, side: int
) -> dict[str, dict[str, float]]:
    """Compare our output with the release for the same weights, by precision; see `differences`.

    Args:
        name: Name of the network, amir or tat.
        checkout: Folder of the authors' code.
        weights: File for the weights that the checkout draws.
        side: Pixels per side of the image that both restore.
    """
    apart(draw_weights, name, checkout, weights)
    theirs = apart(answer, partial(released, name, checkout, weights), side, "float32")
    return {
        precision: differences(
            name, apart(answer, partial(converted, name, weights), side, precision), theirs
        )
        for precision in ("float32", "bf16")
    }


def measure(
    variants: Sequence[Variant], recipe: Recipe, rounds: int, matrix_side: int
) -> tuple[Peaks, list[Row]]:
    """Measure the machine and every variant in turn, each in a fresh process."""
    reached: list[Peaks] = []
    costs: list[list[Cost]] = [[] for _ in variants]
    for turn in range(rounds):
        reached.append(apart(peaks, recipe.device, recipe.seconds, matrix_side))
        for one, found in zip(variants, costs, strict=True):
            # Torch reads it when it is loaded, so the parent sets it: see `ask_for_huge_pages`.
            returns = one.tuned and one.case.what == "inference"
            os.environ["THP_MEM_ALLOC_ENABLE"] = "1" if returns else "0"
            found.append(apart(cost, one.open_network, one.case, recipe, one.tuned))
            what, batch, height, width, precision, _, engine = one.case
            _log.info(
                f"round {turn + 1} of {rounds}: {one.network} ({one.scale}) {what} of "
                f"{batch} x {height}x{width} in {precision} by {engine}, "
                f"{median(found[-1].seconds):.3g} s"
            )
    best = Peaks(*map(max, zip(*reached, strict=True)))
    return best, [as_row(*pair, best) for pair in zip(variants, costs, strict=True)]


def as_row(variant: Variant, costs: Sequence[Cost], peaks: Peaks) -> Row:
    """Medians over the passes of all rounds, and rates derived from them."""
    case, times = variant.case, [time for one in costs for time in one.seconds]
    seconds = median(times)
    peak = peaks.bf16 if case.precision == "bf16" else peaks.float32
    passes = 3 if case.what == "training" else 1
    gmacs = variant.gmacs * case.batch
    place: Row = {}
    if variant.curve is not None:
        place["curve"], place["value"] = variant.curve
    return place | {
        "what": case.what,
        "network": variant.network,
        "scale": variant.scale,
        "size": f"{case.height}x{case.width}",
        "batch": case.batch,
        "precision": case.precision,
        "engine": case.engine,
        "seconds": seconds,
        "slices_per_second": case.batch / seconds,
        "share_of_peak": share_of_peak(gmacs, passes, seconds, peak),
        "peak_memory_mib": median(one.memory_mib for one in costs),
        "passes": len(times),
        "gmacs": gmacs,
    }
