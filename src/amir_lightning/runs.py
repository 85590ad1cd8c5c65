"""Run folders: named by what a run is, so the same command finds the same folder again.

A run folder holds ``config.yaml`` (resolved), ``run.json`` (how and on what it ran),
``checkpoints/``, ``samples/``, ``metrics.csv`` and, once finished, ``result.json``.
"""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from amir_lightning.config import CONF_DIR
from amir_lightning.errors import InputError

_PACKAGES = ("amir-lightning", "torch", "lightning", "hydra-core", "numpy", "torchmetrics")


def run_name(content: Mapping[str, Any]) -> str:
    """``<tasks>-<network>-<scale>-s<seed>-<hash>`` of everything that decides the result.

    Args:
        content: Resolved configuration of the run and the fingerprints of its data; plain types.
    """
    text = json.dumps(content, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    head = (content["task"], content["network_name"], content["scale"], f"s{content['seed']}")
    return "-".join([*head, digest])


def find_run(name: str, runs_dir: Path) -> Path:
    """The run folder that a person named: a path, a folder of `runs_dir`, or "last".

    Raises:
        InputError: There is no such run.
    """
    started = {path: read_json(path / "run.json")["started"] for path in _runs(runs_dir)}
    if name == "last":
        if not started:
            raise InputError(
                f"there is no run in {runs_dir}; train one: python -m amir_lightning.train"
            )
        return max(started, key=lambda path: started[path])
    for path in (Path(name), runs_dir / name):
        if (path / "run.json").exists():
            return path
    newest = sorted(started, key=lambda path: started[path])[-3:]
    listed = f"; the newest are {', '.join(path.name for path in newest)}" if newest else ""
    raise InputError(f"there is no run '{name}' in {runs_dir}{listed} (run=last is the newest)")


def saved_config(folder: Path) -> DictConfig:
    """The resolved configuration that a run folder holds.

    Raises:
        InputError: It is missing or damaged.
    """
    path = folder / "config.yaml"
    try:
        saved = OmegaConf.load(path)
    except Exception as error:  # OSError, or one of the YAML parser's many
        raise InputError(f"{path} cannot be read; choose another run, or train again") from error
    if not isinstance(saved, DictConfig):
        raise InputError(f"{path} is not a configuration; choose another run, or train again")
    return saved


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run folder.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); remove the folder {path.parent} and train again"
        ) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(content, indent=2, default=str) + "\n")
    aside.replace(path)


def environment() -> dict[str, Any]:
    """What `run.json` says of the software and the machine."""
    return {
        "versions": {name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(terse=True),
        "git_commit": _git_commit(),
    }


def now() -> str:
    """Time stamp of `run.json`, UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _runs(runs_dir: Path) -> list[Path]:
    return [path.parent for path in runs_dir.glob("*/run.json")]


def _git_commit() -> str | None:
    """Commit of the checkout that the code runs from, marked if it has local changes."""
    try:
        commit, status = (
            subprocess.run(
                ["git", "-C", str(CONF_DIR.parent), *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+changes" if status else "")
