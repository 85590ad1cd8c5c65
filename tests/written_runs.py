"""Run folders of a sweep as training leaves them, with scores that a test chooses."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from amir_lightning.metrics import SCORES, summarise
from amir_lightning.runs import sweep
from amir_lightning.runs.scores import write_scores
from amir_lightning.runs.sweep import Job

PATIENTS = ("p1", "p2", "p3", "p4", "p5", "p6")
Scores = Callable[[Job, str, str], Mapping[str, float]]


@cache
def jobs(experiment: str, *overrides: str) -> list[Job]:
    """`sweep.jobs`, composed once for all tests."""
    return sweep.jobs(experiment, overrides)


def write_run(
    job: Job,
    runs_dir: Path,
    scores: Scores,
    fingerprint: str = "f" * 64,
    finished: bool = True,
    started: str = "2026-01-01T00:00:00+00:00",
    name: str | None = None,
    source: str = "phantoms",
) -> Path:
    """Two slices of each of six patients per task; `scores` gives psnr, ssim and rmse of each."""
    folder = runs_dir / (name or f"{job.cfg.task}-{job.network}-s{job.seed}")
    (folder / "evaluation" / "test").mkdir(parents=True)
    config = OmegaConf.to_container(job.cfg, resolve=True)
    assert isinstance(config, dict)
    config["tasks"] = {task: config["tasks"][task] for task in job.tasks}
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    record = {
        "name": folder.name,
        "network": job.network,
        "scale": job.cfg.scale,
        "seed": job.seed,
        "parameters": 1_234_567,
        "started": started,
        "finished": "2026-01-01T00:10:00+00:00",
        "step": 600,
        "processes": 1,
        "sessions": [{"from_step": 0}],
        "data": {
            task: {
                "file": f"data/{task}.h5",
                "fingerprint": f"{task}{fingerprint}",
                "source": source,
            }
            for task in job.tasks
        },
    }
    (folder / "run.json").write_text(json.dumps(record))
    if not finished:
        return folder
    result = {f"test/{task}/psnr": 1.0 for task in (*job.tasks, "avg")}
    (folder / "result.json").write_text(json.dumps({**result, "metrics": job.cfg.metrics}))
    rows = [
        {"task": task, "patient": patient, "slice": number}
        | dict.fromkeys(SCORES, 1.0)
        | dict(scores(job, task, patient))
        for task in job.tasks
        for patient in PATIENTS
        for number in range(2)
    ]
    write_scores(folder / "evaluation" / "test", rows, summarise(rows))
    return folder


def plain_scores(job: Job, task: str, patient: str) -> Mapping[str, float]:
    """Networks with longer names are better, seeds and patients move the scores a little."""
    better = len(job.network) + 0.1 * len(job.tasks) + 0.01 * job.seed
    hard = PATIENTS.index(patient) * 0.5
    return {
        "psnr": 20 + better - hard,
        "ssim": 0.5 + 0.01 * (better - hard),
        "rmse": 100 - 5 * better + hard,
    }
