"""``python -m amir_lightning.plan experiment=table3``: what a sweep would do; starts nothing."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

from omegaconf import DictConfig

from amir_lightning import runs
from amir_lightning.cli import command
from amir_lightning.errors import InputError
from amir_lightning.sweeps import Job, experiment_of, finished, jobs, locate, start_of


class Cost(NamedTuple):
    """What one training step of a network and a finished run of it take on this machine."""

    seconds: float
    num_bytes: float


@command("plan", options_of="train")
def main(cfg: DictConfig) -> None:
    """Print the jobs, which are done, and the hours and disk that the others need."""
    from rich.console import Console
    from rich.table import Table

    runs_dir = Path(cfg.paths.runs_dir)
    experiment, overrides = experiment_of(cfg.train)
    planned = jobs(experiment, overrides)
    costs = _costs(runs_dir)
    table = Table(title=f"experiment={experiment}", title_justify="left")
    for name in ("task", "network", "scale", "seed", "state"):
        table.add_column(name)
    for name in ("steps left", "hours", "disk"):
        table.add_column(name, justify="right")
    states: Counter[str] = Counter()
    hours, disk, unknown = 0.0, 0.0, set()
    for job, folder in zip(planned, locate(planned, runs_dir), strict=True):
        state, left = _state(job, folder)
        cost = costs.get((job.network, job.cfg.scale))
        states[state] += 1
        cells = ["-", "-"]
        if state != "finished" and cost is not None:
            hours += left * cost.seconds / 3600
            disk += cost.num_bytes
            cells = [f"{left * cost.seconds / 3600:.2f}", _size(cost.num_bytes)]
        elif state != "finished":
            unknown.add(job.network)
            cells = ["unknown", "unknown"]
        row = (job.cfg.task, job.network, job.cfg.scale, str(job.seed), state, f"{left:,}")
        table.add_row(*row, *cells)
    Console(soft_wrap=True).print(table)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    print(f"{'jobs':>10}  {len(planned)}: {counts}")
    print(f"{'needed':>10}  {hours:.1f} hours, one job after the other, and {_size(disk)} of disk")
    if unknown:
        named = ", ".join(sorted(unknown))
        print(f"{'':>10}  besides {named}: unknown until one run of the network has finished")
    print(f"{'free':>10}  {_size(_free(runs_dir))} in {runs_dir}")
    print(f"{'start':>10}  {start_of(experiment, overrides)}")


def _state(job: Job, folder: Path | None) -> tuple[str, int]:
    """Whether a job is finished, started or new, and how many steps are left."""
    steps = int(job.cfg.trainer.max_steps)
    if folder is None:
        return "new", steps
    if finished(folder):
        return "finished", 0
    # A run that was killed has no step on record; it goes on from its last validation all the same.
    return "started", steps - int(runs.read_json(folder / "run.json").get("step", 0))


def _costs(runs_dir: Path) -> dict[tuple[str, str], Cost]:
    """Medians over the finished runs of each network and scale; validation and test included."""
    found: dict[tuple[str, str], list[Cost]] = {}
    for path in runs_dir.glob("*/run.json"):
        try:
            record = runs.read_json(path)
            steps = record["step"] - record["sessions"][-1]["from_step"]
            if not finished(path.parent) or steps < 1:
                continue
            key = (record["network"], record["scale"])
            cost = Cost(_seconds(record) / steps, _bytes(path.parent))
        except (InputError, KeyError, IndexError, TypeError, ValueError):
            continue  # a damaged run folder tells nothing
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


def _size(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:,.0f} MB" if num_bytes < 1e9 else f"{num_bytes / 1e9:,.1f} GB"


if __name__ == "__main__":
    main()
