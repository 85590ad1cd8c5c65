"""Optimisers of training, Sec. 3.2; the benchmark uses them as well."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hydra.utils import instantiate
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

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


def chosen(
    parameters: Iterable[nn.Parameter], options: Mapping[str, Any], fused: bool
) -> Optimizer:
    """Build the optimiser of the options, at its first learning rate.

    Args:
        parameters: Parameters that it trains; those that are frozen are left out.
        options: The optimizer node. Its ``algorithm`` is "adam", "adamw", or a Hydra node of
            another class, which takes the parameters and ``lr``. Runs of earlier versions have no
            such key.
        fused: Whether one kernel of Adam or AdamW updates all parameters.

    Raises:
        InputError: The optimiser cannot have these options.
    """
    parameters = [one for one in parameters if one.requires_grad]
    rates, betas = (options["learning_rate"], options["final_learning_rate"]), options["betas"]
    if min(rates) < 0 or len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise InputError(
            f"learning rates {rates} and betas {tuple(betas)} are no options of Adam; expected "
            "rates from 0 on and two betas in [0, 1), for instance optimizer.betas=[0.9,0.999]"
        )
    algorithm, decay = options.get("algorithm", "adam"), options.get("weight_decay", 0.0)
    if isinstance(algorithm, Mapping):
        return _of_class(algorithm, parameters, rates[0], decay)
    if algorithm not in ("adam", "adamw"):
        raise InputError(
            f"optimizer.algorithm is '{algorithm}'; choose from adam, adamw, or type a class as "
            "'optimizer.algorithm={_target_: torch.optim.SGD, momentum: 0.9}'"
        )
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


def _of_class(
    node: Mapping[str, Any], parameters: Iterable[nn.Parameter], rate: float, decay: float
) -> Optimizer:
    if decay:
        raise InputError(
            f"optimizer.weight_decay is {decay}, which is for adamw; type it below the class: "
            f"+optimizer.algorithm.weight_decay={decay}"
        )
    if "_target_" not in node:
        raise InputError(
            f"optimizer.algorithm is {dict(node)}, expected a class and its options; type "
            "'optimizer.algorithm={_target_: torch.optim.SGD, momentum: 0.9}'"
        )
    built = instantiate(node, _partial_=True, _convert_="all")
    try:
        optimizer = built(parameters, lr=rate)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{node['_target_']} refuses its options ({error}); change optimizer.algorithm"
        ) from error
    if not isinstance(optimizer, Optimizer):
        raise InputError(
            f"{node['_target_']} is no optimiser; type a subclass of torch.optim.Optimizer as "
            "optimizer.algorithm._target_"
        )
    return optimizer
