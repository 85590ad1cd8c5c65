"""Which parameters of a network learn: for fine-tuning on few scans."""

from collections.abc import Iterator

import torch
from torch import nn

from amir_lightning.errors import InputError
from amir_lightning.networks import RestorationNetwork

TRAINS = ("all", "head", "routing")
_SIDE = 64  # of the image that shows which layer comes last


def freeze(network: RestorationNetwork, trains: str) -> None:
    """Let only some parameters of a network learn, in place.

    Args:
        network: The network.
        trains: "all" parameters; those of normalisations and of the last layer, the "head"; or
            those of "routing", which a network names in `RestorationNetwork.routing`.

    Raises:
        InputError: The choice is unknown, or the network has no such parameters.
    """
    if trains not in TRAINS:
        raise InputError(f"optimizer.trains is '{trains}'; choose from {', '.join(TRAINS)}")
    if trains == "all":
        return
    parts = list(network.routing) if trains == "routing" else list(_head(network))
    learning = {id(one) for part in parts for one in part.parameters()}
    if not learning:
        raise InputError(
            f"optimizer.trains={trains} leaves {type(network).__name__} nothing to learn, because "
            f"it has no {'routing' if trains == 'routing' else 'layer'}; type optimizer.trains=head"
            " or optimizer.trains=all"
        )
    for parameter in network.parameters():
        if id(parameter) not in learning:
            parameter.requires_grad_(False)


def _head(network: RestorationNetwork) -> Iterator[nn.Module]:
    """Yield the normalisations of a network, and the last layer that computes the image."""
    yield from (one for one in network.modules() if "Norm" in type(one).__name__)
    last: list[nn.Module] = []

    def ran(module: nn.Module, *_: object) -> None:
        last[:] = [module]

    leaves = [one for one in network.modules() if not list(one.children())]
    hooks = [one.register_forward_hook(ran) for one in leaves if list(one.parameters())]
    training = network.training
    parameter = next(network.parameters(), torch.zeros(()))
    image = torch.zeros(1, 1, _SIDE, _SIDE, dtype=parameter.dtype, device=parameter.device)
    try:
        with torch.no_grad(), torch.random.fork_rng():
            network.eval()(image)  # eval: running statistics must not see the image
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    yield from last
