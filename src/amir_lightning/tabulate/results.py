"""Finished runs of each method, read from their folders."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from amir_lightning.errors import InputError
from amir_lightning.metrics import SCORES, Group, Means, Summary, pool
from amir_lightning.runs.folder import RunFolder
from amir_lightning.runs.rates import taken_from
from amir_lightning.runs.scores import Patients, read_patients
from amir_lightning.runs.sweep import Job
from amir_lightning.runs.task_data import Source, TaskData
from amir_lightning.tasks import Task

_METHOD = "+experiment/method="
PAPER_SCORES = ("psnr", "ssim", "rmse")


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        files: Its run folder.
        metrics: Definition of its scores.
        patients: Mean scores of each test patient.
        data: Data of each task.
    """

    files: RunFolder
    metrics: str
    patients: Patients
    data: Mapping[str, TaskData]


@dataclass(frozen=True)
class Method:
    """A row of a table: runs that differ only in their seed.

    Attributes:
        label: Name in the table.
        network: Its file in ``conf/network``.
        trained: Tasks that it was trained on.
        scale: ``demo``, ``study`` or ``paper``.
        wanted: Number of seeds in the sweep.
        runs: Finished runs; without one the row shows dashes.
        summary: Scores averaged over the seeds patient by patient; None without a run.
        paper: What the paper prints, by (task, score); the task may be "average".
        paper_parameters: Millions of parameters as the paper prints them.
        recipe: Budget, batch and optimiser of the method's own paper, if the table shows them.
        rate_of: Network whose learning rate it was trained at; None if it has one of its own.
    """

    label: str
    network: str
    trained: tuple[str, ...]
    scale: str
    wanted: int
    runs: tuple[Run, ...]
    summary: Summary | None
    paper: Mapping[tuple[str, str], float]
    paper_parameters: float | None
    recipe: str | None = None
    rate_of: str | None = None

    def value(self, task: str, score: str) -> float | None:
        """Mean over test slices and seeds; the task "average" is the mean over the tasks.

        None if a task that was trained has no score.
        """
        return None if self.summary is None else self._value(self.summary, task, score)

    def basis(self, task: str) -> tuple[object, ...]:
        """Scale, definition and data: scores compare only if these are equal."""
        metrics = {run.metrics for run in self.runs}
        data = {
            (name, one.key)
            for run in self.runs
            for name, one in run.data.items()
            if task in (name, "average")
        }
        return self.scale, *sorted(metrics), *sorted(data)

    def per_seed(self, task: str, score: str) -> list[float]:
        """Mean over test slices, for each seed."""
        values = (self._value(pool(run.patients), task, score) for run in self.runs)
        return [value for value in values if value is not None]

    def _value(self, summary: Summary, task: str, score: str) -> float | None:
        if task == "average":
            return summary.average[score] if set(self.trained) <= set(summary.tasks) else None
        group = summary.tasks.get(task)
        return None if group is None else group.means[score]

    @property
    def parameters(self) -> int | None:
        """Number of trainable parameters."""
        return int(self.runs[0].files.record["parameters"]) if self.runs else None


def collect(
    jobs: Sequence[Job],
    folders: Sequence[RunFolder | None],
    paper: Path,
    bootstrap: int,
    titles: Mapping[str, str] | None = None,
) -> list[Method]:
    """Group the jobs of a sweep into the rows of its table, in the order of the sweep.

    Args:
        jobs: The jobs.
        folders: The run folder of each; unfinished ones count as missing.
        paper: The paper's numbers, ``paper.csv``; it need not exist.
        bootstrap: Resamples of the patients for the confidence intervals.
        titles: Titles of networks of which the paper prints no number.

    Raises:
        InputError: The jobs are a search, or the scores of a run cannot be read.
    """
    if any(job.cfg.scored != "test" for job in jobs):
        raise InputError(
            "tables and claims are about test patients, and these runs are scored on validation "
            "patients, as those of a search; type python -m amir_lightning.search instead"
        )
    groups: dict[tuple[str, ...], list[tuple[Job, Run | None]]] = {}
    for job, run in zip(jobs, _read_all(folders), strict=True):
        key = tuple(text for text in job.overrides if not text.startswith(("seed=", "repeat=")))
        groups.setdefault(key, []).append((job, run))
    printed = _read_paper(paper)
    methods = []
    for key, members in groups.items():
        job = members[0][0]
        found = tuple(run for _, run in members if run is not None)
        lines = printed.get((job.network, job.tasks), [])
        label = lines[0]["method"] if lines else (titles or {}).get(job.network, job.network)
        extra = [text for text in key if any(text not in other for other in groups)]
        if (
            sum(
                other[0][0].network == job.network and other[0][0].tasks == job.tasks
                for other in groups.values()
            )
            > 1
        ):
            # The name of a method is that of a file of options; the label says the network already.
            named = [text for text in extra if not text.startswith("network=")]
            label += f" ({' '.join(text.removeprefix(_METHOD) for text in named)})"
        million = lines[0]["parameters"] if lines else ""
        methods.append(
            Method(
                label,
                job.network,
                job.tasks,
                job.cfg.scale,
                len(members),
                found,
                pool(_mean_patients(found), bootstrap) if found else None,
                {
                    (one["task"], score): float(one[score])
                    for one in lines
                    for score in PAPER_SCORES
                    if one[score]
                },
                float(million) if million else None,
                lines[0].get("recipe") if lines else None,
                taken_from(job),
            )
        )
    return methods


