"""DDP from one process to two on this machine, through the train command.

``python experiments/scaling/measure.py --steps 60 --repeats 3 task=mri`` prints seconds per step
and efficiency with the batch per process kept (weak) and with the batch of all kept (strong).
Options after the flags go to the train command. Each process has one thread.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def seconds_per_step(steps: int, folder: Path, options: list[str]) -> float:
    """Time of a run between its first third and its end: start, test and saving do not count."""
    third = steps // 3
    command = [sys.executable, "-m", "amir_lightning.train", *options]
    command += [f"trainer.max_steps={third * 3}", f"validation.every={third}"]
    command += ["validation.slices=1", "checkpoint.every=1000000", "logger=csv"]
    command += [f"paths.runs_dir={folder}", "trainer.log_every_n_steps=1000000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    run = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert run.stdout is not None
    said, seen = [], {}
    for line in run.stdout:
        said.append(line)
        if found := re.match(r"step (\d+)/", line):
            seen[int(found.group(1))] = time.perf_counter()
    if run.wait() or len(seen) < 3:
        raise SystemExit("".join(said[-20:]))
    return (seen[third * 3] - seen[third]) / (2 * third)


def main() -> None:
    """Measure in turns, so that a busy machine is busy for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch", type=int, default=6, help="patches of one process; even")
    arguments, options = parser.parse_known_args()
    one = ["trainer.accelerator=cpu", "trainer.devices=1", "trainer.strategy=auto"]
    two = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]
    cases = {
        "one process": [*one, f"data.batch_size={arguments.batch}"],
        "two, batch per process kept": [*two, f"data.batch_size={arguments.batch}"],
        "two, batch of all kept": [*two, f"data.batch_size={arguments.batch // 2}"],
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(arguments.repeats):
        for name, case in cases.items():
            with tempfile.TemporaryDirectory() as folder:
                taken = seconds_per_step(arguments.steps, Path(folder), [*options, *case])
            times[name].append(taken)
    alone = statistics.median(times["one process"])
    for name, taken in times.items():
        middle = statistics.median(taken)
        ideal = alone / 2 if "of all" in name else alone
        spread = f"{min(taken):.3f} to {max(taken):.3f}"
        print(f"{name:28}  {middle:.3f} s/step ({spread})  efficiency {ideal / middle:.0%}")


if __name__ == "__main__":
    main()
