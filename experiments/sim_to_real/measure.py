"""Score a network that was trained on phantoms on real scans.

``python experiments/sim_to_real/measure.py --weights study --real mri=<folder> ct=<folder>``
simulates LQ from each scan, restores it and scores it. Where a task has two or more scans, the same
network is also trained on all scans but one, and scored on that one.
"""

import argparse
import csv
import hashlib
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from amir_lightning.config import shipped_weights
from amir_lightning.io.scan import Scan, find_scans
from amir_lightning.metrics import SCORES
from amir_lightning.runs.folder import find_run, read_table
from amir_lightning.system import cores
from amir_lightning.system.markdown import table
from amir_lightning.system.wording import counted
from amir_lightning.tasks import Task, load_task
from amir_lightning.weights.folder import is_weights_folder

HERE = Path(__file__).parent
COLUMNS = ["task", "scan", "network", "trained_on", "scale", "steps", "seed", "weights", "slices"]
PHANTOMS, OTHERS = "phantoms", "other patients"


class Trained(NamedTuple):
    """Weights, and how they came about.

    Attributes:
        options: Options of `restore` that name the weights.
        facts: Columns of the CSV: network, trained_on, scale, steps, seed.
    """

    options: Sequence[str]
    facts: dict[str, Any]


def amir(command: str, *options: str) -> None:
    """Run a command of this package."""
    subprocess.run([sys.executable, "-m", f"amir_lightning.{command}", *options], check=True)


def given(weights: str, runs_dir: Path) -> Trained:
    """Weights of a run, an exported folder or this package."""
    folder = shipped_weights(weights, runs_dir / weights) or Path(weights)
    if is_weights_folder(folder):
        record = json.loads((folder / "config.json").read_text())
    else:
        run = find_run(weights, runs_dir, "checkpoints/best.ckpt")
        record = run.record
        record["network_name"] = record["network"]
        if run.source != "phantoms":
            sys.exit(f"{weights} was not trained on phantoms; give other weights")
    facts = {"network": record["network_name"], "trained_on": PHANTOMS, "scale": record["scale"]}
    facts |= {"steps": record["max_steps"], "seed": record["seed"]}
    return Trained([f"weights={weights}", f"paths.runs_dir={runs_dir}"], facts)


def trained(
    task: Task, others: Sequence[Scan], phantoms: Trained, options: argparse.Namespace
) -> Trained:
    """Train the same network on some scans, and take the weights of its last step."""
    facts = {**phantoms.facts, "trained_on": OTHERS, "steps": options.steps, "seed": options.seed}
    chosen = [
        f"task={task.name}",
        f"network={facts['network']}",
        f"scale={facts['scale']}",
        f"seed={options.seed}",
        "data.source=prepared",
        f"trainer.max_steps={options.steps}",
        # One validation, at the end: no checkpoint is chosen by a few slices.
        f"validation.every={options.steps}",
        "logger=csv",
        "~callbacks.samples",
        *options.train,
    ]
    named = [*chosen, *sorted(str(scan.path.resolve()) for scan in others)]
    work = options.work / hashlib.sha256("\n".join(named).encode()).hexdigest()[:12]
    folders = [f"paths.prepared_dir={work}", f"paths.runs_dir={work / 'runs'}"]
    if not (work / f"{task.name}.h5").exists():
        with tempfile.TemporaryDirectory() as raw:
            for scan in others:
                (Path(raw) / scan.path.name).symlink_to(scan.path.resolve())
            # Every split needs slices. Those that are not trained on here decide nothing.
            split = ["split.train=0.8", "split.val=0.1", "split.test=0.1", "gap=0"]
            amir("prepare", f"task={task.name}", f"raw_dir={raw}", "jobs=1", *split, *folders)
    amir("train", *chosen, *folders)
    return Trained(["weights=last", folders[1]], facts)


