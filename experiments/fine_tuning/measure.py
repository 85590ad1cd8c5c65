"""Fine-tune a network on all scans but one, and score it on that one, before and after.

``python experiments/fine_tuning/measure.py --weights <run> --real mri=<folder> --output <folder>``
types the commands of docs/fine_tuning.md for each scan, for each part that learns and each rate. If
it is stopped, the same command goes on where it was.
"""

import argparse
import csv
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from amir_lightning.config import shipped_weights
from amir_lightning.io.scan import Scan, find_scans
from amir_lightning.runs.folder import find_run, read_table
from amir_lightning.system.markdown import table
from amir_lightning.tasks import Task, load_task
from amir_lightning.weights.folder import is_weights_folder

SCORES = ("psnr", "ssim", "rmse")
COLUMNS = ["task", "scan", "network", "scale", "trains", "rate", "steps", "best_step"]
COLUMNS += ["slices", *(f"{side}_{score}" for score in SCORES for side in ("input", "before"))]
COLUMNS += SCORES


class Start(NamedTuple):
    """Weights from which the network is trained further.

    Attributes:
        restore: Options of `restore` that name them.
        pretrained: Value of ``network.pretrained`` that starts from them.
        network: Name of the network.
        scale: Scale of its training.
    """

    restore: Sequence[str]
    pretrained: str
    network: str
    scale: str


def amir(command: str, *options: str) -> None:
    """Run a command of this package."""
    print(f"python -m amir_lightning.{command}", *options, flush=True)
    subprocess.run([sys.executable, "-m", f"amir_lightning.{command}", *options], check=True)


def start_of(weights: str, runs_dir: Path) -> Start:
    """Weights of a run, an exported folder or this package."""
    named = [f"weights={weights}", f"paths.runs_dir={runs_dir}"]
    folder = shipped_weights(weights, runs_dir / weights) or Path(weights)
    if is_weights_folder(folder):
        record = json.loads((folder / "config.json").read_text())
        return Start(named, weights, record["network_name"], record["scale"])
    run = find_run(weights, runs_dir, "checkpoints/best.ckpt")
    best = str(run.checkpoint("best").resolve())
    return Start(named, best, run.record["network"], run.record["scale"])


def prepare(task: Task, scans: Sequence[Scan], tested: Scan, folder: Path) -> None:
    """Prepare all scans but the tested one; the next scan validates if there are three or more."""
    if (folder / f"{task.name}.h5").exists():
        return
    raw = folder / "scans"
    shutil.rmtree(raw, ignore_errors=True)
    raw.mkdir(parents=True)
    options = []
    if len(scans) > 2:
        at = scans.index(tested)
        roles = {"test": tested, "val": scans[(at + 1) % len(scans)]}
        lines = ["patient,split"]
        for scan in scans:
            split = next((name for name, one in roles.items() if one is scan), "train")
            lines.append(f"{patient_of(scan)},{split}")
        (folder / "split.csv").write_text("\n".join(lines) + "\n")
        options.append(f"split_file={folder / 'split.csv'}")
    for scan in scans:
        if len(scans) > 2 or scan is not tested:
            (raw / scan.path.name).symlink_to(scan.path.resolve())
    output = f"output={folder / task.name}.h5"
    amir("prepare", f"task={task.name}", f"raw_dir={raw}", "jobs=1", *options, output)


def patient_of(scan: Scan) -> str:
    """Name of the patient by the layout ``folder``: that of the file or folder."""
    return scan.path.name.removesuffix(".gz").removesuffix(".nii")


def tuned(
    task: Task, start: Start, trains: str, rate: str, folder: Path, options: argparse.Namespace
) -> Path:
    """Train the network further, and return the folder of its run."""
    runs = folder / f"{trains}-{rate}"
    amir(
        "train",
        f"task={task.name}",
        f"network={start.network}",
        f"scale={start.scale}",
        "data.source=prepared",
        f"paths.prepared_dir={folder}",
        f"paths.runs_dir={runs}",
        f"network.pretrained={start.pretrained}",
        f"optimizer.trains={trains}",
        f"optimizer.learning_rate={rate}",
        f"trainer.max_steps={options.steps}",
        f"validation.every={options.every}",
        f"seed={options.seed}",
        "logger=csv",
        "~callbacks.samples",
        *options.train,
    )
    return runs


def scores_of(task: Task, scan: Scan, weights: Sequence[str], output: Path) -> dict[str, str]:
    """Simulate LQ of a scan, restore it, and return its scores."""
    scores = output / "scores" / "patients.csv"
    if not scores.exists():
        shutil.rmtree(output, ignore_errors=True)
        amir(
            "restore",
            *weights,
            f"input={scan.path}",
            f"output={output}",
            f"task={task.name}",
            "degrade=true",
            "engine=torch",
        )
    (row,) = read_table(scores, "remove its folder, and type the command again")
    return dict(row)


