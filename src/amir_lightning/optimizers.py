"""The optimiser of every training, Sec. 3.2, which the benchmark times, too."""

from collections.abc import Iterable, Sequence

from torch import nn
from torch.optim import Adam, AdamW


def adam(
    parameters: Iterable[nn.Parameter],
    rate: float,
    betas: Sequence[float],
    fused: bool = True,
    weight_decay: float | None = None,
) -> Adam:
    """Adam at its first learning rate, AdamW with a weight decay.

    Fused, one kernel updates all parameters.
    """
    first, second = betas
    if weight_decay is None:
        return Adam(parameters, lr=rate, betas=(first, second), fused=fused)
    decay = weight_decay
    return AdamW(parameters, lr=rate, betas=(first, second), weight_decay=decay, fused=fused)
