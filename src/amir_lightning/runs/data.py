"""Data of a run: the file of each task, and the check that it is the data of the training."""

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from amir_lightning.cli.searchpath import typed_folders
from amir_lightning.config import plain
from amir_lightning.data.embedded import Cohort, cache_name, embedded_store
from amir_lightning.data.store import Store
from amir_lightning.errors import InputError
from amir_lightning.runs.folder import RunFolder
from amir_lightning.runs.task_data import Source, TaskData
from amir_lightning.tasks import Task

_log = logging.getLogger(__name__)


def locate_data(cfg: DictConfig, tasks: list[Task], option: str | None = None) -> dict[Task, Path]:
    """Find the data file of each task, and log which one it is.

    Args:
        cfg: Configuration with the nodes ``data`` and ``paths``.
        tasks: The tasks.
        option: Option of the command that chooses the data, for errors; None if it has none.

    Raises:
        InputError: ``data.source`` is "prepared" and a prepared file is missing, or a file cannot
            be read.
    """
    if cfg.data.source not in ("auto", "prepared", "phantoms"):
        raise InputError(
            f"{option or 'data.source'} is '{cfg.data.source}'; choose from auto, prepared, "
            "phantoms"
        )
    cohort = Cohort(**{str(key): value for key, value in cfg.data.phantoms.items()})
    found = {}
    for task in tasks:
        prepared = Path(cfg.paths.prepared_dir) / f"{task.name}.h5"
        if cfg.data.source != "phantoms" and prepared.exists():
            _log.info("%s: prepared data %s", task.name, prepared)
            found[task] = prepared
            continue
        default = prepared.as_posix() == f"data/prepared/{task.name}.h5"
        where = [] if default else [shlex.quote(f"paths.prepared_dir={prepared.parent}")]
        options = " ".join([*typed_folders(), f"task={task.name}", "raw_dir=<folder>", *where])
        prepare = f"python -m amir_lightning.prepare {options}"
        if cfg.data.source == "prepared":
            instead = f", or {option}=phantoms for embedded patients" if option else ""
            raise InputError(
                f"{prepared} does not exist, and {option or 'data.source'}=prepared takes no other "
                f"data; type {prepare} first{instead}"
            )
        reason = "" if cfg.data.source == "phantoms" else f" ({prepared} does not exist; {prepare})"
        _log.info("%s: embedded phantoms%s", task.name, reason)
        found[task] = embedded_store(task, cohort, Path(cfg.paths.phantom_dir))
    return found


def set_physics(run: DictConfig, cfg: DictConfig) -> list[str]:
    """Set parameters of degradations, as they were typed, in the configuration of a run.

    Args:
        run: Configuration of the run.
        cfg: Configuration of the running command, with the node ``tasks``.

    Returns:
        ``<task>.<parameter>=<value>`` for each of them.

    Raises:
        InputError: Something else of a task was typed, or the scored data are not phantoms.
    """
    from hydra.core.hydra_config import HydraConfig

    typed = [text.lstrip("+") for text in HydraConfig.get().overrides.task]
    typed = [text for text in typed if text.startswith("tasks.")]
    for text in typed:
        key = text.partition("=")[0]
        _, task, *below = key.split(".")
        if below[:1] != ["degradation"] or len(below) < 2 or task not in run.tasks:
            raise InputError(
                f"{text} is no parameter of a degradation of this run; type for instance "
                f"tasks.{next(iter(run.tasks))}.degradation.<parameter>=<value>, or leave it out"
            )
        if cfg.source != "phantoms":
            raise InputError(
                f"{text} needs patients that are scanned with it; type source=phantoms, too"
            )
        run.tasks[task].degradation[below[1]] = plain(cfg.tasks[task].degradation)[below[1]]
    return [text.removeprefix("tasks.").replace(".degradation", "", 1) for text in typed]


def describe_data(stores: Mapping[Task, Path]) -> dict[str, TaskData]:
    """Describe the data files for ``run.json``.

    Each file is indexed first, so that damaged data fails before a run folder exists.

    Raises:
        InputError: A file is damaged, or belongs to another task.
    """
    opened = {task.name: Store(path, task.name) for task, path in stores.items()}
    for store in opened.values():
        store.patients("train")
    return {name: _describe(store) for name, store in opened.items()}


def same_data(stores: Mapping[Task, Path], run: RunFolder) -> dict[str, TaskData]:
    """Describe the data files, and check that a run was trained on them.

    Phantoms that the same generator has drawn on another CPU differ in their last digits. They are
    accepted with a warning.

    Raises:
        InputError: The content of a file has changed since the run was started.
    """
    found, recorded = describe_data(stores), run.data
    if recorded.keys() != found.keys():
        raise InputError(
            f"{run.record_file} does not say which data the run was trained on; train it again"
        )
    for name, data in recorded.items():
        if not found[name].is_same(data):
            raise InputError(
                f"the data of {name} changed since {run.name} was started from {data.file}: "
                f"fingerprint {data.fingerprint[:12]} then, {found[name].fingerprint[:12]} now; "
                "start a new run, or score other data on purpose: type evaluate source=phantoms or "
                "source=prepared"
            )
    say_other_phantoms(found, run)
    return found


def say_other_phantoms(found: Mapping[str, TaskData], run: RunFolder) -> None:
    """Warn if phantoms of the same recipe differ from those of a run."""
    for name, data in run.data.items():
        if found[name].fingerprint != data.fingerprint:
            _log.warning(
                "%s: the phantoms of %s have another content (fingerprint %s) than those drawn "
                "here (%s): another CPU or another version of numpy or torch rounds otherwise",
                name,
                run.name,
                data.fingerprint[:12],
                found[name].fingerprint[:12],
            )


def _describe(store: Store) -> TaskData:
    """Describe a store. Its recipe is trusted only in the cache, where no user puts other files."""
    source: Source = "phantoms" if store.source == "phantoms" else "scans"
    cached = store.drawn and store.path.name == cache_name(store.task, store.drawn)
    drawn = store.drawn if cached else None
    return TaskData(str(store.path), store.fingerprint, source, drawn)
