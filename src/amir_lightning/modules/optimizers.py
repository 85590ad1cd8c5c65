"""The optimiser of every training, Sec. 3.2, which the benchmark times, too."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Adam, AdamW

from amir_lightning.errors import InputError


def adam(
    parameters: Iterable[nn.Parameter], rate: float, betas: Sequence[float], fused: bool = True
) -> Adam:
    """Adam at its first learning rate; fused, one kernel updates all parameters."""
    first, second = betas
    return Adam(parameters, lr=rate, betas=(first, second), fused=fused)


def chosen(parameters: Iterable[nn.Parameter], options: Mapping[str, Any], fused: bool) -> Adam:
    """The optimiser of the options, Adam or AdamW, at its first learning rate.

    Args:
        parameters: What it trains.
        options: The optimizer node; runs of earlier versions name no algorithm.
        fused: Whether one kernel updates all parameters.

    Raises:
        InputError: An option is none of Adam or AdamW.
    """
    rates, betas = (options["learning_rate"], options["final_learning_rate"]), options["betas"]
    if min(rates) < 0 or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise InputError(
            f"learning rates {rates} and betas {tuple(betas)} are no options of Adam; expected "
            "rates from 0 on and two betas in [0, 1), for instance optimizer.betas=[0.9,0.999]"
        )
    algorithm, decay = options.get("algorithm", "adam"), options.get("weight_decay", 0.0)
    if algorithm not in ("adam", "adamw"):
        raise InputError(f"optimizer.algorithm is '{algorithm}'; choose from adam, adamw")
    if decay < 0 or (decay and algorithm == "adam"):
        raise InputError(
            f"optimizer.weight_decay is {decay} and optimizer.algorithm {algorithm}, expected 0, "
            "or a number above 0 with adamw; type optimizer.algorithm=adamw "
            "optimizer.weight_decay=0.01"
        )
    if algorithm == "adam":
        return adam(parameters, rates[0], betas, fused)
    first, second = betas
    return AdamW(parameters, lr=rates[0], betas=(first, second), weight_decay=decay, fused=fused)
