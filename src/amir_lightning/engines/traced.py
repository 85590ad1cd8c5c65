"""A network as one torch.export program for all sizes, from which other engines' programs come."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.restoration_network import RestorationNetwork

_TRACED = (64, 96)  # size of the image that is traced
_LARGEST = 4096  # rows and columns of an image that a program takes


class _Fitting(nn.Module):
    """The network without its padding: programs take only images whose sides fit."""

    def __init__(self, network: RestorationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, lq: Tensor) -> Tensor:
        return self.network.restore(lq)


def traced(network: RestorationNetwork) -> torch.export.ExportedProgram:
    """Trace the restoring of one image whose sides are multiples of the network's.

    Raises:
        InputError: The network has an operation whose steps depend on the size of the image.
    """
    if network.follows_size is not None:
        raise InputError(
            f"{type(network).__name__} {network.follows_size}, whose number follows the size of "
            "the image, and cannot be one program for all sizes"
        )
    multiple = network.size_multiple
    height = torch.export.Dim("height", min=2, max=_LARGEST // multiple)
    width = torch.export.Dim("width", min=2, max=_LARGEST // multiple)
    sides: dict[int, Any] = {2: multiple * height, 3: multiple * width}
    image = torch.rand(1, 1, *(fitting(side, multiple) for side in _TRACED))
    with torch.no_grad(), warnings.catch_warnings(), network.as_written():
        warnings.simplefilter("ignore")
        return torch.export.export(_Fitting(network).eval(), (image,), dynamic_shapes=({**sides},))


def takes(lq: Tensor, multiple: int) -> bool:
    """Tell whether an image has a size for which programs are made."""
    return all(2 * multiple <= side <= _LARGEST for side in lq.shape[-2:])


def fitting(side: int, multiple: int) -> int:
    """Round a side up to one that programs take."""
    return max(2, -(-side // multiple)) * multiple
