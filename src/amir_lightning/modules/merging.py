"""Merging of an evaluation's results over processes."""

from collections.abc import Mapping
from typing import TypeVar

import torch

K = TypeVar("K")
V = TypeVar("V")


def merged(own: Mapping[K, V], processes: int) -> dict[K, V]:
    """Merge the mappings of all processes; each process gets the same result.

    Args:
        own: Results of this process by slice; a slice that several processes have counts once.
        processes: Number of processes; all of them have to call this.
    """
    if processes == 1:
        return dict(own)
    gathered: list[Mapping[K, V]] = [{} for _ in range(processes)]
    torch.distributed.all_gather_object(gathered, own)
    return {key: value for one in gathered for key, value in one.items()}
