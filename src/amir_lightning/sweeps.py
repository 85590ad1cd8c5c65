"""The runs of a table or figure: what its sweep would start, and where those runs lie.

Reads configurations only: no data, no training code. Works inside a command (`cli.command`).
"""

import json
import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from amir_lightning import runs
from amir_lightning.cli import compose, explain
from amir_lightning.config import CONF_DIR
from amir_lightning.errors import InputError
from amir_lightning.tasks import parse_tasks

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One training of a sweep.

    Attributes:
        overrides: What the sweep adds to the command line, the user's options included.
        cfg: Its configuration, as training composes it.
        tasks: Names of the tasks that it trains.
        network: Its file in ``conf/network``.
        seed: Its seed.
    """

    overrides: tuple[str, ...]
    cfg: DictConfig
    tasks: tuple[str, ...]
    network: str
    seed: int

    @property
    def command(self) -> str:
        """What trains this job alone."""
        return "python -m amir_lightning.train " + shlex.join(self.overrides)


def experiment_of(options: Sequence[str] | None) -> tuple[str, list[str]]:
    """The name in ``experiment=<name>`` among options of train, and the other options.

    Raises:
        InputError: There is none.
    """
    options = list(options or [])
    named = [text for text in options if text.startswith("experiment=")]
    if not named:
        raise InputError(
            f"no experiment is named; type experiment=<name>, one of {', '.join(_known())}"
        )
    return named[-1].split("=", 1)[1], [text for text in options if text not in named]


def start_of(experiment: str, overrides: Sequence[str]) -> str:
    """What starts a sweep with the folders that were typed beside it; inside a command only.

    Args:
        experiment: A file of ``conf/experiment``.
        overrides: The other options of train.
    """
    from hydra.core.hydra_config import HydraConfig

    typed = HydraConfig.get().overrides.task
    folders = [shlex.quote(text) for text in typed if text.lstrip("+").startswith("paths")]
    options = [f"experiment={experiment}", *overrides, *folders]
    return " ".join(["python -m amir_lightning.train -m", *options])


def jobs(experiment: str, overrides: Sequence[str] = ()) -> list[Job]:
    """The jobs that ``train -m experiment=<experiment> <overrides>`` starts, in its order.

    Args:
        experiment: A file of ``conf/experiment``.
        overrides: What a user would type beside it; ``seed=0,1`` is a sweep, too.

    Raises:
        InputError: There is no such experiment.
    """
    if experiment not in _known():
        raise InputError(
            f"unknown experiment '{experiment}'; choose from {', '.join(_known())} "
            "(experiment=<name>)"
        )
    try:
        return _expand([f"experiment={experiment}", *overrides])
    except Exception as error:
        sentence = explain(error, "train")
        if sentence is None:
            raise
        raise InputError(sentence) from error


def locate(wanted: Iterable[Job], runs_dir: Path) -> list[Path | None]:
    """The run folder of each job, None where it has not been started.

    A job's folder holds the same content, whatever data and machine it ran on. Of several, the
    newest finished one is taken, and if none has finished the newest. A folder that cannot be read
    is left out with a warning.
    """
    found: dict[str, list[tuple[bool, str, Path]]] = {}
    for path in sorted(runs_dir.glob("*/run.json")):
        folder = path.parent
        try:
            started = str(runs.read_json(path)["started"])
            config = cast(
                dict[str, Any], OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
            )
            key = _content(config, list(config["tasks"]))
        except Exception:  # whatever a damaged or foreign folder holds, it is no job's
            _log.warning(
                "left out, cannot be read: %s; remove the folder, or train the run again", folder
            )
            continue
        found.setdefault(key, []).append((finished(folder), started, folder))
    folders = []
    for job in wanted:
        config = cast(dict[str, Any], OmegaConf.to_container(job.cfg, resolve=True))
        same = found.get(_content(config, job.tasks))
        folders.append(max(same)[-1] if same else None)
    return folders


def finished(folder: Path) -> bool:
    """Whether a run has its test scores."""
    return (folder / "result.json").exists()


def _known() -> list[str]:
    return sorted(path.stem for path in (CONF_DIR / "experiment").glob("*.yaml"))


def _expand(texts: list[str]) -> list[Job]:
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create()
    parsed = zip(texts, parser.parse_overrides(texts), strict=True)
    fixed = [text for text, override in parsed if not override.is_sweep_override()]
    params = compose("train", fixed, keep_hydra=True).hydra.sweeper.get("params") or {}
    swept = [f"{key}={value}" for key, value in params.items()]
    (batch,) = BasicSweeper.split_arguments(parser.parse_overrides([*swept, *texts]), None)
    return [_job(tuple(one)) for one in batch]


def _job(overrides: tuple[str, ...]) -> Job:
    cfg = compose("train", list(overrides), keep_hydra=True)
    cfg.network_name = cfg.hydra.runtime.choices.network
    cfg.pop("hydra")
    tasks = parse_tasks(cfg.task, cfg.tasks)
    cfg.task = "+".join(tasks)
    return Job(overrides, cfg, tuple(tasks), cfg.network_name, cfg.seed)


def _content(config: Mapping[str, Any], tasks: Sequence[str]) -> str:
    """What `runs.content` says without data and processes, in a form that can be compared."""
    content = runs.content(config, tasks, {}, processes=1)
    content["data"] = {key: content["data"][key] for key in ("patch_size", "global_batch")}
    return json.dumps(content, sort_keys=True, default=str)
