"""JSON and YAML records of a run, with software, machine and time."""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from amir_lightning.errors import InputError
from amir_lightning.system.atomic import complete_file
from amir_lightning.system.versions import commit_of_checkout, version_of

_PACKAGES = ("amir-lightning", "torch", "lightning", "hydra-core", "numpy", "torchmetrics")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run folder.

    Raises:
        InputError: The file is missing or damaged.
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


def read_yaml(path: Path, advice: str) -> DictConfig:
    """Read a YAML file of a run folder; `advice` ends the error if it cannot be read.

    Raises:
        InputError: The file is missing or damaged.
    """
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(path.read_text())):
            raise ValueError("aliases, of which a few lines can unfold to any size")
        saved = OmegaConf.load(path)
    except Exception as error:  # OSError, or any of the YAML parser's exceptions
        raise InputError(f"{path} cannot be read; {advice}") from error
    if not isinstance(saved, DictConfig):
        raise InputError(f"{path} is not a configuration; {advice}")
    return saved


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file completely or not at all."""
    with complete_file(path, "type paths.runs_dir=<folder>") as partial:
        partial.write_text(json.dumps(content, indent=2, default=str) + "\n")


def now() -> str:
    """Return the current time, UTC, as ``run.json`` records it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def environment() -> dict[str, Any]:
    """Describe the software and the machine for ``run.json``."""
    return {
        "versions": {name: version_of(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "git_commit": commit_of_checkout(),
    }
