"""How long a waiting thread should spin before it sleeps: passes alone, and two processes at once.

``python experiments/performance/spins.py`` prints seconds of 25 passes of inference (96x200 pixels)
and of 12 training steps (6 patches of 48x48) of AMIR at demo size with two threads, for several
values of GOMP_SPINCOUNT, in turn. The start of the process is not counted.
"""

import argparse
import os
import statistics
import subprocess
import sys

from amir_lightning.system.markdown import table

PASSES = """
import sys, time, torch
from amir_lightning.networks import AMIR
torch.manual_seed(0)
network = AMIR(width=8, depths=[1, 1, 1, 1], refinement_depth=1)
patches, image = torch.rand(6, 1, 48, 48), torch.rand(1, 1, 96, 200)
def train(steps):
    network.train()
    for _ in range(steps):
        (network(patches) - patches).abs().mean().backward()
def infer(passes):
    network.eval()
    with torch.inference_mode():
        for _ in range(passes):
            network(image)
train(2); infer(2)
print("ready", flush=True); sys.stdin.readline()
start = time.perf_counter(); infer(25); middle = time.perf_counter(); train(12)
print(middle - start, time.perf_counter() - middle)
"""


def passes(spins: str, threads: int, processes: int) -> list[tuple[float, float]]:
    """Seconds of inference and of training in each of so many processes at once."""
    environment = {**os.environ, "GOMP_SPINCOUNT": spins, "OMP_NUM_THREADS": str(threads)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PASSES],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    taken = []
    for process in started:
        infer, train = process.communicate()[0].split()
        taken.append((float(infer), float(train)))
    return taken


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--alone", nargs="+", default=["0", "300", "1000", "10000", "300000"])
    parser.add_argument("--pairs", nargs="+", default=["0", "300", "1000", "10000"])
    arguments = parser.parse_args()
    kinds = [(one, 1) for one in arguments.alone] + [(one, 2) for one in arguments.pairs]
    found: dict[tuple[str, int], list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(arguments.rounds):
        for spins, processes in kinds:
            found[spins, processes] += passes(spins, arguments.threads, processes)
    rows = []
    for (spins, processes), taken in found.items():
        medians = (statistics.median(part) for part in zip(*taken, strict=True))
        rows.append([spins, str(processes), *(f"{seconds:.2f}" for seconds in medians)])
    heads = ["GOMP_SPINCOUNT", "processes", "25 passes [s]", "12 steps [s]"]
    print(f"{table(heads, rows, ())}\nload average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
