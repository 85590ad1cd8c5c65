"""Measure how far Restormer is ahead of AMIR after each validation of a training.

``python experiments/width/by_step.py`` reads the curves of kept runs, and prints the differences in
PSNR on the validation patients.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev

from amir_lightning.runs.folder import RunFolder, run_folders
from amir_lightning.system.markdown import table

TASKS = {"mri": "MRI", "ct": "CT", "pet": "PET", "avg": "mean"}
WIDTHS = {"restormer": 12, "amir": 10}  # of the study

Curve = dict[tuple[str, int], float]
"""PSNR by task and number of steps [dB]."""


def curve(run: RunFolder) -> Curve:
    """Read the PSNR of all validations of a run."""
    return {
        (task, int(row["step"]) + 1): float(value)
        for row in run.logged()
        for task in TASKS
        if (value := row.get(f"val/{task}/psnr"))
    }


def curves(runs: Iterable[RunFolder], network: str, steps: int) -> dict[int, Curve]:
    """Read the runs of table 2 of a network, by seed."""
    return {
        int(run.record["seed"]): curve(run)
        for run in runs
        if run.finished
        and run.record["network"] == network
        and run.record["task"] == "mri+ct+pet"
        and run.record["max_steps"] == steps
        and run.identity["network.width"] == WIDTHS[network]
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("experiments/study/runs"))
    parser.add_argument("--steps", type=int, default=4000, help="of each training")
    options = parser.parse_args()
    runs = list(run_folders(options.runs))
    ahead, behind = (curves(runs, network, options.steps) for network in ("restormer", "amir"))
    seeds = sorted(ahead.keys() & behind.keys())
    if len(seeds) < 2:
        raise SystemExit(
            f"{options.runs} has {len(seeds)} seeds of both networks with {options.steps} steps, "
            "expected at least 2; type --runs and --steps"
        )
    every = sorted({step for _, step in ahead[seeds[0]]})
    rows = []
    for task, title in TASKS.items():
        cells = [title]
        for step in every:
            found = [ahead[seed][task, step] - behind[seed][task, step] for seed in seeds]
            cells.append(f"{mean(found):+.2f} ± {stdev(found):.2f}")
        rows.append(cells)
    print(table(["Restormer minus AMIR [dB]", *(f"{step} steps" for step in every)], rows))
    print(
        f"Validation patients; mean and standard deviation over seeds {', '.join(map(str, seeds))}."
    )


if __name__ == "__main__":
    main()
