"""Optimisers of training, Sec. 3.2; the benchmark uses them as well."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Adam, AdamW

from amir_lightning.errors import InputError


def adam(
    parameters: Iterable[nn.Parameter], rate: float, betas: Sequence[float], fused: bool = True
) -> Adam:
    """Build Adam at its first learning rate; if fused, one kernel updates all parameters."""
    first, second = betas
    return Adam(parameters, lr=rate, betas=(first, second), fused=fused)


def check_clip(theta: object) -> None:
    """Check the option of adjustable gradient clipping.

    Raises:
        InputError: It is neither a number above 0 nor None.
    """
    if theta is not None and not (isinstance(theta, int | float) and theta > 0):
        raise InputError(
            f"optimizer.adjustable_clip is {theta!r}, expected a number above 0, or null for "
            "no clipping; type for instance optimizer.adjustable_clip=0.001"
        )


def chosen(parameters: Iterable[nn.Parameter], options: Mapping[str, Any], fused: bool) -> Adam:
    """Build Adam or AdamW from its options, at its first learning rate.

    Args:
        parameters: Parameters to train.
        options: Optimiser node of the configuration; runs of earlier versions lack ``algorithm``
            and ``weight_decay``.
        fused: Update all parameters in one kernel.

    Raises:
        InputError: An option is out of range.
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