def refuse_mixtures(
    methods: Iterable[Method],
    otherwise: str = ", or type mixed=true to put them into one table anyway",
) -> None:
    """Refuse runs that mix scales, definitions of the scores, or data of a task.

    Args:
        methods: Rows with runs.
        otherwise: What else can be done, for the error message.

    Raises:
        InputError: The runs differ in one of them.
    """
    found: dict[str, dict[str, str]] = {}
    for method in methods:
        for run in method.runs:
            facts = {"scale": method.scale, "metric definition": run.metrics}
            facts |= {
                f"data of {task}": f"{one.source} {one.key[:12]}" for task, one in run.data.items()
            }
            for fact, value in facts.items():
                found.setdefault(fact, {}).setdefault(value, run.files.name)
    for fact, values in found.items():
        if len(values) > 1:
            listed = ", ".join(f"{value} ({folder})" for value, folder in values.items())
            raise InputError(
                f"the runs differ in their {fact}: {listed}; train the others again{otherwise}"
            )


def tasks_of(source: Source, runs: Sequence[Run], tasks: Sequence[Task]) -> list[str]:
    """Names of the tasks whose data come from a source in at least one run."""
    return [
        task.name
        for task in tasks
        if any(task.name in run.data and run.data[task.name].source == source for run in runs)
    ]


def drawn_apart(runs: Sequence[Run]) -> list[str]:
    """Names of the tasks whose phantoms have equal recipes but different contents."""
    contents: dict[tuple[str, str], set[str]] = {}
    for run in runs:
        for task, data in run.data.items():
            contents.setdefault((task, data.key), set()).add(data.fingerprint)
    return sorted({task for (task, _), found in contents.items() if len(found) > 1})


def _read_all(folders: Sequence[RunFolder | None]) -> list[Run | None]:
    """Read the finished runs; where an older one records no source, take it from equal data."""
    found = [_read(files) if files is not None and files.finished else None for files in folders]
    known = {
        data.fingerprint: data
        for run in found
        for data in (run.data.values() if run else ())
        if data.source != "unknown"
    }
    return [
        run and replace(run, data={k: known.get(v.fingerprint, v) for k, v in run.data.items()})
        for run in found
    ]


def _read(files: RunFolder) -> Run:
    try:
        patients = read_patients(files, "test")
        metrics = str(files.result["metrics"])
        _check_tasks(set(patients), files.result)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the scores of {files.path} cannot be read ({error}); write them again with python -m "
            f"amir_lightning.evaluate run={files.typed}, or remove the folder and train again"
        ) from error
    return Run(files, metrics, patients, files.data)


def _check_tasks(found: set[str], result: Mapping[str, Any]) -> None:
    """Compare the tasks of the patients with those of ``result.json``.

    Raises:
        ValueError: Some have no patient, or there is no patient at all.
    """
    named = (key.split("/") for key in result if key.startswith("test/") and key.endswith("/psnr"))
    missing = sorted({task for _, task, _ in named} - {"avg"} - found)
    if missing or not found:
        raise ValueError(f"patients.csv has no row of {', '.join(missing) or 'any task'}")


def _mean_patients(found: Sequence[Run]) -> Patients:
    """Average the scores of each patient over the seeds, for every patient that all seeds have."""
    return {
        task: {
            name: _mean_group([run.patients[task][name] for run in found])
            for name in patients
            if all(name in run.patients.get(task, {}) for run in found)
        }
        for task, patients in found[0].patients.items()
    }


def _mean_group(groups: Sequence[Group]) -> Group:
    slices = min(group.num_slices for group in groups)  # without any there is no mean
    means: Means = dict.fromkeys(SCORES)
    if slices:
        columns = {score: [group.means[score] or 0.0 for group in groups] for score in SCORES}
        means = {score: sum(column) / len(column) for score, column in columns.items()}
    return Group(means, slices, groups[0].num_constant)


def _read_paper(path: Path) -> dict[tuple[str, tuple[str, ...]], list[dict[str, str]]]:
    if not path.exists():
        return {}
    lines: dict[tuple[str, tuple[str, ...]], list[dict[str, str]]] = {}
    with path.open(newline="") as file:
        for line in csv.DictReader(file):
            key = (line["network"], tuple(line["trained"].split("+")))
            lines.setdefault(key, []).append(line)
    return lines
