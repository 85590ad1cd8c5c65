"""Read run folders as data: none is trusted, and a broken one does not stop the others."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from amir_lightning.config import leaves
from amir_lightning.dashboard.offline import offline_history
from amir_lightning.errors import InputError
from amir_lightning.runs.folder import RunFolder
from amir_lightning.runs.task_data import TaskData

Curve = list[tuple[int, float]]
"""Steps and values of one logged key."""

_LOGGED = re.compile(r"(?!samples/|routing/)\w+/")  # not the step, the clock and pictures
# These have columns of their own, or say where a run took place and not what it is.
_NO_SETTING = re.compile(r"(paths|logger|callbacks|trusted|run|task|network_name|scale|seed)(\.|$)")


@dataclass(frozen=True)
class RunEntry:
    """A run folder that could be read.

    Attributes:
        files: The run folder.
        config: The resolved configuration, by dotted key.
        scores: Test scores by task (or ``avg``) and by name; empty before the run has finished.
        curves: Logged curves by key.
    """

    files: RunFolder
    config: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Curve]

    @property
    def record(self) -> Mapping[str, Any]:
        """Content of ``run.json``."""
        return self.files.record

    @property
    def finished(self) -> bool:
        """Whether the run has test scores."""
        return bool(self.scores)

    @property
    def tasks(self) -> list[str]:
        """Names of its tasks."""
        return str(self.record["task"]).split("+")

    @property
    def data(self) -> Mapping[str, TaskData]:
        """Record of each task's data; empty if ``run.json`` has none."""
        try:
            return self.files.data
        except InputError:
            return {}

    @property
    def seconds(self) -> float | None:
        """Seconds of training and testing, over all restarts; None before the run has finished."""
        if (seconds := _number(self.record.get("seconds"))) is not None:
            return seconds
        try:  # an older run has no such entry
            start, end = (
                datetime.fromisoformat(self.record[key]) for key in ("started", "finished")
            )
            return (end - start).total_seconds()
        except (KeyError, TypeError, ValueError):
            return None


def collect_runs(runs_dir: Path) -> tuple[list[RunEntry], dict[str, str]]:
    """Read all run folders, the newest first.

    Args:
        runs_dir: Folder of the runs.

    Returns:
        The runs, and for each folder that cannot be read the reason.

    Raises:
        InputError: No run has finished.
    """
    entries, broken = [], {}
    folders = sorted(runs_dir.iterdir()) if runs_dir.is_dir() else []
    for folder in folders:
        if folder.is_dir() and not folder.name.startswith("."):
            try:
                entries.append(read_run(folder))
            except InputError as error:
                broken[folder.name] = str(error)
    if not any(entry.finished for entry in entries):
        started = [entry.files.name for entry in entries]
        goes_on = f" ({len(started)} started)" if started else ""
        run = f" run={started[0]}" if started else ""
        raise InputError(
            f"no run in {runs_dir} has finished{goes_on}; type python -m amir_lightning.train{run} "
            "first"
        )
    entries.sort(key=lambda entry: str(entry.record.get("started")), reverse=True)
    return entries, broken


def read_run(folder: Path) -> RunEntry:
    """Read a run folder.

    Raises:
        InputError: A file is missing or damaged.
    """
    files = RunFolder(folder)
    for key in ("task", "network", "scale"):
        if not isinstance(files.record.get(key), str):
            raise InputError(f"{files.record_file} has no {key}; train again")
    return RunEntry(files, dict(leaves(files.settings)), files.scores, _curves(files))


def settings(entries: Sequence[RunEntry]) -> list[dict[str, Any]]:
    """Select the settings of each run that most comparable runs do not have.

    Values are compared among runs of one scale, and options of a network among runs of that
    network. Between other runs nearly all values differ, so a difference would say nothing.

    Args:
        entries: Runs to be compared.

    Returns:
        For each run, its rare values by dotted key.
    """
    values: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for entry in entries:
        for key, value in entry.config.items():
            values[_peers(entry, key)][repr(value)] += 1
    return [
        {
            key: value
            for key, value in entry.config.items()
            if _is_rare(repr(value), values[_peers(entry, key)]) and not _NO_SETTING.match(key)
        }
        for entry in entries
    ]


def comparable(entries: Sequence[RunEntry], task: str) -> list[tuple[str, list[int]]]:
    """Group the runs of a task by what their validation scores were measured on.

    Scores compare only on the same data, over the same number of slices and by one definition.

    Args:
        entries: All runs.
        task: Name of the task.

    Returns:
        Description of each group and positions of its runs in `entries`, the largest group first.
        Runs that do not record their data share one group, "unknown data".
    """
    # An older run does not record the recipe of its phantoms; a newer one of equal content does.
    recorded = [entry.data[task] for entry in entries if task in entry.data]
    known = {data.fingerprint: data for data in recorded if data.source != "unknown"}
    names = {"": "unknown data"}
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for index, entry in enumerate(entries):
        if task not in entry.tasks:
            continue
        key = ""
        if (own := entry.data.get(task)) is not None:
            data = known.get(own.fingerprint, own)
            key = data.key
            source = "data" if data.source == "unknown" else data.source
            names.setdefault(key, f"{source} {data.fingerprint[:12]}")
        slices, metrics = (entry.config.get(one) for one in ("validation.slices", "metrics"))
        groups[key, f"{slices or 'all'} slices", f"{metrics or 'paper'} definition"].append(index)
    # The data are always named, the rest only where groups differ in it.
    told = [len({group[i] for group in groups}) > 1 for i in (1, 2)]
    return [
        (
            ", ".join([names[key], *(text for text, tell in zip(how, told, strict=True) if tell)]),
            runs,
        )
        for (key, *how), runs in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]


def _is_rare(value: str, among: Counter[str]) -> bool:
    return 2 * among[value] <= among.total()


def _peers(entry: RunEntry, key: str) -> tuple[str, ...]:
    network = str(entry.record["network"]) if key.startswith("network.") else ""
    return str(entry.record["scale"]), network, key


def _curves(files: RunFolder) -> dict[str, Curve]:
    """Read metrics.csv, or W&B's offline files if it is missing."""
    rows: list[dict[str, Any]]
    try:
        rows = [*files.logged()]
    except InputError:
        rows = [row for path in _offline_files(files.path) for row in offline_history(path)]
    curves: dict[str, Curve] = {}
    for row in rows:
        step = _number(row.get("step"))
        for key, value in row.items():
            number = _number(value)
            if step is not None and number is not None and _LOGGED.match(str(key)):
                curves.setdefault(key, []).append((int(step), number))
    return curves


def _offline_files(folder: Path) -> list[Path]:
    """Offline files of a run and of its restarts, in the order in which they were written."""
    return sorted(folder.glob("wandb/*run-*/run-*.wandb"))


def _number(value: object) -> float | None:
    """Convert to a finite number; None if that is impossible, as for a torn cell."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
