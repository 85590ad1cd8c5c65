"""Checkpoints of the releases of TAT and Restore-RWKV."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.checkpoints import official
from amir_lightning.networks.checkpoints.names import Rule, renamed

N = TypeVar("N", bound=nn.Module)
DEPLOYED = re.compile(r"\.omni_shift\.conv5x5_\w+\.weight$")
"""Second copy of a shift's kernel, which Restore-RWKV's release computes from the others."""


class Sizes(NamedTuple):
    """Constructor arguments of both networks that the shapes of a checkpoint determine."""

    in_channels: int
    width: int
    depths: tuple[int, ...]
    refinement_depth: int


def load(
    kind: type[N], source: str | Path | Mapping[str, object], stem: str, rules: Sequence[Rule]
) -> N:
    """Build a network from a checkpoint.

    Args:
        kind: Class of the network; arguments that are not inferred have the values of the release.
        source: Checkpoint file, or its parameters by official name.
        stem: Official name of the first convolution's weight.
        rules: Rules from our names to theirs.

    Raises:
        InputError: The file is unreadable, or a name or shape does not match the release.
    """
    state = {k: v for k, v in official.read(source).items() if not DEPLOYED.search(k)}
    give = f"give a checkpoint of the released {kind.__name__}"
    if stem not in state or state[stem].ndim != 4:
        raise InputError(f"the checkpoint has no {stem} of four dimensions; {give}")
    network = kind(**infer_sizes(state, stem)._asdict())
    theirs = renamed(network.state_dict(), rules)
    found = shaped({ours: state[name] for ours, name in theirs.items() if name in state}, network)
    for ours, value in network.state_dict().items():
        if ours not in found:
            raise InputError(f"the checkpoint has no {theirs[ours]}; {give} with all its entries")
        if found[ours].shape != value.shape:
            raise InputError(
                f"{theirs[ours]} has shape {tuple(state[theirs[ours]].shape)}, expected "
                f"{tuple(value.shape)}; {give}"
            )
    for name in state:
        if name not in theirs.values():
            raise InputError(
                f"the checkpoint has {name}, which the released {kind.__name__} does not have; "
                f"{give}"
            )
    network.load_state_dict(found)
    return network


def infer_sizes(state: Mapping[str, Tensor], stem: str) -> Sizes:
    """Infer the sizes of a network from its official parameters."""
    width, in_channels = state[stem].shape[:2]
    stages = ["encoder_level1", "encoder_level2", "encoder_level3", "latent", "refinement"]
    *depths, refinement = (_count(state, stage) for stage in stages)
    return Sizes(in_channels, width, tuple(depths), refinement)


def shaped(found: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Remove axes of length one, which stand for images or depth in TAT's release."""
    own = network.state_dict()

    def real(value: Tensor) -> list[int]:
        return [side for side in value.shape if side > 1]

    return {
        name: value.reshape(own[name].shape) if real(value) == real(own[name]) else value
        for name, value in found.items()
    }


def _count(state: Mapping[str, Tensor], stage: str) -> int:
    numbers = (re.match(rf"{stage}\.(\d+)\.", name) for name in state)
    return len({match[1] for match in numbers if match})
