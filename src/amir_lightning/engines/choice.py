"""Choose the engine that restores, and make a network use it."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from amir_lightning.engines import openvino
from amir_lightning.errors import InputError
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.system.versions import version_of

log = logging.getLogger(__name__)

_ENGINES = ("auto", "torch", "openvino")


class Engine(NamedTuple):
    """What restores.

    Attributes:
        name: "torch" or "openvino".
        version: Version of that package.
        precision: Precision of most of its operations: float32, bf16, or what Lightning's trainer
            calls it.
    """

    name: str
    version: str
    precision: str

    def __str__(self) -> str:
        return f"{self.name} {self.version} in {self.precision}"


def use_engine(
    network: RestorationNetwork,
    engine: str,
    precision: str,
    trainer: Mapping[str, Any],
    folder: Path,
) -> Engine:
    """Make a network restore by an engine, in place.

    Args:
        network: The network, in evaluation mode.
        engine: "torch", "openvino", or "auto" for OpenVINO where it can be used and is faster.
        precision: Precision of OpenVINO, "float32" or "bf16".
        trainer: Options of Lightning's trainer, which say where the network runs.
        folder: The user's cache of compiled programs.

    Raises:
        InputError: A choice is unknown, or the chosen engine cannot be used.
    """
    if engine not in _ENGINES:
        raise InputError(f"engine is '{engine}'; choose from {', '.join(_ENGINES)}")
    if precision not in openvino.HINTS:
        raise InputError(
            f"engine_precision is '{precision}'; choose from {', '.join(openvino.HINTS)}"
        )
    if engine == "torch" and precision != "float32":
        raise InputError(
            f"engine_precision={precision} is for OpenVINO; type engine=openvino, or "
            "trainer.precision=bf16-mixed for torch"
        )
    reason = None if engine == "torch" else _obstacle(trainer)
    if engine != "torch" and reason is None:
        try:
            network.restore_by(openvino.open_program(network, precision, folder))
            found = Engine("openvino", version_of("openvino"), precision)
            log.info("restoring by %s", found)
            return found
        except InputError as error:
            reason = str(error)
    if engine == "openvino" or precision != "float32":
        raise InputError(
            f"OpenVINO cannot restore in {precision}: {reason}; type engine=torch "
            "engine_precision=float32"
        )
    if reason is not None:
        log.info("restoring by torch: %s", reason)
    own = str(trainer["precision"])
    return Engine("torch", torch.__version__, "float32" if own == "32-true" else own)


def _obstacle(trainer: Mapping[str, Any]) -> str | None:
    """Say why OpenVINO is not for this machine or these options; None if it is."""
    accelerator = trainer["accelerator"]
    if accelerator not in ("auto", "cpu") or (
        accelerator == "auto" and torch.accelerator.is_available()
    ):
        return "OpenVINO is for CPUs, and this runs on a GPU (trainer.accelerator=cpu)"
    if trainer["precision"] != "32-true":
        return f"trainer.precision={trainer['precision']} is for torch (engine_precision=bf16)"
    if trainer["devices"] not in (1, "1", "auto"):
        return f"trainer.devices={trainer['devices']} starts several processes"
    if not openvino.installed():
        return 'OpenVINO is not installed (pip install "amir-lightning[openvino]")'
    return None
