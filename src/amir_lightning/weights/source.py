"""Load trained weights from a run, a checkpoint, an exported folder or this package."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amir_lightning.config import shipped_in_words
from amir_lightning.errors import InputError
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.runs.folder import find_run
from amir_lightning.tasks import Task
from amir_lightning.weights.checkpoint import reading
from amir_lightning.weights.folder import (
    Pretrained,
    build_network,
    find_shipped,
    first_mismatch,
    is_weights_folder,
    load_folder,
    load_pretrained,
)

log = logging.getLogger(__name__)

_NETWORK = "network."  # prefix of the network in a checkpoint; other entries belong to the training


@dataclass(frozen=True)
class Weights:
    """A trained network and its tasks.

    Attributes:
        network: The network, in evaluation mode.
        tasks: The tasks it was trained on, by name.
        metrics: Definition of its scores.
        origin: Where it came from, in words.
        fingerprint: Hash of its parameters.
    """

    network: RestorationNetwork
    tasks: Mapping[str, Task]
    metrics: str
    origin: str
    fingerprint: str


def load_weights(source: str, runs_dir: Path, trusted: Sequence[str] = ()) -> Weights:
    """Load weights for restoring.

    Args:
        source: A run folder, its name or "last"; a checkpoint file; an exported folder or hub name;
            the name of weights that come with this package, unless something of the user's has it.
        runs_dir: Folder of the runs.
        trusted: Modules whose networks may be named besides those of this package.

    Raises:
        InputError: There is nothing of that name, or it cannot be used.
    """
    if shipped := find_shipped(source, runs_dir / source):
        log.info("%s: weights that come with this package (%s/README.md)", source, shipped)
        return _from_export(load_folder(shipped, trusted), f"{source}, as shipped")
    path = Path(source)
    if is_weights_folder(path):
        return _from_export(load_folder(path, trusted), str(path))
    if path.is_file():
        return _from_checkpoint(path, trusted)
    if source.count("/") == 1 and not path.exists() and not (runs_dir / source).exists():
        return _from_export(load_pretrained(source, trusted), source)
    try:
        run = find_run(source, runs_dir, "checkpoints/best.ckpt")
    except InputError as error:
        text = str(error).replace("(run=last is the newest)", "(weights=last is the newest)")
        raise InputError(
            f"{text}; weights= also takes a checkpoint file, a folder that export wrote, or "
            f"{shipped_in_words()}"
        ) from error
    return _from_checkpoint(run.checkpoint("best"), trusted)


def _from_export(pretrained: Pretrained, origin: str) -> Weights:
    metrics = str(pretrained.config.get("metrics", "paper"))
    return _weights(pretrained.network, pretrained.tasks, metrics, origin)


def _from_checkpoint(path: Path, trusted: Sequence[str]) -> Weights:
    advice = (
        "expected one that train wrote, a run folder, or a folder that export wrote; type another "
        "as weights="
    )
    with reading(path, advice) as content:
        hyper = content["hyper_parameters"]
        config, nodes = dict(hyper["network_config"]), hyper["tasks"]
        state = {
            name.removeprefix(_NETWORK): tensor
            for name, tensor in content["state_dict"].items()
            if name.startswith(_NETWORK)
        }
        target = str(config.pop("_target_"))
    network = build_network(target, config, path, path.stat().st_size, trusted)
    mismatch = first_mismatch(network.state_dict(), state)
    if mismatch:
        raise InputError(f"{path} does not fit its own network: {mismatch}; choose another")
    network.load_state_dict(state)
    tasks = {name: Task.from_config(name, node) for name, node in nodes.items()}
    return _weights(network, tasks, str(hyper.get("metrics", "paper")), str(path))


def _weights(
    network: RestorationNetwork, tasks: Mapping[str, Task], metrics: str, origin: str
) -> Weights:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return Weights(network.eval(), tasks, metrics, origin, digest.hexdigest()[:16])
