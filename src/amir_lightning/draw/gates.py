"""Gates of the spatial routing modules for a slice."""

import torch
from torch import Tensor

from amir_lightning.draw.finished_run import FinishedRun, Restored
from amir_lightning.errors import InputError


def gates_of(run: FinishedRun, one: Restored) -> list[Tensor]:
    """Crop the padding from the gates of each module; each is (H', W', M) in float64.

    Raises:
        InputError: The network has no gates.
    """
    if not one.report.gates:
        raise InputError(
            f"{run.network_name} has no gates; draw a run of a network that routes pixels, such as "
            "network=amir"
        )
    height, width = one.hq.shape
    found = []
    for level, gates in enumerate(one.report.gates):
        rows, columns = (-(-side // 2**level) for side in (height, width))
        found.append(gates[0, :rows, :columns].double().cpu())
    return found


def top_share(gates: Tensor) -> Tensor:
    """Share of pixels for which each expert has the largest gate, (H', W', M) to (M,)."""
    experts = gates.shape[-1]
    first = gates.argmax(dim=-1).flatten()
    return torch.bincount(first, minlength=experts).double() / len(first)
