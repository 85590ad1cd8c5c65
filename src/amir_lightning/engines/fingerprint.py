"""What a program of a network depends on, besides its engine and the machine."""

import contextlib
import hashlib
import inspect
from pathlib import Path

import torch
from torch import nn

from amir_lightning import networks


def fingerprint(network: nn.Module) -> str:
    """Hash the weights, settings and code of a network, and the code and torch that trace it."""
    digest = hashlib.sha256(str(torch.__version__).encode())
    plain = (bool, int, float, str, tuple, list, type(None))
    for name, module in network.named_modules():
        settings = {key: value for key, value in vars(module).items() if isinstance(value, plain)}
        digest.update(repr((name, type(module).__qualname__, sorted(settings.items()))).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    code = set(Path(str(networks.__file__)).parent.rglob("*.py"))
    code |= set(Path(__file__).parent.glob("*.py"))
    for module in network.modules():
        with contextlib.suppress(OSError, TypeError):  # a class that was typed, not read
            code.add(Path(inspect.getfile(type(module))))
    for path in sorted(code):
        digest.update(path.read_bytes())
    return digest.hexdigest()
