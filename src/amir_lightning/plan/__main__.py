"""``python -m amir_lightning.plan experiment=table3``: time and disk that a sweep needs."""

import math
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from amir_lightning.cli import command
from amir_lightning.errors import InputError
from amir_lightning.plan.costs import Cost, Estimate, from_records
from amir_lightning.runs.folder import RunFolder
from amir_lightning.runs.sweep import Job, experiment_of, jobs, key_of, locate, start_of

_PIPE_WIDTH = 200  # columns; wider than any row


class State(NamedTuple):
    """A job of a sweep before the sweep is started.

    Attributes:
        job: The job.
        state: finished, started, new, or shared: a sweep above trains the same run.
        left: Steps that are left.
    """

    job: Job
    state: str
    left: int


class Sweep(NamedTuple):
    """One sweep of a plan.

    Attributes:
        tier: Name of the tier that it belongs to; empty if only one sweep is planned.
        experiment: Name of its file in ``conf/experiment``.
        overrides: Other options of train.
        states: Its jobs.
    """

    tier: str
    experiment: str
    overrides: list[str]
    states: list[State]


@command("plan", options_of="train")
def main(cfg: DictConfig) -> None:
    """Print the jobs of a sweep, their state, and the time and disk space they still need."""
    runs_dir = Path(cfg.paths.runs_dir)
    sweeps = list(_sweeps(cfg, runs_dir))
    drawing = 0.0
    if cfg.time:
        from amir_lightning.plan.timing import from_steps

        if cfg.timed_steps < 1:
            raise InputError(
                f"timed_steps is {cfg.timed_steps}, expected at least 1; type timed_steps=50"
            )
        open_jobs = [one.job for sweep in sweeps for one in sweep.states if _is_open(one)]
        estimate, drawing = from_steps(open_jobs, cfg.timed_steps)
    else:
        estimate = from_records(runs_dir)
    for sweep in sweeps:
        _print_jobs(sweep, estimate)
    if drawing:
        print(f"{'data':>10}  {_time(drawing)} to draw the embedded patients, once")
    if len(tiers := list(dict.fromkeys(sweep.tier for sweep in sweeps))) > 1:
        for tier in tiers:
            _print_needs(tier, [one for one in sweeps if one.tier == tier], estimate, 0.0)
    _print_needs("needed", sweeps, estimate, drawing)
    print(f"{'free':>10}  {_size(_free(runs_dir))} in {runs_dir}")
    for sweep in sweeps:
        print(f"{'start':>10}  {start_of(sweep.experiment, sweep.overrides)}")


def _sweeps(cfg: DictConfig, runs_dir: Path) -> Iterable[Sweep]:
    """List the sweeps that were typed, with the state of their jobs.

    Raises:
        InputError: Both an experiment and a list of sweeps were typed, or neither.
    """
    typed = list(cfg.train or [])
    listed = [
        (str(tier), text.split()) for tier, some in cfg.get("sweeps", {}).items() for text in some
    ]
    if listed and any(text.startswith("experiment=") for text in typed):
        raise InputError("sweeps and experiment both say what is planned; type one of them")
    seen: set[str] = set()
    for tier, options in listed or [("", [])]:
        experiment, overrides = experiment_of([*options, *typed])
        planned = jobs(experiment, overrides)
        states = []
        for job, run in zip(planned, locate(planned, runs_dir), strict=True):
            shared = (key := key_of(job)) in seen
            states.append(State(job, "shared", 0) if shared else State(job, *_state(job, run)))
            seen.add(key)
        yield Sweep(tier, experiment, overrides, states)


def _state(job: Job, run: RunFolder | None) -> tuple[str, int]:
    """Return whether a job is finished, started or new, and how many steps are left."""
    steps = int(job.cfg.trainer.max_steps)
    if run is None:
        return "new", steps
    if run.finished:
        return "finished", 0
    # The record of a killed run has no step. It resumes from its last checkpoint nevertheless.
    return "started", max(0, steps - int(run.record.get("step", 0)))


def _print_jobs(sweep: Sweep, estimate: Estimate) -> None:
    from rich.console import Console
    from rich.table import Table

    title = f"{sweep.tier}, " * bool(sweep.tier) + f"experiment={sweep.experiment}"
    table = Table(title=title, title_justify="left")
    for name in ("task", "network"):
        table.add_column(name, overflow="fold")  # long names wrap and are never cut
    for name in ("scale", "seed", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("steps left", "time", "disk"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in sweep.states:
        cells = ["-", "-"]
        if _is_open(one):
            cost = estimate(one.job, one.left)
            cells = [_time(cost.seconds), _size(cost.num_bytes)] if cost else ["unknown"] * 2
        job = one.job
        row = (job.cfg.task, job.network, job.cfg.scale, str(job.seed), one.state, f"{one.left:,}")
        table.add_row(*row, *cells)
    # A file or a pipe has no width to fit into.
    Console(soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)
    states = Counter(one.state for one in sweep.states)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    print(f"{'jobs':>10}  {len(sweep.states)}: {counts}")


def _print_needs(head: str, sweeps: Sequence[Sweep], estimate: Estimate, drawing: float) -> None:
    """Print what the open jobs of some sweeps need together."""
    needed, unknown = [], set()
    for one in (one for sweep in sweeps for one in sweep.states if _is_open(one)):
        if (cost := estimate(one.job, one.left)) is not None:
            needed.append(cost)
        else:
            unknown.add(one.job.network)
    named = ", ".join(sorted(unknown))
    until = "unknown until one run of the network has finished"
    if needed or not unknown:
        seconds, disk = (sum(column) for column in zip(Cost(drawing, 0), *needed, strict=True))
        needs = f"{_time(seconds)}, one job after the other, and {_size(disk)} of disk"
        print(f"{head:>10}  {needs if needed else 'nothing'}")
        if unknown:
            print(f"{'':>10}  besides {named}: {until}; time=true measures it")
    else:
        print(f"{head:>10}  {until} ({named}); time=true measures it")


def _is_open(one: State) -> bool:
    return one.state not in ("finished", "shared")


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
