"""Programs of OpenVINO, the fastest engine on a CPU."""

import contextlib
import hashlib
import importlib.util
import inspect
import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from amir_lightning import networks
from amir_lightning.engines.cache import read_program, write_program
from amir_lightning.engines.traced import traced_for_size
from amir_lightning.errors import InputError
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.system.versions import version_of

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, InferRequest, Model

log = logging.getLogger(__name__)

TOLERANCES = {"float32": 1e-4, "bf16": 0.1}
"""Precisions, with the largest difference from torch; images lie in [0, 1]."""

_OPEN = 2  # programs that are in memory at a time, each for one size
_WORTH = 16  # images of one size for which compiling is worth its time


def installed() -> bool:
    """Tell whether OpenVINO can be imported."""
    return importlib.util.find_spec("openvino") is not None


class OpenVino:
    """Restores images by programs of OpenVINO, each compiled for one size on first use.

    A new program is compared with the network on one image before it is used.

    Attributes:
        given_up: Whether torch restores, because the network cannot be compiled.

    Args:
        network: The network, in evaluation mode on a CPU.
        precision: One of `TOLERANCES`. "bf16" computes in bfloat16 what autocast does.
        wide: Names of modules that compute in float32 all the same.
        folder: The user's cache of compiled programs; None keeps none.
        strict: Refuse what cannot be compiled; if False, torch restores it.
    """

    def __init__(
        self,
        network: RestorationNetwork,
        precision: str,
        wide: Sequence[str],
        folder: Path | None,
        strict: bool,
    ) -> None:
        from openvino import Core

        self._network, self._precision, self._wide = network, precision, tuple(wide)
        self._folder, self._strict = folder, strict
        self.given_up = False
        self._core = Core()
        self._about = _fingerprint(network, self._core)
        self._requests: dict[tuple[int, ...], InferRequest | None] = {}  # None: torch
        self._images: Counter[tuple[int, ...]] = Counter()

    def __call__(self, lq: Tensor) -> Tensor:
        """Restore (B, C, H, W), H and W multiples of the network's `size_multiple`.

        Raises:
            InputError: The size cannot be compiled, and the engine is strict.
        """
        request = self._open(lq.shape)
        if request is None:
            with self._network.as_written():
                return self._network.restore(lq)
        images = [np.ascontiguousarray(one.numpy()) for one in lq.detach().float().split(1)]
        restored = [request.infer({0: one}, share_inputs=True)[0] for one in images]
        return torch.cat([torch.from_numpy(one) for one in restored])

    def restores(self, images: int, channels: int, height: int, width: int) -> bool:
        """Tell whether OpenVINO restores images that come next, or torch.

        Unless the engine is strict, a size is compiled only if that is worth its time: for the
        images that come next and those that came before, or if its program is in the cache.

        Args:
            images: Number of images.
            channels: Channels of an image.
            height: Rows of an image, before padding.
            width: Columns of an image.

        Raises:
            InputError: The size cannot be compiled, and the engine is strict.
        """
        if self.given_up:
            return False
        shape = self._network.pad(torch.zeros(1, channels, height, width)).shape
        self._images[shape] += images
        kept = self._folder is not None and (self._folder / self._key(shape)).exists()
        few = self._images[shape] < _WORTH and not kept
        if few and not self._strict:
            self._requests[shape] = None
            return False
        if self._requests.get(shape) is None:
            self._requests.pop(shape, None)
        return self._open(shape) is not None

    def _open(self, shape: Sequence[int]) -> "InferRequest | None":
        key = (1, *shape[1:])
        if self.given_up or key in self._requests:
            return self._requests.get(key)
        used = [one for one, request in self._requests.items() if request is not None]
        for one in used[: len(used) - _OPEN + 1]:
            del self._requests[one]
        try:
            self._requests[key] = self._compiled(key).create_infer_request()
        except InputError as error:
            if self._strict:
                raise
            log.warning("restoring by torch: %s", error)
            self.given_up = True
        return self._requests.get(key)

    def _compiled(self, shape: tuple[int, ...]) -> "CompiledModel":
        key, size = self._key(shape), "x".join(map(str, shape[2:]))
        kept = None if self._folder is None else read_program(self._folder, key)
        if kept is not None:
            try:
                return self._core.import_model(kept, "CPU", _options())
            except RuntimeError as error:
                log.warning("a program in the cache is compiled anew: %s", _first_line(error))
        log.info("compiling the network for slices of %s", size)
        lq = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode(), self._network.as_written():
            expected = self._network.restore(lq)
        half = self._precision == "bf16"
        name = type(self._network).__name__
        try:
            model = convert(traced_for_size(self._network, shape, half, self._wide))
            compiled = self._core.compile_model(model, "CPU", _options())
        except InputError:
            raise
        except Exception as error:  # torch and OpenVINO raise many types
            raise InputError(f"OpenVINO cannot run {name} ({_first_line(error)})") from error
        difference = float(np.abs(compiled(lq.numpy())[0] - expected.numpy()).max())
        if not difference <= TOLERANCES[self._precision]:
            raise InputError(
                f"OpenVINO's program of {name} differs from it by {difference:.2g} of the range"
            )
        if self._folder is not None:
            write_program(self._folder, key, compiled.export_model().getvalue())
        return compiled

    def _key(self, shape: Sequence[int]) -> str:
        """Name of a program in the cache, made from all that it depends on."""
        about = (self._about, tuple(shape), self._precision, self._wide)
        return hashlib.sha256(repr(about).encode()).hexdigest() + ".openvino"


def convert(program: torch.export.ExportedProgram) -> "Model":
    """Convert a program of torch.export to a model of OpenVINO."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.fx_decoder import TorchFXPythonDecoder

    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it warns of operations that this version of torch lacks
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            decoder = TorchFXPythonDecoder.from_exported_program(program)
    finally:
        logging.disable(disabled)
    # `openvino.convert_model` does the same, and sends telemetry.
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    (image,) = (
        node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs
    )
    sides = [side if isinstance(side, int) else -1 for side in image.meta["val"].shape]
    model.reshape(sides)
    model.input(0).set_names({"lq"})
    model.output(0).set_names({"restored"})
    return model


def _options() -> dict[str, object]:
    return {
        # The types of the program are meant. OpenVINO's own default is bf16 on many CPUs.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # two commands would be pinned to the same cores
    }


def _fingerprint(network: RestorationNetwork, core: "Core") -> str:
    """Hash weights, settings and code of a network, the versions of its engine, and the CPU."""
    digest = hashlib.sha256()
    plain = (bool, int, float, str, tuple, list, type(None))
    for name, module in network.named_modules():
        settings = {key: value for key, value in vars(module).items() if isinstance(value, plain)}
        digest.update(repr((name, type(module).__qualname__, sorted(settings.items()))).encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    code = set(Path(str(networks.__file__)).parent.rglob("*.py"))
    for module in network.modules():
        with contextlib.suppress(
            OSError, TypeError
        ):  # a class that was typed, not read from a file
            code.add(Path(inspect.getfile(type(module))))
    for path in sorted(code):
        digest.update(path.read_bytes())
    versions = [version_of(name) for name in ("torch", "openvino")]
    cpu = [
        core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
    ]
    digest.update(repr((versions, cpu)).encode())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    """The first line that says something; OpenVINO begins with places in its own code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "FrontEnd API"))]
    return next(iter(told or lines), type(error).__name__)
