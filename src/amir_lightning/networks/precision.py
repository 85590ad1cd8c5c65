"""Computing in float32 inside of autocast.

Routing decisions and attention weights need it: half precision turns close gates into ties and
overflows in exponentials and in sums over pixels.
"""

import torch
from torch import Tensor


def without_autocast(tensor: Tensor) -> torch.autocast:
    """Return a context that turns autocast off on the device of the tensor."""
    return torch.autocast(tensor.device.type, enabled=False)


def widen(tensor: Tensor) -> Tensor:
    """Convert half precision to float32; return wider types unchanged."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
