"""Time and disk that a job still needs, as finished runs of its network and scale needed them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

from amir_lightning.errors import InputError
from amir_lightning.runs.folder import run_folders
from amir_lightning.runs.sweep import Job


class Cost(NamedTuple):
    """Seconds and bytes, of a step or of a whole job."""

    seconds: float
    num_bytes: float


Estimate = Callable[[Job, int], Cost | None]
"""Cost of a job that has so many steps left; None if it is unknown."""


def from_records(runs_dir: Path) -> Estimate:
    """Estimate by the median of the finished runs, with validation and test."""
    found: dict[tuple[str, str], list[Cost]] = {}
    for run in run_folders(runs_dir):
        try:
            record = run.record
            steps = record["step"] - record["sessions"][-1]["from_step"]
            if not run.finished or steps < 1:
                continue
            key = (record["network"], record["scale"])
            cost = Cost(_seconds(record) / steps, bytes_of(run.path))
        except (InputError, KeyError, IndexError, TypeError, ValueError):
            continue  # the run folder is damaged
        found.setdefault(key, []).append(cost)
    costs = {key: _medians(some) for key, some in found.items()}

    def estimate(job: Job, left: int) -> Cost | None:
        cost = costs.get((job.network, job.cfg.scale))
        return cost and Cost(left * cost.seconds, cost.num_bytes)

    return estimate


def bytes_of(folder: Path) -> int:
    """Size of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _medians(costs: Sequence[Cost]) -> Cost:
    return Cost(median(one.seconds for one in costs), median(one.num_bytes for one in costs))


def _seconds(record: Mapping[str, str]) -> float:
    ended, started = (datetime.fromisoformat(record[key]) for key in ("finished", "started"))
    return (ended - started).total_seconds()
