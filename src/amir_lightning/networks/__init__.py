"""Networks: plain modules from tensors to tensors, without Lightning, configuration or tasks.

Dimension letters: B batch, C channels, H height, W width, N instructions, M experts, K chosen
experts, T tokens (pixels).
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from amir_lightning.networks.amir import AMIR, Routed
from amir_lightning.networks.restoration import RestorationNetwork
from amir_lightning.networks.restormer import Restormer

__all__ = ["AMIR", "RestorationNetwork", "Restormer", "Routed", "Routing"]


@runtime_checkable
class Routing(Protocol):
    """A network that reports its routing; `isinstance(network, Routing)` tells."""

    def route(self, lq: Tensor) -> Routed:
        """Restore images and report balance loss, gates and instruction."""
        ...
