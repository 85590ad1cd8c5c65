"""``python -m amir_lightning.plan experiment=table3``: time and disk that a sweep needs."""

import math
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

from omegaconf import DictConfig

from amir_lightning.cli import command
from amir_lightning.errors import InputError
from amir_lightning.runs.folder import RunFolder, run_folders
from amir_lightning.runs.sweep import Job, experiment_of, jobs, locate, start_of

_PIPE_WIDTH = 200  # columns; wider than any row


class Cost(NamedTuple):
    """Time of one training step and disk space of a finished run, measured on this machine."""

    seconds: float
    num_bytes: float


@command("plan", options_of="train")
def main(cfg: DictConfig) -> None:
    """Print the jobs of a sweep, their state, and the time and disk space they still need."""
    from rich.console import Console
    from rich.table import Table

    runs_dir = Path(cfg.paths.runs_dir)
    experiment, overrides = experiment_of(cfg.train)
    planned = jobs(experiment, overrides)
    costs = _costs(runs_dir)
    table = Table(title=f"experiment={experiment}", title_justify="left")
    for name in ("task", "network"):
        table.add_column(name, overflow="fold")  # long names wrap and are never cut
    for name in ("scale", "seed", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("steps left", "time", "disk"):
        table.add_column(name, justify="right", no_wrap=True)
    states: Counter[str] = Counter()
    needed: list[Cost] = []
    unknown = set()
    for job, run in zip(planned, locate(planned, runs_dir), strict=True):
        state, left = _state(job, run)
        cost = costs.get((job.network, job.cfg.scale))
        states[state] += 1
        cells = ["-", "-"]
        if state != "finished" and cost is not None:
            needed.append(Cost(left * cost.seconds, cost.num_bytes))
            cells = [_time(needed[-1].seconds), _size(cost.num_bytes)]
        elif state != "finished":
            unknown.add(job.network)
            cells = ["unknown", "unknown"]
        row = (job.cfg.task, job.network, job.cfg.scale, str(job.seed), state, f"{left:,}")
        table.add_row(*row, *cells)
    # A file or a pipe has no width to fit into.
    Console(soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    print(f"{'jobs':>10}  {len(planned)}: {counts}")
    named = ", ".join(sorted(unknown))
    until = "unknown until one run of the network has finished"
    if needed or not unknown:
        seconds, disk = (sum(column) for column in zip(Cost(0, 0), *needed, strict=True))
        needs = f"{_time(seconds)}, one job after the other, and {_size(disk)} of disk"
        print(f"{'needed':>10}  {needs if needed else 'nothing'}")
        if unknown:
            print(f"{'':>10}  besides {named}: {until}")
    else:
        print(f"{'needed':>10}  {until} ({named})")
    print(f"{'free':>10}  {_size(_free(runs_dir))} in {runs_dir}")
    print(f"{'start':>10}  {start_of(experiment, overrides)}")


def _state(job: Job, run: RunFolder | None) -> tuple[str, int]:
    """Return whether a job is finished, started or new, and how many steps are left."""
    steps = int(job.cfg.trainer.max_steps)
    if run is None:
        return "new", steps
    if run.finished:
        return "finished", 0
    # The record of a killed run has no step. It resumes from its last checkpoint nevertheless.
    return "started", max(0, steps - int(run.record.get("step", 0)))


def _costs(runs_dir: Path) -> dict[tuple[str, str], Cost]:
    """Median cost of the finished runs of each network and scale, with validation and test."""
    found: dict[tuple[str, str], list[Cost]] = {}
    for run in run_folders(runs_dir):
        try:
            record = run.record
            steps = record["step"] - record["sessions"][-1]["from_step"]
            if not run.finished or steps < 1:
                continue
            key = (record["network"], record["scale"])
            cost = Cost(_seconds(record) / steps, _bytes(run.path))
        except (InputError, KeyError, IndexError, TypeError, ValueError):
            continue  # the run folder is damaged
        found.setdefault(key, []).append(cost)
    return {key: _medians(costs) for key, costs in found.items()}


def _medians(costs: Sequence[Cost]) -> Cost:
    return Cost(median(one.seconds for one in costs), median(one.num_bytes for one in costs))


def _seconds(record: Mapping[str, str]) -> float:
    ended, started = (datetime.fromisoformat(record[key]) for key in ("finished", "started"))
    return (ended - started).total_seconds()


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _free(folder: Path) -> int:
    existing = next(
        path for path in [folder.absolute(), *folder.absolute().parents] if path.exists()
    )
    return shutil.disk_usage(existing).free


def _time(seconds: float) -> str:
    if seconds < 3600:
        return f"{math.ceil(seconds / 60)} min"
    return f"{seconds / 3600:,.1f} hours"


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:,.0f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:,.1f} GB"


if __name__ == "__main__":
    main()
