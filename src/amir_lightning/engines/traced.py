"""Networks as torch.export programs, from which the programs of other engines come."""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.precision import widen
from amir_lightning.networks.restoration_network import RestorationNetwork

_TRACED = (64, 96)  # size of the image that is traced for all sizes
_LARGEST = 4096  # rows and columns of an image that a program for all sizes takes


class _Fitting(nn.Module):
    """The network without its padding: programs take only images whose sides fit."""

    def __init__(self, network: RestorationNetwork, half: bool) -> None:
        super().__init__()
        self.network, self.in_bf16 = network, half

    def forward(self, lq: Tensor) -> Tensor:
        if not self.in_bf16:
            return self.network.restore(lq)
        with torch.autocast("cpu", torch.bfloat16):
            return self.network.restore(lq)


def traced(network: RestorationNetwork) -> torch.export.ExportedProgram:
    """Trace the restoring of one image of any size whose sides are multiples of the network's.

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
    return _export(_Fitting(network, half=False), image, ({**sides},))


def traced_for_size(
    network: RestorationNetwork,
    shape: Sequence[int],
    half: bool = False,
    wide: Sequence[str] = (),
) -> torch.export.ExportedProgram:
    """Trace the restoring of images of one size, in a fraction of the time of `traced`.

    Args:
        network: The network.
        shape: (1, C, H, W), whose sides fit.
        half: Compute in bfloat16 what autocast computes in bfloat16.
        wide: Names of modules of the network that compute in float32 all the same.

    Raises:
        InputError: The network has no module with weights of such a name, or does not call it.
    """
    called: set[str] = set()
    with _in_float32(network, wide, called):
        program = _export(_Fitting(network, half), torch.rand(*shape), None)
    if silent := [name for name in wide if name not in called]:
        raise InputError(
            f"{type(network).__name__} uses the weights of {', '.join(silent)} without calling it; "
            "name a module that holds it"
        )
    return program


def fitting(side: int, multiple: int) -> int:
    """Round a side up to one that programs for all sizes take."""
    return max(2, -(-side // multiple)) * multiple


def _export(module: _Fitting, image: Tensor, sides: Any) -> torch.export.ExportedProgram:
    with torch.no_grad(), warnings.catch_warnings(), module.network.as_written():
        warnings.simplefilter("ignore")
        return torch.export.export(module.eval(), (image,), dynamic_shapes=sides)


@contextlib.contextmanager
def _in_float32(network: nn.Module, names: Sequence[str], called: set[str]) -> Iterator[None]:
    """Return a context in which some modules compute in float32, and note those that are called."""
    modules = {
        name: module
        for name, module in network.named_modules()
        if name and next(module.parameters(), None) is not None
    }
    unknown = [name for name in names if name not in modules]
    if unknown:
        raise InputError(
            f"{type(network).__name__} has no module {', '.join(unknown)} with weights; choose "
            f"from {', '.join(name for name in modules if name.count('.') < 2)}"
        )

    def wide(name: str, run: Any) -> Any:
        def forward(*inputs: Tensor) -> Any:
            called.add(name)
            with torch.autocast("cpu", enabled=False):
                return run(*(widen(one) for one in inputs))

        return forward

    for name in names:
        modules[name].forward = wide(name, modules[name].forward)
    try:
        yield
    finally:
        for name in names:
            del modules[name].forward
