"""Reader of run folders, which all commands use.

A run folder holds ``config.yaml`` (resolved), ``run.json`` (versions, machine, data and identity),
``checkpoints/``, ``samples/``, ``metrics.csv``, ``evaluation/`` and, when the run has finished,
``result.json``. Nothing in it is trusted. Entries that an earlier version has not written are
unknown.
"""

import csv
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

from omegaconf import DictConfig, OmegaConf

from amir_lightning.errors import InputError
from amir_lightning.runs.identity import digest, run_names
from amir_lightning.runs.record import read_json, read_yaml
from amir_lightning.runs.task_data import Source, TaskData, common_source, task_data
from amir_lightning.system.trust import refuse_foreign_classes

_ADVICE = "choose another run, or train again"
_SCORE = re.compile(r"(test|val)/(.+)/((?:input_)?(?:psnr|ssim|rmse))")


@dataclass(frozen=True)
class RunFolder:
    """A run folder.

    Attributes:
        path: Path of the folder.
    """

    path: Path

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.name

    @property
    def typed(self) -> str:
        """Value of ``run=`` that finds the run, quoted for the shell: its name or its path."""
        usual = self.path.parent == Path("runs")
        return shlex.quote(self.name if usual else str(self.path))

    @property
    def config_file(self) -> Path:
        """File with the resolved configuration."""
        return self.path / "config.yaml"

    @property
    def record_file(self) -> Path:
        """File with versions, machine, data and identity of the run."""
        return self.path / "run.json"

    @property
    def result_file(self) -> Path:
        """File with the scores of a finished run."""
        return self.path / "result.json"

    @property
    def finished(self) -> bool:
        """Whether the run has its test scores."""
        return self.result_file.exists()

    def checkpoint(self, name: str) -> Path:
        """Return the file of a checkpoint: "best", "last" or a path.

        Raises:
            InputError: The checkpoint belongs to another run, with other data.
        """
        named = name in ("best", "last")
        path = self.path / "checkpoints" / f"{name}.ckpt" if named else Path(name)
        other = path.resolve().parents[1]
        if (other / "run.json").exists() and other != self.path.resolve():
            raise InputError(
                f"{path} is of another run than {self.name}; type run={RunFolder(other).typed}"
            )
        return path

    def evaluation(self, *parts: str) -> Path:
        """Folder of an evaluation, named by its split and by what differs from the training."""
        return self.path / "evaluation" / "-".join(parts)

    @cached_property
    def record(self) -> dict[str, Any]:
        """Content of ``run.json``.

        Raises:
            InputError: The file is missing or damaged.
        """
        return read_json(self.record_file)

    @cached_property
    def result(self) -> dict[str, Any]:
        """Content of ``result.json``; empty before the run has finished.

        Raises:
            InputError: The file is damaged.
        """
        return read_json(self.result_file) if self.finished else {}

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Test scores by task (and ``avg``) and by name of the score; a search has none.

        Raises:
            InputError: The run has finished without scores.
        """
        scores = self.scores_of("test")
        if self.finished and not scores and not self.scores_of("val").keys() - {"avg"}:
            raise InputError(f"{self.result_file} has no test scores; remove it and train again")
        return scores

    def scores_of(self, split: Literal["test", "val"]) -> dict[str, dict[str, float]]:
        """Scores in ``result.json`` of a split, by task (and ``avg``) and by name of the score."""
        scores: dict[str, dict[str, float]] = {}
        for key, value in self.result.items():
            found = _SCORE.fullmatch(key)
            if found and found[1] == split and isinstance(value, int | float):
                scores.setdefault(found[2], {})[found[3]] = float(value)
        return scores

    @property
    def identity(self) -> dict[str, Any] | None:
        """Identity of the run; None if an earlier version wrote the folder without one."""
        found = self.record.get("identity")
        return found if isinstance(found, dict) else None

    @property
    def data(self) -> dict[str, TaskData]:
        """Data of each task.

        Raises:
            InputError: ``run.json`` does not record the data.
        """
        recorded = self.record.get("data")
        try:
            if not isinstance(recorded, dict) or not recorded:
                raise TypeError
            return {name: task_data(facts) for name, facts in recorded.items()}
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{self.record_file} does not say which data the run was trained on; train it again"
            ) from error

    @property
    def source(self) -> Source:
        """Common source of the data of all tasks."""
        try:
            return common_source(self.data.values())
        except InputError:
            return "unknown"

    @property
    def settings(self) -> dict[str, Any]:
        """Resolved configuration to read; its classes are not checked, so never build them.

        Raises:
            InputError: The file is missing or damaged.
        """
        return cast(dict[str, Any], OmegaConf.to_container(self._saved_config(), resolve=False))

    def config(self, trusted: Sequence[str]) -> DictConfig:
        """Return the resolved configuration to build objects from, without the logger.

        A logger can connect to any server and write to any path. Only a training has one, and
        checks it itself.

        Args:
            trusted: Modules whose classes it may name. A folder from elsewhere could name any code.
                The optimiser may also be one of ``torch.optim``.

        Raises:
            InputError: The file is missing or damaged, or names a class of another module.
        """
        saved = self._saved_config()
        saved.pop("logger", None)
        nodes = cast(dict[str, Any], OmegaConf.to_container(saved))
        for name, node in nodes.items():
            allowed = [*trusted, *(["torch.optim"] if name == "optimizer" else [])]
            refuse_foreign_classes({name: node}, self.config_file, allowed)
        return saved

    def rows(self, *parts: str, table: str = "slices") -> list[dict[str, str]]:
        """Read the scores of each slice of an evaluation as text, or another of its tables.

        Raises:
            InputError: There is no such evaluation.
        """
        advice = f"write it with python -m amir_lightning.evaluate run={self.typed}"
        return read_table(self.evaluation(*parts) / f"{table}.csv", advice)

    def evaluations(self, table: str) -> Iterator[tuple[str, DictConfig]]:
        """Yield the name of each evaluation that wrote a table, and the options it was typed with.

        Args:
            table: Name of the table.

        Raises:
            InputError: The options cannot be read.
        """
        for path in sorted(self.path.glob(f"evaluation/*/{table}.csv")):
            options = path.with_name("evaluate.yaml")
            yield (
                path.parent.name,
                read_yaml(options, f"remove {path.parent}, or score it again"),
            )

    def logged(self) -> list[dict[str, str]]:
        """Read the rows of ``metrics.csv`` as text.

        Raises:
            InputError: The file is missing or damaged.
        """
        return read_table(self.path / "metrics.csv", _ADVICE)

    def _saved_config(self) -> DictConfig:
        return read_yaml(self.config_file, _ADVICE)


def run_folders(runs_dir: Path) -> Iterator[RunFolder]:
    """Yield all run folders, sorted by name."""
    yield from (RunFolder(path.parent) for path in sorted(runs_dir.glob("*/run.json")))


def find_run(name: str, runs_dir: Path, holding: str = "run.json") -> RunFolder:
    """Find the run folder of a path, a name in `runs_dir`, or "last".

    Args:
        name: Path, name, or "last".
        runs_dir: Folder of all runs.
        holding: For "last", skip run folders without this file.

    Raises:
        InputError: There is no such run.
    """
    started = {run.path: _started(run) for run in run_folders(runs_dir)}
    if name == "last":
        started = {path: time for path, time in started.items() if (path / holding).exists()}
        if not started:
            raise InputError(
                f"there is no run in {runs_dir}; train one: python -m amir_lightning.train"
            )
        return RunFolder(max(started, key=lambda path: started[path]))
    for path in (Path(name), runs_dir / name):
        if (path / "run.json").exists():
            return RunFolder(path)
    newest = sorted(started, key=lambda path: started[path])[:-4:-1]
    listed = f"; the newest are {', '.join(path.name for path in newest)}" if newest else ""
    raise InputError(f"there is no run '{name}' in {runs_dir}{listed} (run=last is the newest)")


def folder_of(identity: Mapping[str, Any], runs_dir: Path) -> RunFolder:
    """Return the folder of the run with this identity, whether it has been started or not.

    A folder belongs to the run only if it records an equal identity. If another run has taken the
    name, the folder is named with more digits of the hash.

    Args:
        identity: Identity of the run.
        runs_dir: Folder of all runs.

    Raises:
        InputError: The ``run.json`` of a folder of that name is damaged or lost, so that its
            weights may belong to any run.
    """
    folders = [RunFolder(runs_dir / name) for name in run_names(identity)]
    kept = ("run.json", "result.json", "checkpoints")
    started = [one for one in folders if any((one.path / name).exists() for name in kept)]
    own = [one for one in started if one.identity and digest(one.identity) == digest(identity)]
    return next(one for one in [*own, *folders] if one in own or one not in started)


def read_table(path: Path, advice: str) -> list[dict[str, str]]:
    """Read a CSV file of a run folder as text; `advice` ends the error if it cannot be read."""
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}); {advice}") from error


def _started(run: RunFolder) -> str:
    try:
        return str(run.record["started"])
    except (InputError, KeyError):
        return ""  # sorts damaged runs first
