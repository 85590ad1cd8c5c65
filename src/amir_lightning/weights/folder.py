"""Load weights from a folder or by a hub name; torch and safetensors suffice.

A weights folder holds ``model.safetensors`` and ``config.json``; neither can run code. It is
written by ``python -m amir_lightning.export``.
"""

import hashlib
import inspect
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from amir_lightning import networks
from amir_lightning.config import shipped_names, shipped_weights
from amir_lightning.engines.cache import cache_folder
from amir_lightning.engines.choice import ON_A_CPU, Request, use_engine
from amir_lightning.errors import InputError
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.system.trust import trusted_class
from amir_lightning.tasks import Task
from amir_lightning.weights.hub import from_hub

log = logging.getLogger(__name__)

FORMAT = "amir-lightning weights"
VERSION = 1
_OWN = f"{networks.__name__}."
WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Pretrained(nn.Module):
    """A trained network and the tasks it was trained on.

    Attributes:
        network: Maps (B, 1, H, W) to (B, 1, H, W), both in [0, 1]; in evaluation mode.
        tasks: The tasks by name.
        config: All of ``config.json``.
    """

    def __init__(
        self, network: RestorationNetwork, tasks: Mapping[str, Task], config: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.network = network.eval()
        self.tasks = dict(tasks)
        self.config = dict(config)

    def forward(self, lq: Tensor) -> Tensor:
        """Restore normalised images, (B, 1, H, W)."""
        return self.network(lq)

    @torch.inference_mode()
    def restore(
        self, lq: Tensor | NDArray[np.floating], task: str | None = None
    ) -> Tensor | NDArray[np.float32]:
        """Restore slices in physical units.

        Args:
            lq: Low-quality slices, (..., H, W), in the units of the task [HU, SUV, a.u.].
            task: Name of the task; may be left out if the network knows only one.

        Returns:
            Restored slices of the same type and shape.

        Raises:
            InputError: The task is not one of the network's.
        """
        chosen = choose_task(self.tasks, task)
        device = next(self.network.parameters()).device
        image = torch.as_tensor(np.asarray(lq) if isinstance(lq, np.ndarray) else lq)
        image = image.to(device, torch.float32)
        flat = chosen.normalise(image).reshape(-1, 1, *image.shape[-2:])
        restored = torch.cat([self.network(one) for one in flat.split(1)])
        physical = chosen.denormalise(restored.float()).reshape(image.shape)
        return physical.cpu().numpy() if isinstance(lq, np.ndarray) else physical


def load_pretrained(
    source: str | Path,
    trusted: Sequence[str] = (),
    engine: str = "torch",
    engine_precision: str = "float32",
) -> Pretrained:
    """Load a network from a weights folder, or by the name of shipped weights or of a hub.

    Args:
        source: A folder that ``export`` wrote; the name of weights that come with this package,
            such as ``study``; or a hub name such as ``user/amir``, which is downloaded once. With
            ``HF_HUB_OFFLINE=1`` only what was downloaded is used.
        trusted: Modules whose networks may be named besides those of this package.
        engine: What restores: "torch"; "openvino", which is the fastest on a CPU; or "auto" for
            OpenVINO where it is installed and can run the network. Compiled programs are kept in
            ``~/.cache/amir_lightning``, or in ``$XDG_CACHE_HOME/amir_lightning``.
        engine_precision: "float32", or "bf16" for OpenVINO.

    Raises:
        InputError: There is no such folder or name, its files do not belong together, or the engine
            cannot be used.
    """
    folder = find_shipped(str(source)) or Path(source)
    if not folder.is_dir():
        folder = from_hub(str(source), (WEIGHTS, CONFIG, "README.md"))
    pretrained = load_folder(folder, trusted)
    request = Request(engine, engine_precision, (), cache_folder(None))
    use_engine(pretrained.network, request, ON_A_CPU)
    return pretrained


def find_shipped(name: str, *own: Path) -> Path | None:
    """Find the folder of shipped weights, and say so if the user's own of that name come first.

    Args:
        name: Name of the weights.
        own: Places of the user's own, besides the name as a path.
    """
    folder = shipped_weights(name, *own)
    if folder is None and name in shipped_names():
        log.warning(
            "%s: your own folder or run of that name is used, not the weights that come with this "
            "package; rename it to use those",
            name,
        )
    return folder


def load_folder(folder: Path, trusted: Sequence[str] = ()) -> Pretrained:
    """Load a network from a weights folder.

    Args:
        folder: The folder.
        trusted: Modules whose networks may be named besides those of this package.

    Raises:
        InputError: It is no weights folder, or its files do not belong together.
    """
    config = _read_config(folder)
    about, path = config["network"], folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"{folder} has no {WEIGHTS}; copy the whole folder that export wrote")
    size = path.stat().st_size
    network = build_network(about["class"], about["arguments"], folder, size, trusted)
    _load_weights(network, folder / WEIGHTS, config.get("weights_sha256"))
    tasks = {name: Task.from_config(name, node) for name, node in config["tasks"].items()}
    return Pretrained(network, tasks, config)


