"""Compare the scans that `restore` writes by OpenVINO with those that it writes by torch.

``python experiments/performance/agreement.py --scans ct=<folder> mri=<file>`` restores scans of
each task by both engines in float32, and compares them voxel by voxel.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from amir_lightning.system.markdown import table
from amir_lightning.weights.folder import load_pretrained

HERE = Path(__file__).parent
HEADS = ["Task", "Slices", "Median", "Above 1e-5", "Above 1e-4", "Largest", "Largest, in units"]


def restored(scans: Path, task: str, weights: str, engine: str, output: Path) -> list[np.ndarray]:
    """Restore scans in a process of its own, and read the results in order of their names."""
    typed = [f"weights={weights}", f"task={task}", f"input={scans.resolve()}", f"output={output}"]
    command = [sys.executable, "-m", "amir_lightning.restore", *typed, "format=nifti"]
    subprocess.run([*command, f"engine={engine}"], check=True)
    return [np.asarray(nib.load(path).dataobj) for path in sorted(output.rglob("*.nii*"))]


def main() -> None:
    """Restore, compare and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="study", help="exported folder or shipped weights")
    parser.add_argument("--scans", nargs="+", required=True, help="<task>=<file or folder> of each")
    parser.add_argument("--output", type=Path, default=HERE / "engines" / "agreement.md")
    options = parser.parse_args()
    tasks = load_pretrained(options.weights).tasks
    rows = []
    for name, scans in (one.split("=", 1) for one in options.scans):
        low, high = tasks[name].value_range
        with tempfile.TemporaryDirectory() as folder:
            torch, openvino = (
                restored(Path(scans), name, options.weights, engine, Path(folder) / engine)
                for engine in ("torch", "openvino")
            )
        pairs = zip(torch, openvino, strict=True)
        apart = np.concatenate([np.abs(one - other).ravel() for one, other in pairs])
        shares = apart / (high - low)
        rows.append(
            [
                name,
                str(sum(one.shape[-1] for one in torch)),
                f"{np.median(shares):.1e}",
                *(f"{(shares > limit).mean():.1e}" for limit in (1e-5, 1e-4)),
                f"{shares.max():.1e}",
                f"{apart.max():.2g} {tasks[name].units}",
            ]
        )
    about = (
        f"OpenVINO against torch, float32, weights {options.weights}: differences of voxels as "
        "shares of the task's value range, and shares of voxels that differ by more."
    )
    options.output.write_text(f"{table(HEADS, rows, range(1))}\n{about}\n")
    print(options.output.read_text())


if __name__ == "__main__":
    main()
