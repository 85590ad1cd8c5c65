"""Run folders: named by what a run is, so the same command finds the same folder again.

A run folder holds ``config.yaml`` (resolved), ``run.json`` (how and on what it ran),
``checkpoints/``, ``samples/``, ``metrics.csv`` and, once finished, ``result.json``.
"""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from amir_lightning.atomic import complete_file
from amir_lightning.errors import InputError
from amir_lightning.trust import refuse_foreign_classes
from amir_lightning.versions import commit_of_checkout, version_of

_PACKAGES = ("amir-lightning", "torch", "lightning", "hydra-core", "numpy", "torchmetrics")


# What decides the numbers of a run beside its data.
_CONTENT = (
    "task",
    "network_name",
    "scale",
    "seed",
    "repeat",
    "metrics",
    "network",
    "loss",
    "optimizer",
    "sampling",
    "validation",
)
_TRAINER = ("max_steps", "precision", "accumulate_grad_batches", "gradient_clip_val")
_TASK = ("value_range", "score_range", "plane")


def content(
    config: Mapping[str, Any], tasks: Sequence[str], data: Mapping[str, str], processes: int
) -> dict[str, Any]:
    """Everything that decides the numbers of a run, and nothing else.

    Args:
        config: Resolved configuration, plain types.
        tasks: Names of the tasks that are trained.
        data: Fingerprint of each task's file.
        processes: Number of processes; what counts is the batch of all of them together, which
            they split without changing a number but in its last digits.

    Raises:
        InputError: The file of ``network.pretrained`` cannot be read.
    """
    trainer = config["trainer"]
    network = dict(config["network"])
    if network["pretrained"] is not None:
        network["pretrained"] = _hash_of(Path(str(network["pretrained"])))
    return {
        **{key: config[key] for key in _CONTENT},
        "network": network,
        "tasks": {name: {key: config["tasks"][name][key] for key in _TASK} for name in tasks},
        "trainer": {key: trainer[key] for key in _TRAINER},
        "data": {
            "fingerprints": dict(data),
            "patch_size": config["data"]["patch_size"],
            "global_batch": config["data"]["batch_size"] * processes,
        },
    }


def run_name(decisive: Mapping[str, Any]) -> str:
    """``<tasks>-<network>-<scale>-s<seed>-<hash>`` of everything that decides the result.

    Args:
        decisive: What `content` returns.
    """
    text = json.dumps(decisive, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    head = (decisive["task"], decisive["network_name"], decisive["scale"], f"s{decisive['seed']}")
    return "-".join([*head, digest])


def find_run(name: str, runs_dir: Path, holding: str = "run.json") -> Path:
    """The run folder that a person named: a path, a folder of `runs_dir`, or "last".

    Args:
        name: What was typed.
        runs_dir: Folder of the runs.
        holding: "last" is the newest run that has this file.

    Raises:
        InputError: There is no such run.
    """
    started = {path: _started(path) for path in _runs(runs_dir)}
    if name == "last":
        started = {path: time for path, time in started.items() if (path / holding).exists()}
        if not started:
            raise InputError(
                f"there is no run in {runs_dir}; train one: python -m amir_lightning.train"
            )
        return max(started, key=lambda path: started[path])
    for path in (Path(name), runs_dir / name):
        if (path / "run.json").exists():
            return path
    newest = sorted(started, key=lambda path: started[path])[:-4:-1]
    listed = f"; the newest are {', '.join(path.name for path in newest)}" if newest else ""
    raise InputError(f"there is no run '{name}' in {runs_dir}{listed} (run=last is the newest)")


def saved_config(folder: Path, trusted: Sequence[str]) -> DictConfig:
    """The resolved configuration that a run folder holds.

    Args:
        folder: The run folder.
        trusted: Modules whose classes it may name; a folder from elsewhere could name any code.

    Raises:
        InputError: It is missing or damaged, or names a class of another module.
    """
    path = folder / "config.yaml"
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(path.read_text())):
            raise ValueError("aliases, of which a few lines can unfold to any size")
        saved = OmegaConf.load(path)
    except Exception as error:  # OSError, or one of the YAML parser's many
        raise InputError(f"{path} cannot be read; choose another run, or train again") from error
    if not isinstance(saved, DictConfig):
        raise InputError(f"{path} is not a configuration; choose another run, or train again")
    refuse_foreign_classes(OmegaConf.to_container(saved), path, trusted)
    return saved


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run folder.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError("it holds no names with values")
        return content
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); remove the folder {path.parent} and train again"
        ) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    with complete_file(path, "type paths.runs_dir=<folder>") as partial:
        partial.write_text(json.dumps(content, indent=2, default=str) + "\n")


def environment() -> dict[str, Any]:
    """What `run.json` says of the software and the machine."""
    return {
        "versions": {name: version_of(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "git_commit": commit_of_checkout(),
    }


def now() -> str:
    """Time stamp of `run.json`, UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _hash_of(path: Path) -> str:
    """Content of a file, or of the weights in a folder, so that a moved file is the same run."""
    path = path / "model.safetensors" if path.is_dir() else path
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"network.pretrained={path} cannot be read ({error.strerror}); give the path of a "
            "file of weights, or of a folder that export wrote"
        ) from error


def _started(folder: Path) -> str:
    try:
        return str(read_json(folder / "run.json")["started"])
    except (InputError, KeyError):
        return ""  # a damaged run is never the newest


def _runs(runs_dir: Path) -> list[Path]:
    return [path.parent for path in runs_dir.glob("*/run.json")]
