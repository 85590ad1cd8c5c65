"""Computing in float32 inside of autocast.

Routing decisions and attention weights need it: half precision turns close gates into ties and
overflows in exponentials and in sums over pixels.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context that turns autocast off on the device of the tensor."""
    if torch.compiler.is_exporting() and not torch.is_autocast_enabled(tensor.device.type):
        return nullcontext()  # in a program, each context would be a program of its own
    return torch.autocast(tensor.device.type, enabled=False)


def widen(tensor: Tensor) -> Tensor:
    """Convert half precision to float32; return wider types unchanged."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
