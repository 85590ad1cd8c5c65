"""Two commands at once on the cores of this machine, against each of them alone.

``python experiments/performance/beside.py --output experiments/performance/beside`` times whole
commands: train (AMIR, scale=demo) and restore (128 slices), alone with each setting in turn, and
beside another that runs all the while. Every round measures one of the four pairs.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np

from amir_lightning.system.markdown import table

PAIRS = [("restore", "train"), ("train", "train"), ("restore", "restore"), ("train", "restore")]
ENDLESS = 1_000_000  # steps of a training that is killed when it is no longer needed


class Commands:
    """The commands that are timed, and what they need.

    Args:
        folder: An empty folder for all of it.
        steps: Optimiser steps of a training.
        slices: Slices of a scan that is restored.
    """

    def __init__(self, folder: Path, steps: int, slices: int) -> None:
        self.folder, self.steps = folder, steps
        self._count = 0
        subprocess.run(self.train(1), check=True, capture_output=True)
        (weights,) = (folder / "0").glob("*/checkpoints/best.ckpt")
        self._weights = weights.rename(folder / "weights.ckpt")
        (store,) = (folder / "data" / "phantoms").glob("pet-*.h5")
        with h5py.File(store) as file:
            patients = [patient["lq"][:] for patient in file.values()]
        stack = np.concatenate(patients)
        for name, count in (("scan", slices), ("endless", slices * 20)):
            coronal = np.resize(stack, (count, *stack.shape[1:]))
            image = nib.Nifti1Image(coronal.transpose(2, 0, 1), np.diag([4.0, 4.0, 4.0, 1.0]))
            nib.save(image, folder / f"{name}.nii")

    def train(self, steps: int | None = None) -> list[str]:
        """A new training; its folder is not used again."""
        steps = steps or self.steps
        options = ["task=pet", "data.source=phantoms", "logger=csv", "trainer=cpu"]
        options += [f"trainer.max_steps={steps}", f"validation.every={steps}"]
        options += ["validation.slices=2", "checkpoint.every=1000000"]
        options += [f"paths.data_dir={self.folder / 'data'}", f"paths.runs_dir={self._new()}"]
        return [sys.executable, "-m", "amir_lightning.train", *options]

    def restore(self, scan: str = "scan") -> list[str]:
        """A restoration into a new folder."""
        options = [f"weights={self._weights}", "task=pet", f"input={self.folder / scan}.nii"]
        options += [f"output={self._new()}", "trainer.accelerator=cpu"]
        return [sys.executable, "-m", "amir_lightning.restore", *options]

    def named(self, name: str, endless: bool = False) -> list[str]:
        """The command of a name; endless: to run beside another until it is killed."""
        if name == "train":
            return self.train(ENDLESS if endless else None)
        return self.restore("endless" if endless else "scan")

    def _new(self) -> Path:
        self._count += 1
        return self.folder / str(self._count - 1)


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds that a command takes, and seconds of processor time."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(said.read().decode()[-3000:])
    return time.perf_counter() - start, used.ru_utime + used.ru_stime


def beside(
    command: list[str], other: list[str], environment: dict[str, str]
) -> tuple[float, float]:
    """The same while another command runs, which has begun to compute before and is then killed."""
    process = subprocess.Popen(
        other, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("training ") or ": task " in line:
            break
    threading.Thread(target=process.stderr.read, daemon=True).start()
    try:
        time.sleep(1)
        taken = timed(command, environment)
        if process.poll() is not None:
            raise SystemExit("the other command ended first; give it more to do")
        return taken
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Measure in turns, so that a busy machine is busy for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="a multiple of the four pairs")
    parser.add_argument("--steps", type=int, default=20, help="optimiser steps of a training")
    parser.add_argument("--slices", type=int, default=128, help="slices of a scan")
    parser.add_argument(
        "--spins",
        nargs="+",
        default=["ours", "300000"],
        help="GOMP_SPINCOUNT of the commands; ours: as they set it. Pairs have the first",
    )
    parser.add_argument("--output", type=Path, help="folder for beside.csv and beside.md")
    arguments = parser.parse_args()
    plain = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    settings = {
        spins: plain if spins == "ours" else {**plain, "GOMP_SPINCOUNT": spins}
        for spins in arguments.spins
    }
    first = arguments.spins[0]
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    loads = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder:
        commands = Commands(Path(folder), arguments.steps, arguments.slices)
        for number in range(arguments.rounds):
            for name in ("train", "restore"):
                for spins, environment in settings.items():
                    found[name, "", spins].append(timed(commands.named(name), environment))
            name, other = PAIRS[number % len(PAIRS)]
            pair = commands.named(name), commands.named(other, endless=True)
            found[name, other, first].append(beside(*pair, settings[first]))
            loads.append(os.getloadavg()[0])
            print(f"round {number + 1} of {arguments.rounds}, load {loads[-1]:.1f}", flush=True)
    rows = []
    for (name, other, spins), times in found.items():
        seconds, used = (statistics.median(part) for part in zip(*times, strict=True))
        alone = statistics.median(one for one, _ in found[name, "", first])
        rows.append(
            {
                "command": name,
                "beside": other or "nothing",
                "spins": spins,
                "seconds": f"{seconds:.1f}",
                "fastest": f"{min(times)[0]:.1f}",
                "slowest": f"{max(times)[0]:.1f}",
                "processor_seconds": f"{used:.1f}",
                "times_alone": f"{seconds / alone:.2f}",
                "measured": len(times),
            }
        )
    cells = ([str(value) for value in row.values()] for row in rows)
    about = (
        f"{len(os.sched_getaffinity(0))} cores, {arguments.steps} steps, {arguments.slices} "
        f"slices; load average before and after the rounds: "
        f"{', '.join(f'{load:.1f}' for load in loads)} (about 2 is these commands' own)"
    )
    page = f"{table(list(rows[0]), cells, (0, 1, 2))}\n{about}\n"
    print(page, end="")
    if arguments.output is None:
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "beside.md").write_text(page)
    with (arguments.output / "beside.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
