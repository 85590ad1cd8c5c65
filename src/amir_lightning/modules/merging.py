"""What several processes saw of an evaluation, as if one had seen it all."""

from collections.abc import Mapping
from typing import TypeVar

import torch

K = TypeVar("K")
V = TypeVar("V")


def merged(own: Mapping[K, V], processes: int) -> dict[K, V]:
    """Merge the mappings of all processes; each process gets the same one.

    Args:
        own: What this process saw, by slice; a slice that several saw counts once.
        processes: Number of processes, all of which have to call this.
    """
    if processes == 1:
        return dict(own)
    gathered: list[Mapping[K, V]] = [{} for _ in range(processes)]
    torch.distributed.all_gather_object(gathered, own)
    return {key: value for one in gathered for key, value in one.items()}
