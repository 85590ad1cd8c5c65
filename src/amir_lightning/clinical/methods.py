"""Methods that are compared: finished runs, their clinical measures and their PSNR."""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from omegaconf import DictConfig

from amir_lightning.clinical.scoring import open_scoring, options_of
from amir_lightning.clinical.whole_patients import restorer
from amir_lightning.draw.finished_run import FinishedRun
from amir_lightning.errors import InputError
from amir_lightning.metrics import pool
from amir_lightning.runs.clinical import Overall, Row, mean_overall, mean_rows
from amir_lightning.runs.clinical_files import (
    measured_by,
    read_overall,
    read_patient_rows,
    write_clinical,
)
from amir_lightning.runs.data import locate_data
from amir_lightning.runs.folder import RunFolder
from amir_lightning.runs.scores import read_patients

_log = logging.getLogger(__name__)


class Method(NamedTuple):
    """One method and its finished runs, which differ in their seed.

    Attributes:
        title: Its name in tables and figures.
        network: Name of its network.
        runs: Its runs.
        overall: Measures of whole tasks, the mean over the runs.
        rows: Measures of patients, the mean over the runs.
        psnr: Mean PSNR over the slices of each task, the mean over the runs [dB].
        input_psnr: PSNR of the input of each task [dB].
    """

    title: str
    network: str
    runs: Sequence[FinishedRun]
    overall: Sequence[Overall]
    rows: Sequence[Row]
    psnr: Mapping[str, float]
    input_psnr: Mapping[str, float]

    def find(self, task: str, measure: str, level: str = "") -> Overall | None:
        """A measure of a task; None where there is no number."""
        for one in self.overall:
            if (one.task, one.measure, one.level) == (task, measure, level):
                return one if "restored" in one.values else None
        return None

    def patients(self, task: str, measure: str, level: str = "") -> dict[str, float]:
        """Number of the restored image of each patient."""
        return {
            row.patient: row.values["restored"]
            for row in self.rows
            if (row.task, row.measure, row.level) == (task, measure, level)
        }


def score(run: FinishedRun, cfg: DictConfig) -> None:
    """Measure a finished run and write the files, unless they are there already.

    Args:
        run: The run.
        cfg: Options of the command.

    Raises:
        InputError: The run has no scores of the split, or an option is not possible.
    """
    parts = _parts(run)
    folder = run.files.evaluation(*parts)
    options = options_of(cfg)
    run.files.rows(*parts, table="patients")  # tells what is missing before anything is restored
    if measured_by(folder) == options:
        _log.info("%s: measured before, in %s", run.name, folder)
        return
    _log.info("%s: restoring and measuring", run.name)
    scoring = open_scoring(run.cfg, cfg, locate_data(run.cfg, run.tasks))
    for one in run.restored():
        images = (image.numpy() for image in (one.lq, one.hq, one.image))
        scoring.add(one.task.name, one.patient, one.slice_index, *images)
    found = scoring.finish(restorer(run.module.network, run.module.device))
    write_clinical(folder, found, options)


def read_method(title: str, runs: Sequence[FinishedRun]) -> Method:
    """Read the measures of the runs of a method.

    Raises:
        InputError: A run lacks its scores of the split.
    """
    parts = _parts(runs[0])
    overall = [read_overall(run.files, *parts) for run in runs]
    rows = [read_patient_rows(run.files, *parts) for run in runs]
    psnr, given = zip(*(_psnr(run.files, parts) for run in runs), strict=True)
    return Method(
        title,
        runs[0].network_name,
        runs,
        mean_overall(overall),
        mean_rows(rows),
        {task: sum(one[task] for one in psnr) / len(psnr) for task in psnr[0]},
        given[0],
    )


def _parts(run: FinishedRun) -> list[str]:
    """Names that make the folder of its evaluation."""
    return [run.split, *([] if run.checkpoint == "best" else [run.checkpoint])]


def _psnr(files: RunFolder, parts: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    try:
        summary = pool(read_patients(files, "-".join(parts)))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the scores of {files.path} cannot be read ({error}); write them again with python -m "
            f"amir_lightning.evaluate run={files.typed} split={parts[0]}"
        ) from error
    means = {task: one.means for task, one in summary.tasks.items()}
    return (
        {task: own["psnr"] or 0.0 for task, own in means.items()},
        {task: own["input_psnr"] or 0.0 for task, own in means.items()},
    )
