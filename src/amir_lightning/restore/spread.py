"""Several restorations of one slice, whose spread says how far a result depends on chance."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor, nn

from amir_lightning.engines.choice import Engine, Label
from amir_lightning.errors import InputError
from amir_lightning.restore.request import Uncertainty
from amir_lightning.runs.folder import RunFolder, find_run, run_folders
from amir_lightning.weights.source import Weights, load_weights

log = logging.getLogger(__name__)

_BEST = "checkpoints/best.ckpt"


@dataclass(frozen=True)
class Spread:
    """Other ways to restore what the network restores.

    Attributes:
        over: What differs between them, in words.
        others: Each maps normalised images to restored ones.
        weights: Weights that they use besides those that restore.
        turned: Whether half of them restore images on their side.
    """

    over: str
    others: Sequence[Callable[[Tensor], Tensor]]
    weights: Sequence[Weights] = ()
    turned: bool = False


def spread_over(
    kind: Uncertainty, weights: Weights, source: str, runs_dir: Path, trusted: Sequence[str]
) -> Spread:
    """Collect the other ways to restore.

    Args:
        kind: "flips" for the seven other orientations of a slice, "seeds" for finished runs that
            differ from this one by their seed alone.
        weights: The network that restores.
        source: Where it came from, as typed.
        runs_dir: Folder of the runs.
        trusted: Modules whose networks may be named.

    Raises:
        InputError: The kind is unknown, or there is no other seed.
    """
    if kind not in get_args(Uncertainty):
        raise InputError(f"uncertainty is '{kind}'; choose from {', '.join(get_args(Uncertainty))}")
    if kind == "flips":
        ways = [(mirrored, quarters) for mirrored in (False, True) for quarters in range(4)][1:]
        others = [partial(_turned, weights.network, *way) for way in ways]
        return Spread("8 flips and rotations", others, turned=True)
    runs = _other_seeds(source, runs_dir)
    try:
        found = [load_weights(str(run.path), runs_dir, trusted) for run in runs]
    except InputError as error:
        names = ", ".join(run.name for run in runs)
        raise InputError(
            f"uncertainty=seeds restores with {names}, too, and {str(error).split(';')[0]}; train "
            "that run again or remove its folder, or type uncertainty=flips"
        ) from error
    log.info("uncertainty over the seeds of %s and %s", source, ", ".join(run.name for run in runs))
    return Spread(f"{len(runs) + 1} seeds", [one.network for one in found], found)


def announce(
    engines: Sequence[Engine], images: int, size: tuple[int, int], spread: Spread | None
) -> Label:
    """Tell each engine how many images of which size come next; returns what restores."""
    height, width = size
    engine, *others = engines
    for other in others:
        other.restores(images, 1, height, width)
    if spread and spread.turned:
        if height != width:
            engine.restores(4 * images, 1, width, height)
        images *= 8 if height == width else 4
    return engine.restores(images, 1, height, width)


def _turned(network: nn.Module, mirrored: bool, quarters: int, lq: Tensor) -> Tensor:
    """Restore a mirrored and rotated image, and turn the result back."""
    turned = torch.rot90(lq.flip(-1) if mirrored else lq, quarters, (-2, -1))
    back = torch.rot90(network(turned.contiguous()), -quarters, (-2, -1))
    return back.flip(-1) if mirrored else back


def _other_seeds(source: str, runs_dir: Path) -> list[RunFolder]:
    try:
        run = find_run(source, runs_dir, _BEST)
        own = run.identity
    except InputError as error:
        raise InputError(
            f"uncertainty=seeds compares runs, and weights={source} names none; type "
            "weights=<run>, or uncertainty=flips"
        ) from error
    folder = run.path.parent
    found = [one for one in run_folders(folder) if _differs_by_seed(one, own)]
    if not found:
        raise InputError(
            f"uncertainty=seeds needs a finished run like {run.name} with another seed, "
            f"and the folder {folder} has none; train it with seed=<another>, or type "
            "uncertainty=flips"
        )
    return found


def _differs_by_seed(run: RunFolder, identity: dict[str, object] | None) -> bool:
    try:
        other = run.identity
    except InputError:  # a damaged folder is not one of them
        return False
    if not (identity and other and run.finished and (run.path / _BEST).exists()):
        return False
    return {key for key in {*identity, *other} if identity.get(key) != other.get(key)} == {"seed"}
