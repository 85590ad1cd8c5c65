"""Load the authors' network from a checkout of their code, with the same weights as ours.

The code is imported from the folder that the user names, in a separate process.
"""

import importlib.util
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amir_lightning.bench.cost import Build
from amir_lightning.errors import InputError
from amir_lightning.networks import AMIR, TAT, RestorationNetwork
from amir_lightning.networks.checkpoints import names, official, successors

NETWORKS: dict[str, type[AMIR] | type[TAT]] = {"amir": AMIR, "tat": TAT}
"""Ours, by the names of released networks; their classes have the same names."""

NETWORK_FILES = {"amir": Path("model") / "Model_AMIR.py", "tat": Path("model") / "TAT.py"}
"""Where a checkout has each network."""


class Answer(NamedTuple):
    """Output and gradients of a network for one image in evaluation.

    Attributes:
        image: Restored image.
        gradients: Gradients of the L1 distance to a fixed image, by parameter.
    """

    image: Tensor
    gradients: dict[str, Tensor]


def released(name: str, folder: Path, weights: Path | None = None) -> Build:
    """Build the network of a checkout.

    Args:
        name: Name of the network.
        folder: The checkout.
        weights: File of its parameters; None keeps its random initial ones.

    Raises:
        InputError: The folder holds no such network, or its code cannot be imported.
    """
    path = folder / NETWORK_FILES[name]
    try:
        spec = importlib.util.spec_from_file_location(f"released_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        network = cast(Callable[[], nn.Module], getattr(module, NETWORKS[name].__name__))
    except Exception as error:  # the checkout may raise anything
        raise InputError(
            f"released={folder}: {NETWORK_FILES[name]} cannot be imported ({type(error).__name__}: "
            f"{error}); give an unchanged checkout of the authors' code"
        ) from error
    return partial(_with_weights, network, weights)


def _with_weights(network: Callable[[], nn.Module], weights: Path | None) -> nn.Module:
    built = network()
    if weights is not None:
        built.load_state_dict(torch.load(weights, weights_only=True, mmap=True))
    return built


def converted(name: str, weights: Path) -> Build:
    """Build our network with the weights of a released checkpoint."""
    # Map the file, so that no copy of it counts as memory.
    return lambda: NETWORKS[name].from_official(torch.load(weights, weights_only=True, mmap=True))


def sized(name: str, weights: Path) -> Callable[[], RestorationNetwork]:
    """Build our network in the size of a released checkpoint, without its weights."""
    state = official.read(weights)
    if name == "amir":
        return partial(AMIR, **official.infer_sizes(state)._asdict())
    return partial(TAT, **successors.infer_sizes(state, "patch_embed.proj.weight")._asdict())


def draw_weights(name: str, folder: Path, weights: Path) -> None:
    """Write random weights from the checkout, none of them zero, so that no branch is silent."""
    torch.manual_seed(0)
    network = released(name, folder)()
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.1)
    torch.save(network.state_dict(), weights)


def answer(open_network: Callable[[], Build], side: int, precision: str) -> Answer:
    """Restore a random image of side x side pixels, and compute gradients of an L1 distance."""
    network = open_network()().eval()
    random = torch.Generator().manual_seed(0)
    lq, hq = torch.rand(2, 1, 1, side, side, generator=random)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        image = network(lq)
    F.l1_loss(image.float(), hq).backward()
    gradients = {
        name: torch.zeros_like(one) if one.grad is None else one.grad
        for name, one in network.named_parameters()
    }
    return Answer(image.detach().float(), gradients)


def differences(name: str, ours: Answer, theirs: Answer) -> dict[str, float]:
    """Largest absolute difference of outputs, and relative difference of all gradients."""
    if name == "amir":
        under_our_names = official.translate(theirs.gradients, ours.gradients)
    else:  # an axis of length one for the images
        under_our_names = {
            one: theirs.gradients[other].view_as(ours.gradients[one])
            for one, other in names.renamed(ours.gradients, names.TAT).items()
        }
    return {
        "output": float((ours.image - theirs.image).abs().max()),
        "gradient": relative_difference(ours.gradients, under_our_names),
    }


def relative_difference(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Norm of all differences over the norm of all expected tensors.

    Raises:
        ValueError: The names differ.
    """
    if found.keys() != expected.keys():
        raise ValueError(f"unmatched parameters: {sorted(found.keys() ^ expected.keys())}")
    squares = [(found[name] - expected[name]).double().square().sum() for name in expected]
    norms = [value.double().square().sum() for value in expected.values()]
    return float((torch.stack(squares).sum() / torch.stack(norms).sum()).sqrt())
