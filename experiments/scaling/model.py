"""Step time and communication for 8 to 512 GPUs, from stated assumptions: nothing here is measured.

``python experiments/scaling/model.py`` prints the table of the README; every assumption is a flag.
"""

import argparse
import math


def main() -> None:
    """Print the table; times in ms per step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--parameters", type=float, default=23.5e6, help="of the network")
    add("--compute", type=float, default=0.30, help="s of forward and backward per step, one GPU")
    add("--batch", type=int, default=8, help="patches per GPU")
    add("--per-node", type=int, default=8, help="GPUs of a node")
    add("--nvlink", type=float, default=200.0, help="GB/s of an all-reduce inside a node")
    add("--network", type=float, default=20.0, help="GB/s into a node")
    add("--latency", type=float, default=15e-6, help="s of one hop of a small all-reduce")
    add("--bucket", type=float, default=25.0, help="MB of gradients that are sent at once")
    add("--chunk", type=float, default=0.5, help="MB of a patch: 128 rows of 512 pixels, LQ and HQ")
    add("--storage", type=float, default=2.0, help="GB/s of the shared file system, all nodes")
    add("--slice", type=float, default=0.15, help="s to validate one slice on one GPU")
    add("--slices", type=int, default=32, help="validation slices of each of three tasks")
    add("--every", type=int, default=1000, help="steps between validations")
    add("--save-every", type=int, default=200, help="steps between checkpoints")
    add("--write", type=float, default=1.0, help="GB/s of writing a checkpoint")
    a = parser.parse_args()

    gradients = 4 * a.parameters / 1e9  # GB, float32
    names = ("reduce", "exposed", "small", "validate", "save", "step")
    shown = "  ".join(f"{name:>8}" for name in names)
    print(f"GPUs  batch  {shown}  computing  reads [GB/s]   (times in ms per step)")
    for gpus in (1, 8, 16, 32, 64, 128, 256, 512):
        band = a.nvlink if gpus <= a.per_node else a.network
        share = 2 * (gpus - 1) / gpus
        reduce = share * gradients / band
        # Two thirds of the compute are backward; the last bucket has nothing left to hide behind.
        last = share * min(a.bucket / 1e3, gradients) / band
        exposed = max(reduce - 2 / 3 * a.compute, last)
        # Three balance losses, forward and backward, one agreement to stop, and Lightning's own.
        small = 8 * 2 * math.log2(gpus) * a.latency
        validation = 3 * math.ceil(a.slices / gpus) * a.slice / a.every
        checkpoint = 3 * gradients / a.write / a.save_every
        step = a.compute + exposed + small + validation + checkpoint
        reads = gpus * a.batch * a.chunk / 1e3 / step
        mark = "" if reads < a.storage else "  above the storage's"
        cells = (reduce, exposed, small, validation, checkpoint, step)
        shown = "  ".join(f"{1e3 * cell:8.2f}" for cell in cells)
        print(
            f"{gpus:4}  {gpus * a.batch:5}  {shown}  {a.compute / step:9.1%}  {reads:12.2f}{mark}"
        )


if __name__ == "__main__":
    main()
