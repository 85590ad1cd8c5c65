"""Routing decisions and attention weights are made in float32, whatever autocast does around them.

Half precision turns close gates into ties, and overflows in sums over pixels and in exponentials.
"""

import torch
from torch import Tensor


def without_autocast(tensor: Tensor) -> torch.autocast:
    """Return a context in which autocast is off on the device of the tensor."""
    return torch.autocast(tensor.device.type, enabled=False)


def widen(tensor: Tensor) -> Tensor:
    """Return half precision as float32, and every wider type as it is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