def build_network(
    name: str,
    arguments: Mapping[str, Any],
    where: object,
    file_bytes: int,
    trusted: Sequence[str] = (),
) -> RestorationNetwork:
    """Build a network by the name of its class. The name can lead to no other code.

    Args:
        name: The class, with its module if it is not one of this package.
        arguments: Arguments of its constructor.
        where: File or folder that names the class, for messages.
        file_bytes: Size of the file with its weights. A network with more parameters than the file
            has bytes is refused before memory is taken.
        trusted: Modules whose networks may be named besides those of this package.

    Raises:
        InputError: There is no such network, its module is not trusted, it has no such arguments,
            or it is larger than its file.
    """
    short = name.removeprefix(_OWN)
    if "." in short:
        found: object = trusted_class(name, where, trusted)
    else:
        found = getattr(networks, short, None) if short in networks.__all__ else None
    if not (inspect.isclass(found) and issubclass(found, RestorationNetwork)):
        known = [
            one
            for one in networks.__all__
            if inspect.isclass(getattr(networks, one))
            and issubclass(getattr(networks, one), RestorationNetwork)
        ]
        if "." in short:
            raise InputError(
                f"{where} names {name}, which is no RestorationNetwork; use an unchanged "
                "copy of the file"
            )
        raise InputError(
            f"{where} names the network '{short}', which this version does not have; it has "
            f"{', '.join(known)}: update amir_lightning"
        )
    try:
        size = max(_whole_numbers(arguments), default=0)
        if size <= file_bytes:
            with torch.device("meta"):
                size = sum(parameter.numel() for parameter in found(**arguments).parameters())
        if size > file_bytes:
            raise InputError(
                f"{where} describes a larger {short} than its file of {file_bytes:,} bytes can "
                "hold; use an unchanged copy of the file"
            )
        return found(**arguments)
    except TypeError as error:
        raise InputError(
            f"{where}: {short} does not take these arguments ({error}); use an unchanged "
            "copy of the file"
        ) from error


def network_name(network: RestorationNetwork) -> str:
    """Name of the class of a network, as `build_network` takes it."""
    kind = type(network)
    target = f"{kind.__module__}.{kind.__name__}"
    return kind.__name__ if target.startswith(_OWN) else target


def _whole_numbers(node: object) -> Iterator[int]:
    if isinstance(node, Mapping):
        node = list(node.values())
    if isinstance(node, list | tuple):
        for value in node:
            yield from _whole_numbers(value)
    elif isinstance(node, int):
        yield node


def choose_task(tasks: Mapping[str, Task], name: str | None) -> Task:
    """Find the task by its name, or take the only one.

    Raises:
        InputError: The name is unknown, or is missing although there are several.
    """
    if name is None and len(tasks) == 1:
        return next(iter(tasks.values()))
    if name is not None and name in tasks:
        return tasks[name]
    found = "no task was given" if name is None else f"the weights were not trained on '{name}'"
    raise InputError(f"{found}; choose from {', '.join(tasks)}: task=<name>")


def first_mismatch(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str | None:
    """Name the first parameter that one of two states lacks or has in another shape."""
    for name in [*own, *other]:
        here, there = (
            str(tuple(state[name].shape)) if name in state else "missing" for state in (own, other)
        )
        if here != there:
            return f"{name} is {there} there and {here} here"
    return None


def is_weights_folder(path: Path) -> bool:
    """Whether a folder was written by ``export``."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).exists()


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text())
        if config["format"] != FORMAT:
            raise KeyError("format")
        version = int(config["version"])
        _ = config["network"]["class"], config["network"]["arguments"], config["tasks"]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{folder} is not a weights folder ({CONFIG}: {error}); expected what "
            "`python -m amir_lightning.export run=<run> output=<folder>` writes"
        ) from error
    if version > VERSION:
        raise InputError(
            f"{folder} has format version {version}, this package reads up to {VERSION}; "
            "update amir_lightning"
        )
    return config


def _load_weights(network: nn.Module, path: Path, expected_sha256: str | None) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = path.read_bytes()
        weights = load(data)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}); copy the folder again") from error
    if expected_sha256 and hashlib.sha256(data).hexdigest() != expected_sha256:
        raise InputError(f"{path} is not the file that {CONFIG} describes; copy the folder again")
    mismatch = first_mismatch(network.state_dict(), weights)
    if mismatch:
        raise InputError(f"{path} does not fit {CONFIG}: {mismatch}; copy the folder again")
    network.load_state_dict(weights)