def measured(
    task: Task, scans: Sequence[Scan], start: Start, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Leave each scan out once: a row for each part that learns and each rate."""
    named = [start.pretrained, options.steps, options.every, options.seed, *options.train]
    named += [scan.path.resolve() for scan in scans]
    work = hashlib.sha256("\n".join(map(str, named)).encode()).hexdigest()[:12]
    for scan in scans:
        folder = options.work / f"{task.name}-{work}" / patient_of(scan)
        prepare(task, scans, scan, folder)
        before = scores_of(task, scan, start.restore, folder / "before")
        for trains, rate in product(options.trains, options.rates):
            runs = tuned(task, start, trains, rate, folder, options)
            own = ["weights=last", f"paths.runs_dir={runs}"]
            after = scores_of(task, scan, own, folder / f"{runs.name}-after")
            (result,) = runs.glob("*/result.json")
            row = {"task": task.name, "scan": scan.path.name, "network": start.network}
            row |= {"scale": start.scale, "trains": trains, "rate": rate, "steps": options.steps}
            row |= {"best_step": json.loads(result.read_text())["best_step"]}
            row |= {"slices": after["slices"]}
            for score in SCORES:
                row[f"input_{score}"] = f"{float(after[f'input_{score}']):.5g}"
                row[f"before_{score}"] = f"{float(before[score]):.5g}"
                row[score] = f"{float(after[score]):.5g}"
            yield row


def write(rows: Sequence[dict[str, Any]], path: Path) -> list[dict[str, Any]]:
    """Put rows into the CSV; older rows of the same scan, network, part and rate are replaced."""
    key = ("task", "scan", "network", "trains", "rate")
    new = {tuple(str(row[name]) for name in key) for row in rows}
    old = read_table(path, "remove it") if path.exists() else []
    whole = [*(row for row in old if tuple(row[name] for name in key) not in new), *rows]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(whole)
    return whole


def page(rows: Sequence[dict[str, Any]]) -> str:
    """Write the means over the scans as a table."""
    key = ("task", "network", "scale", "trains", "rate", "steps")
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(str(row[name]) for name in key), []).append(row)
    lines = []
    for name, own in groups.items():
        psnr, ssim = (
            [f"{mean(float(row[f'{side}{score}']) for row in own):{form}}" for side in SIDES]
            for score, form in (("psnr", ".2f"), ("ssim", ".4f"))
        )
        gains = [float(row["psnr"]) - float(row["before_psnr"]) for row in own]
        gain = f"{mean(gains):+.2f} ({min(gains):+.2f} to {max(gains):+.2f})"
        lines.append([*name, str(len(own)), *psnr, gain, *ssim])
    heads = ["Task", "Network", "Scale", "`optimizer.trains=`", "Rate", "Steps", "Scans"]
    heads += ["PSNR of input [dB]", "Before", "After", "Gain (range of the scans)"]
    heads += ["SSIM of input", "Before", "After"]
    grid = table(heads, lines, range(5))
    return f"{grid}\nMeans over the scans, each scored by networks that were not tuned on it.\n"


SIDES = ("input_", "before_", "")


def main() -> None:
    """Train, score and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", required=True, help="run, folder or name of shipped weights")
    parser.add_argument("--real", nargs="+", required=True, metavar="TASK=FOLDER")
    parser.add_argument("--trains", nargs="+", default=["all", "head", "routing"])
    parser.add_argument("--rates", nargs="+", default=["2e-4", "1e-3"])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--every", type=int, default=50, help="steps between validations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where a run is found")
    parser.add_argument("--work", type=Path, default=Path("build/fine_tuning"))
    parser.add_argument("--output", type=Path, required=True, help="folder of the two tables")
    parser.add_argument(
        "--train", nargs="*", default=[], metavar="NAME=VALUE", help="options of train"
    )
    options = parser.parse_args()
    start = start_of(options.weights, options.runs)
    options.output.mkdir(parents=True, exist_ok=True)
    for name, folder in (one.split("=", 1) for one in options.real):
        task = load_task(name)
        scans, _ = find_scans(Path(folder), task.units)
        if len(scans) < 2:
            sys.exit(f"{folder} has {len(scans)} scan, expected two or more; add scans")
        for row in measured(task, scans, start, options):
            whole = write([row], options.output / "scans.csv")
            (options.output / "scans.md").write_text(page(whole))
    print((options.output / "scans.md").read_text())


if __name__ == "__main__":
    main()
