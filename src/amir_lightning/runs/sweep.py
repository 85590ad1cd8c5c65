"""Jobs of the sweep behind a table or figure, and the run folders of these jobs.

Only configurations are read, neither data nor training code. Works inside a command only.
"""

import logging
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from amir_lightning.cli import compose, explain
from amir_lightning.cli.searchpath import SearchPath, typed_folders
from amir_lightning.errors import InputError
from amir_lightning.runs.folder import RunFolder, run_folders
from amir_lightning.runs.identity import (
    digest,
    identity,
    network_name,
    number_of_processes,
    without_data,
)
from amir_lightning.tasks import parse_tasks

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One training of a sweep.

    Attributes:
        overrides: Options of this training.
        cfg: Configuration, as the train command composes it.
        tasks: Names of the trained tasks.
        network: Name of the network's file in ``conf/network``.
        seed: Seed.
    """

    overrides: tuple[str, ...]
    cfg: DictConfig
    tasks: tuple[str, ...]
    network: str
    seed: int

    @property
    def command(self) -> str:
        """Command line that trains this job alone."""
        options = shlex.join(self.overrides)
        return " ".join(["python -m amir_lightning.train", *typed_folders(), options])


def experiment_of(options: Sequence[str] | None) -> tuple[str, list[str]]:
    """Split options of train into the name in ``experiment=<name>`` and the others.

    Raises:
        InputError: No experiment is named.
    """
    options = list(options or [])
    named = [text for text in options if text.startswith("experiment=")]
    if not named:
        raise InputError(
            f"no experiment is named; type experiment=<name>, one of {', '.join(_known())}"
        )
    return named[-1].split("=", 1)[1], [text for text in options if text not in named]


def start_of(experiment: str, overrides: Sequence[str]) -> str:
    """Return the command line that starts a sweep, with the ``paths.*`` of the running command.

    Args:
        experiment: Name of a file in ``conf/experiment``.
        overrides: Other options of train.
    """
    from hydra.core.hydra_config import HydraConfig

    typed = HydraConfig.get().overrides.task
    folders = [shlex.quote(text) for text in typed if text.lstrip("+").startswith("paths")]
    options = [f"experiment={experiment}", *overrides, *folders]
    return " ".join(["python -m amir_lightning.train -m", *typed_folders(), *options])


def jobs(experiment: str, overrides: Sequence[str] = ()) -> list[Job]:
    """List the jobs that ``train -m experiment=<experiment> <overrides>`` starts, in its order.

    Args:
        experiment: Name of a file in ``conf/experiment``.
        overrides: Other options of train; ``seed=0,1`` is swept, too.

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


def locate(wanted: Iterable[Job], *runs_dirs: Path) -> list[RunFolder | None]:
    """Find the run folder of each job; None for jobs that have not been started.

    A folder belongs to a job if it has the same identity, on any data and machine. If
    several folders do, the newest finished one is taken, or else the newest one; of a run and its
    kept copy, the one that lies in the earlier of `runs_dirs`. Folders that cannot be read are
    left out with a warning.
    """
    found: dict[str, list[tuple[bool, str, RunFolder]]] = {}
    for run in (run for folder in runs_dirs for run in run_folders(folder)):
        try:
            entry = (run.finished, str(run.record["started"]), run)
            for key in _keys_of_run(run):
                found.setdefault(key, []).append(entry)
        except Exception:  # a damaged or foreign folder may raise anything
            _log.warning(
                "left out, cannot be read: %s; remove the folder, or train the run again", run.path
            )
    same = (found.get(key_of(job), []) for job in wanted)
    return [max(some, key=lambda one: one[:2])[-1] if some else None for some in same]


def finished(experiment: str, overrides: Sequence[str], *runs_dirs: Path) -> list[RunFolder]:
    """Find the finished runs of an experiment, and name those that are left out.

    Args:
        experiment: Name of a file in ``conf/experiment``.
        overrides: Other options of train.
        runs_dirs: Folders of runs, as `locate` takes them.

    Raises:
        InputError: No run has finished.
    """
    wanted = jobs(experiment, overrides)
    found = []
    for job, run in zip(wanted, locate(wanted, *runs_dirs), strict=True):
        if run is not None and run.finished:
            found.append(run)
        else:
            _log.info("left out, not finished: %s", job.command)
    if not found:
        options = " ".join([f"experiment={experiment}", *overrides])
        raise InputError(
            f"no run of {options} in {runs_dirs[0]} has finished; train them with "
            f"{start_of(experiment, overrides)}"
        )
    return found


def _known() -> list[str]:
    return SearchPath.running().choices("experiment")


def _expand(texts: list[str]) -> list[Job]:
    """List jobs in the order of Hydra's basic sweeper: the last option varies fastest."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create(SearchPath.running().loader)  # which glob(*) asks
    parsed = zip(texts, parser.parse_overrides(texts), strict=True)
    fixed = [text for text, override in parsed if not override.is_sweep_override()]
    params = compose("train", fixed, keep_hydra=True).hydra.sweeper.get("params") or {}
    swept = [f"{key}={value}" for key, value in params.items()]
    choices: dict[str, list[str]] = {}
    for override in parser.parse_overrides([*swept, *texts]):
        key = override.get_key_element()
        sweep = override.is_sweep_override()
        values = (
            override.sweep_string_iterator() if sweep else [override.get_value_element_as_str()]
        )
        choices[key] = [f"{key}={value}" for value in values]
    return [_job(overrides) for overrides in product(*choices.values())]


def _job(overrides: tuple[str, ...]) -> Job:
    cfg = compose("train", list(overrides), keep_hydra=True)
    cfg.network_name = network_name(cfg.hydra.runtime.choices.network, cfg.network, overrides)
    cfg.pop("hydra")
    tasks = parse_tasks(cfg.task, cfg.tasks)
    cfg.task = "+".join(tasks)
    return Job(overrides, cfg, tuple(tasks), cfg.network_name, cfg.seed)


def _keys_of_run(run: RunFolder) -> list[str]:
    """Keys by which jobs find a run: hashes of its identity without the data.

    One key counts the global batch. The other counts the batch of one process, for jobs that leave
    the number of processes to the machine.
    """
    settings = run.settings
    own = run.identity or identity(settings, list(settings["tasks"]), {}, run.record["processes"])
    return [_key(own), _key(_whatever_the_processes(own, settings))]


def key_of(job: Job) -> str:
    """Return a text that is equal for jobs that are the same run, whatever its data."""
    config = cast(dict[str, Any], OmegaConf.to_container(job.cfg, resolve=True))
    left_open = config["trainer"]["devices"] in (-1, "-1", "auto")
    processes = 1 if left_open else number_of_processes(config)
    own = identity(config, job.tasks, {}, processes)
    return _key(_whatever_the_processes(own, config) if left_open else own)


def _whatever_the_processes(
    identity: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    rest = {key: value for key, value in identity.items() if key != "trainer.processes"}
    return {**rest, "data.global_batch": f"{config['data']['batch_size']} of each process"}


def _key(identity: Mapping[str, Any]) -> str:
    return digest(without_data(identity))
