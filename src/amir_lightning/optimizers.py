"""The optimiser of every training, Sec. 3.2, which the benchmark times, too."""

from collections.abc import Iterable, Sequence

from torch import nn
from torch.optim import Adam


def adam(
    parameters: Iterable[nn.Parameter], rate: float, betas: Sequence[float], fused: bool = True
) -> Adam:
    """Adam at its first learning rate; fused, one kernel updates all parameters."""
    first, second = betas
    return Adam(parameters, lr=rate, betas=(first, second), fused=fused)
