"""Choose the engine that restores, and make a network use it."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from amir_lightning.engines import openvino
from amir_lightning.errors import InputError
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.system.versions import version_of

log = logging.getLogger(__name__)

_ENGINES = ("auto", "torch", "torch_compiled", "openvino")

ON_A_CPU = {"accelerator": "cpu", "devices": 1, "precision": "32-true"}
"""Options of a trainer for a network that no trainer runs."""


class Label(NamedTuple):
    """What restored, for records.

    Attributes:
        name: "torch", "torch_compiled" or "openvino".
        version: Version of that package.
        precision: "float32", "bf16", or what Lightning's trainer calls it.
    """

    name: str
    version: str
    precision: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} in {self.precision}"


class Request(NamedTuple):
    """What a user asks of an engine.

    Attributes:
        engine: "torch"; "torch_compiled" for a GPU; "openvino"; or "auto" for OpenVINO where it can
            be used and is worth it, else torch.
        precision: Precision of OpenVINO, "float32" or "bf16".
        wide: Modules of the network that compute in float32 all the same.
        folder: The user's cache of compiled programs; None keeps none.
    """

    engine: str
    precision: str
    wide: Sequence[str]
    folder: Path | None


class Engine:
    """The engine of a network.

    Args:
        torch_label: What is written of images that torch restores.
        program: Programs of OpenVINO; None if torch restores all images.
        precision: Precision of these programs.
    """

    def __init__(
        self, torch_label: Label, program: openvino.OpenVino | None, precision: str
    ) -> None:
        self._torch, self._program = torch_label, program
        self._openvino = Label("openvino", version_of("openvino"), precision)

    @property
    def label(self) -> Label:
        """What restores; `restores` may name torch for images of one size."""
        by_torch = self._program is None or self._program.given_up
        return self._torch if by_torch else self._openvino

    def restores(self, images: int, channels: int, height: int, width: int) -> Label:
        """Choose what restores the images that come next; see `OpenVino.restores`."""
        if self._program is None or self._program.restores(images, channels, height, width):
            return self.label
        return self._torch


def use_engine(network: RestorationNetwork, request: Request, trainer: Mapping[str, Any]) -> Engine:
    """Make a network restore by an engine, in place.

    Args:
        network: The network, in evaluation mode.
        request: What the user asks for.
        trainer: Options of Lightning's trainer, which say where the network runs.

    Raises:
        InputError: A choice is unknown, or the chosen engine cannot be used.
    """
    engine, precision, wide, folder = request
    if engine not in _ENGINES:
        raise InputError(f"engine is '{engine}'; choose from {', '.join(_ENGINES)}")
    if precision not in openvino.TOLERANCES:
        raise InputError(
            f"engine_precision is '{precision}'; choose from {', '.join(openvino.TOLERANCES)}"
        )
    if engine.startswith("torch") and precision != "float32":
        raise InputError(
            f"engine_precision={precision} is for OpenVINO; type engine=openvino, or "
            "trainer.precision=bf16-mixed for torch"
        )
    if wide and precision == "float32":
        raise InputError(
            "engine_float32 names modules, and all compute in float32; type engine_precision=bf16"
        )
    own = str(trainer["precision"])
    name = "torch" if engine != "torch_compiled" else engine
    label = Label(name, str(torch.__version__), "float32" if own == "32-true" else own)
    if engine == "torch_compiled":
        if trainer["accelerator"] == "cpu" or not torch.cuda.is_available():
            raise InputError(
                "engine=torch_compiled is for GPUs, and the network runs on a CPU; type engine=auto"
            )
        network.compile_restoring()
    if engine.startswith("torch"):
        return Engine(label, None, precision)
    reason = _obstacle(trainer)
    strict = engine == "openvino" or precision != "float32"
    if reason is None:
        program = openvino.OpenVino(network, precision, wide, folder, strict)
        network.restore_by(program)
        return Engine(label, program, precision)
    if strict:
        raise InputError(
            f"OpenVINO cannot restore: {reason}; or type engine=torch engine_precision=float32"
        )
    log.info("restoring by torch, not by OpenVINO: %s", reason)
    return Engine(label, None, precision)


def _obstacle(trainer: Mapping[str, Any]) -> str | None:
    """Say why OpenVINO cannot be used on this machine or with these options; None if it can."""
    accelerator = trainer["accelerator"]
    on_cpu = accelerator == "cpu" or (
        accelerator == "auto" and not torch.accelerator.is_available()
    )
    if not on_cpu:
        return "it is for CPUs, and the network runs on a GPU; type trainer.accelerator=cpu"
    if trainer["precision"] != "32-true":
        return (
            f"trainer.precision={trainer['precision']} is for torch; type engine_precision=bf16 in "
            "its place"
        )
    if trainer["devices"] not in (1, "1", "auto"):
        return f"trainer.devices={trainer['devices']} starts several processes; leave it out"
    if not openvino.installed():
        return 'it is not installed; type pip install "amir-lightning[openvino]"'
    return None
