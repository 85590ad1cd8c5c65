"""Programs of OpenVINO, the fastest engine on a CPU."""

import functools
import hashlib
import importlib.util
import logging
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from amir_lightning.engines.cache import is_kept, read_program, write_program
from amir_lightning.engines.fingerprint import fingerprint
from amir_lightning.engines.traced import traced_for_size
from amir_lightning.errors import InputError
from amir_lightning.networks.restoration_network import RestorationNetwork

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, InferRequest, Model

log = logging.getLogger(__name__)

TOLERANCES = {"float32": 1e-4, "bf16": 0.1}
"""Precisions, with the difference from torch that few pixels exceed; images lie in [0, 1]."""
_FEW = 0.005  # share of these pixels: almost tied experts change, and with each a small region
_LARGEST = 0.1  # difference of any pixel

_TELEMETRY = "openvino_telemetry"
_SLOWER = ".slower"  # ends the name of a file that says so of a program
_OPEN = 2  # programs that are in memory at a time, each for one size
# Tracing and compiling take 5 to 15 s, and a program saves a fifth of torch's time or more.
_WORTH_SECONDS = 45.0  # of torch, for all images of one size, for which compiling is worth it
_WORTH_IMAGES = 16  # of one size, before one is spent on measuring torch's time
_MEASURED = 1.0  # seconds in which passes are repeated to measure the fastest


def installed() -> bool:
    """Tell whether OpenVINO can be imported."""
    return importlib.util.find_spec("openvino") is not None


def load() -> ModuleType:
    """Import OpenVINO without its telemetry, which tells its makers of each import."""
    if "openvino" not in sys.modules:
        before = sys.modules.pop(_TELEMETRY, None)
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # as if it were not installed
        try:
            importlib.import_module("openvino")
        finally:
            del sys.modules[_TELEMETRY]
            if before is not None:
                sys.modules[_TELEMETRY] = before
    return sys.modules["openvino"]


@functools.cache
def core() -> "Core":
    """Return the core of this process, which is never deleted.

    A core gives the thread that compiles a stack for its signals. If another thread deletes the
    core, that stack is gone, and the next signal ends the process: when a loader process ends, say.
    """
    return load().Core()


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
        self._network, self._precision, self._wide = network, precision, tuple(wide)
        self._folder, self._strict = folder, strict
        self.given_up = False
        openvino = load()
        cpu = [
            core().get_property("CPU", name)
            for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
        ]
        self._about = fingerprint(network), openvino.get_version(), repr(cpu)
        self._requests: dict[tuple[int, ...], InferRequest | None] = {}  # None: torch
        self._images: Counter[tuple[int, ...]] = Counter()
        self._torch: dict[tuple[int, ...], tuple[Tensor, float]] = {}
        self._slower: set[tuple[int, ...]] = set()
        self._measured = 0.0 if folder is None else _MEASURED  # what is not kept is not measured

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

        Unless the engine is strict, that has to be worth it: the program is in the cache, or torch
        would take longer for the images of this size, those that come next and those that came
        before, than compiling does; and the program turns out to be faster than torch.

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
        shape = tuple(self._network.pad(torch.zeros(1, channels, height, width)).shape)
        self._images[shape] += images
        if self._requests.get(shape) is None:
            self._requests.pop(shape, None)
        taken = self._strict or self._is_worth(shape)
        taken = taken and self._open(shape) is not None
        taken = taken and (self._strict or not self._is_slower(shape))
        if not taken:
            self._requests[shape] = None
        return taken

    def _is_worth(self, shape: tuple[int, ...]) -> bool:
        if self._is_slower(shape):
            return False
        if self._requests.get(shape) is not None or self._has(self._key(shape)):
            return True
        images = self._images[shape]
        return images >= _WORTH_IMAGES and images * self._by_torch(shape)[1] >= _WORTH_SECONDS

    def _is_slower(self, shape: tuple[int, ...]) -> bool:
        return shape in self._slower or self._has(self._key(shape) + _SLOWER)

    def _has(self, name: str) -> bool:
        return self._folder is not None and is_kept(self._folder, name)

    def _by_torch(self, shape: tuple[int, ...]) -> tuple[Tensor, float]:
        """Restore the comparison image by torch; also return the seconds it took."""
        if shape not in self._torch:
            lq = _image(shape)
            with torch.inference_mode(), self._network.as_written():
                self._torch[shape] = _timed(lambda: self._network.restore(lq), self._measured)
        return self._torch[shape]

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
                return core().import_model(kept, "CPU", _options())
            except RuntimeError as error:
                log.warning("a program in the cache is compiled anew: %s", _first_line(error))
        log.info("compiling the network for slices of %s", size)
        expected, by_torch = self._by_torch(shape)
        del self._torch[shape]
        half = self._precision == "bf16"
        name = type(self._network).__name__
        try:
            model = convert(traced_for_size(self._network, shape, half, self._wide))
            compiled = core().compile_model(model, "CPU", _options())
        except InputError:
            raise
        except Exception as error:  # torch and OpenVINO raise many types
            raise InputError(f"OpenVINO cannot run {name} ({_first_line(error)})") from error
        lq = _image(shape).numpy()
        restored, seconds = _timed(lambda: torch.from_numpy(compiled(lq)[0]), self._measured)
        difference = (restored - expected).abs()
        close, largest = difference <= TOLERANCES[self._precision], float(difference.max())
        if not (largest <= _LARGEST and close.float().mean() >= 1 - _FEW):  # or it is NaN
            raise InputError(
                f"OpenVINO's program of {name} differs from it by {largest:.2g} of the range"
            )
        if self._folder is not None:
            write_program(self._folder, key, compiled.export_model().getvalue())
            if seconds > by_torch:
                log.info("of %s, OpenVINO takes %.3g s, torch %.3g s", size, seconds, by_torch)
                write_program(self._folder, key + _SLOWER, b"")
                self._slower.add(shape)  # also if it cannot be written
        return compiled

    def _key(self, shape: Sequence[int]) -> str:
        """Name of a program in the cache, made from all that it depends on."""
        about = (self._about, tuple(shape), self._precision, self._wide, sorted(_options().items()))
        return hashlib.sha256(repr(about).encode()).hexdigest() + ".openvino"


def convert(program: torch.export.ExportedProgram) -> "Model":
    """Convert a program of torch.export to a model of OpenVINO."""
    load()
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


def _image(shape: Sequence[int]) -> Tensor:
    """Draw the image on which programs are compared with the network."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def _timed(run: Callable[[], Tensor], enough: float) -> tuple[Tensor, float]:
    """Return a result and the seconds of the fastest pass, of as many as take `enough` seconds."""
    seconds: list[float] = []
    while not seconds or sum(seconds) < enough:
        start = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - start)
    return result, min(seconds)


def _options() -> dict[str, object]:
    return {
        # The types of the program are meant. OpenVINO's own default is bf16 on many CPUs.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "ENABLE_CPU_PINNING": False,  # two commands would be pinned to the same cores
    }


def _first_line(error: Exception) -> str:
    """The first line that says something; OpenVINO begins with places in its own code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "FrontEnd API"))]
    return next(iter(told or lines), type(error).__name__)
