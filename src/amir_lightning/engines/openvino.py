"""Programs of OpenVINO, the fastest engine on a CPU."""

import hashlib
import importlib.util
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from amir_lightning import networks
from amir_lightning.engines.cache import read_program, write_program
from amir_lightning.engines.traced import fitting, takes, traced
from amir_lightning.errors import InputError
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.system.versions import version_of

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, Model

log = logging.getLogger(__name__)

HINTS = {"float32": "f32", "bf16": "bf16"}
"""OpenVINO's names of the precisions. Its own default is bf16 on many CPUs."""

_TOLERANCES = {"float32": 1e-4, "bf16": 0.1}  # largest difference from torch; images lie in [0, 1]
_CHECKED = (64, 96)  # size of the image on which a program is compared before it is used


def installed() -> bool:
    """Tell whether OpenVINO can be imported."""
    return importlib.util.find_spec("openvino") is not None


class Program:
    """Restores images of any size by a compiled program.

    Images that are smaller or larger than programs take are restored by torch.

    Args:
        network: The network of the program.
        compiled: The program.
    """

    def __init__(self, network: RestorationNetwork, compiled: "CompiledModel") -> None:
        self._network = network
        self._request = compiled.create_infer_request()

    def __call__(self, lq: Tensor) -> Tensor:
        """Restore (B, C, H, W), H and W multiples of the network's `size_multiple`."""
        if not takes(lq, self._network.size_multiple):
            with self._network.as_written():
                return self._network.restore(lq)
        images = [np.ascontiguousarray(one.numpy()) for one in lq.float().split(1)]
        restored = [self._request.infer({0: one}, share_inputs=True)[0] for one in images]
        return torch.cat([torch.from_numpy(one) for one in restored])


def open_program(network: RestorationNetwork, precision: str, folder: Path) -> Program:
    """Take the program of a network from the cache, or make it.

    Args:
        network: The network, in evaluation mode on a CPU.
        precision: One of `HINTS`.
        folder: The user's cache.

    Raises:
        InputError: The network cannot be such a program, or the program restores other images.
    """
    from openvino import Core

    core = Core()
    key = f"{_fingerprint(network, core, precision)}.openvino"
    kept = read_program(folder, key)
    if kept is not None:
        try:
            compiled = core.import_model(kept, "CPU", _options(precision))
            return _checked(network, compiled, precision)
        except (InputError, RuntimeError) as error:
            log.warning("%s is compiled anew: %s", folder / key, _first_line(error))
    log.info("compiling the network for OpenVINO, once for all sizes")
    try:
        compiled = core.compile_model(convert(network), "CPU", _options(precision))
    except InputError:
        raise
    except Exception as error:  # torch and OpenVINO raise many types for what they cannot convert
        raise InputError(
            f"{type(network).__name__} cannot be converted ({_first_line(error)})"
        ) from error
    program = _checked(network, compiled, precision)
    write_program(folder, key, compiled.export_model())
    return program


def convert(network: RestorationNetwork) -> "Model":
    """Convert a network to a model of OpenVINO for images whose sides fit."""
    from openvino import PartialShape
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decoder = TorchFXPythonDecoder.from_exported_program(traced(network))
    # `openvino.convert_model` does the same, and sends telemetry.
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    channels = model.input(0).partial_shape[1]
    model.reshape(PartialShape([1, channels, -1, -1]))
    model.input(0).set_names({"lq"})
    model.output(0).set_names({"restored"})
    return model


def _options(precision: str) -> dict[str, object]:
    return {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # two commands would be pinned to the same cores
    }


def _checked(network: RestorationNetwork, compiled: "CompiledModel", precision: str) -> Program:
    """Compare a program with the network on one image, so that no wrong one is ever used."""
    program = Program(network, compiled)
    sides = (fitting(side, network.size_multiple) for side in _CHECKED)
    channels = compiled.input(0).partial_shape[1].get_length()
    lq = torch.rand(1, channels, *sides, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), network.as_written():
        difference = float((program(lq) - network.restore(lq)).abs().max())
    if not difference <= _TOLERANCES[precision]:
        raise InputError(
            f"its program differs from {type(network).__name__} by {difference:.2g} of the range"
        )
    return program


def _fingerprint(network: RestorationNetwork, core: "Core", precision: str) -> str:
    """Hash weights, settings and code of a network, and all that its program depends on."""
    digest = hashlib.sha256()
    plain = (bool, int, float, str, tuple, list, type(None))
    for name, module in network.named_modules():
        settings = {key: value for key, value in vars(module).items() if isinstance(value, plain)}
        digest.update(repr((name, type(module).__qualname__, sorted(settings.items()))).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    for path in sorted(Path(str(networks.__file__)).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    versions = [version_of(name) for name in ("torch", "openvino")]
    cpu = core.get_property("CPU", "FULL_DEVICE_NAME")
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    digest.update(repr((precision, versions, cpu, capabilities)).encode())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