def scored(task: Task, scan: Scan, weights: Trained, seed: int) -> dict[str, Any]:
    """Simulate LQ of a scan, restore it, and return a row of the CSV."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "restored"
        amir(
            "restore",
            *weights.options,
            f"input={scan.path}",
            f"output={output}",
            f"task={task.name}",
            f"seed={seed}",
            "degrade=true",
            "engine=torch",
            "trainer.accelerator=cpu",
        )
        record = json.loads((output / "restore.json").read_text())
        (row,) = read_table(output / "scores" / "patients.csv", "type the command again")
    facts = {**weights.facts, "weights": record["weights_fingerprint"], "slices": row["slices"]}
    scores = {key: f"{float(row[key]):.5g}" for key in SCORES}
    return {"task": task.name, "scan": scan.path.name, **facts, **scores}


def measured(
    task: Task, folder: Path, phantoms: Trained, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Score all scans of a task with all weights."""
    scans, _ = find_scans(folder, task.units)
    for scan in scans:
        yield scored(task, scan, phantoms, options.seed)
    if len(scans) > 1 and options.steps:
        for scan in scans:
            others = [one for one in scans if one is not scan]
            yield scored(task, scan, trained(task, others, phantoms, options), options.seed)


def write(rows: list[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Put rows into the CSV; older rows of the same task, network and training are replaced."""
    key = ("task", "network", "trained_on")
    new = {tuple(row[name] for name in key) for row in rows}
    old = read_table(path, "remove it") if path.exists() else []
    whole = [*(row for row in old if tuple(row[name] for name in key) not in new), *rows]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*COLUMNS, *SCORES])
        writer.writeheader()
        writer.writerows(whole)
    return whole


def page(rows: list[dict[str, Any]]) -> str:
    """Write means over the scans as a table, with what was trained and where it was scored."""
    key = ("task", "network", "trained_on", "scale", "steps", "seed")
    lines = []
    for name in dict.fromkeys(tuple(str(row[one]) for one in key) for row in rows):
        own = [row for row in rows if tuple(str(row[one]) for one in key) == name]
        means = {score: mean(float(row[score]) for row in own) for score in SCORES}
        gains = [float(row["psnr"]) - float(row["input_psnr"]) for row in own]
        lines.append(
            [
                *name,
                str(len(own)),
                f"{means['input_psnr']:.2f}",
                f"{means['psnr']:.2f}",
                f"{mean(gains):+.2f} ({min(gains):+.2f} to {max(gains):+.2f})",
                f"{means['input_ssim']:.4f}",
                f"{means['ssim']:.4f}",
            ]
        )
    heads = ["Task", "Network", "Trained on", "Scale", "Steps", "Seed", "Scans"]
    heads += [
        "PSNR of input [dB]",
        "Restored",
        "Gain (range of the scans)",
        "SSIM of input",
        "Restored",
    ]
    machine = f"{platform.system()} on {platform.machine()}, {counted('CPU core', cores.usable())}"
    grid = table(heads, sorted(lines, key=lambda one: (one[0] != "mri", one[:3])), range(4))
    return f"{grid}\nMeans over the scans. Last scored on: {machine}.\n"


def main() -> None:
    """Train, score and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="study", help="run, folder or name of shipped weights")
    parser.add_argument("--real", nargs="+", required=True, metavar="TASK=FOLDER")
    parser.add_argument(
        "--steps", type=int, default=1000, help="on other patients; 0: none of these"
    )
    parser.add_argument("--seed", type=int, default=0, help="of simulated noise and trainings")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="where a run's name is found"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/sim_to_real"), help="for trainings"
    )
    parser.add_argument("--output", type=Path, default=HERE)
    parser.add_argument(
        "--train", nargs="*", default=[], metavar="NAME=VALUE", help="options of train"
    )
    options = parser.parse_args()
    folders = dict(one.split("=", 1) for one in options.real)
    phantoms = given(options.weights, options.runs)
    options.output.mkdir(parents=True, exist_ok=True)
    for name, folder in folders.items():
        rows = list(measured(load_task(name), Path(folder), phantoms, options))
        whole = write(rows, options.output / "scans.csv")
        (options.output / "scans.md").write_text(page(whole))
    print((options.output / "scans.md").read_text())


if __name__ == "__main__":
    main()
