"""Measure how much longer `restore` takes for a folder than the passes of its network alone.

``python experiments/performance/folder.py --weights last --series <folder of a DICOM series>``
repeats the slices of the series, restores them by OpenVINO in a process of its own, with an empty
and with a full cache of programs, and compares times.
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from amir_lightning.system.markdown import table

if TYPE_CHECKING:
    from torch import Tensor

HERE = Path(__file__).parent
HEADS = ["Cache of programs", "Time", "Passes [s]", "All [s]", "All over passes"]


def repeated(series: Path, count: int, output: Path) -> None:
    """Write a series of `count` slices, which repeats those of another."""
    import pydicom
    from pydicom.uid import generate_uid

    slices = [pydicom.dcmread(path) for path in sorted(series.glob("*.dcm"))]
    if not slices:
        sys.exit(f"{series} holds no *.dcm; give the folder of a DICOM series")
    uid = generate_uid()
    x, y, z = slices[0].ImagePositionPatient
    for number in range(count):
        one = copy.deepcopy(slices[number % len(slices)])
        one.SeriesInstanceUID = uid
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.ImagePositionPatient = [x, y, z + number * float(one.SliceThickness)]
        one.SliceLocation = one.ImagePositionPatient[2]
        one.InstanceNumber = number + 1
        one.save_as(output / f"{number:04d}.dcm")


def restore_and_time(options: list[str], report: Path) -> None:
    """Restore in this process, and write the time of the passes and of all."""
    began = time.perf_counter()
    from amir_lightning.engines.openvino import OpenVino

    passes = [0.0, 0.0]
    restore = OpenVino.__call__

    def timed(self: OpenVino, lq: "Tensor") -> "Tensor":
        start = time.process_time(), time.perf_counter()
        image = restore(self, lq)
        passes[0] += time.process_time() - start[0]
        passes[1] += time.perf_counter() - start[1]
        return image

    OpenVino.__call__ = timed  # type: ignore[method-assign]
    sys.argv = ["restore", *options]
    from amir_lightning.restore.__main__ import main as command

    command()
    whole = time.process_time(), time.perf_counter() - began
    report.write_text(
        json.dumps({"processor": [passes[0], whole[0]], "wall": [passes[1], whole[1]]})
    )


def main() -> None:
    """Measure and write."""
    if sys.argv[1:2] == ["restore"]:
        restore_and_time(sys.argv[3:], Path(sys.argv[2]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="last", help="run, folder or name of shipped weights")
    parser.add_argument("--series", type=Path, required=True, help="folder of a DICOM series")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, default=HERE / "engines" / "folder.md")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "series").mkdir()
        repeated(options.series, options.slices, work / "series")
        for cache in ("empty", "full"):
            typed = [f"weights={options.weights}", f"paths.runs_dir={options.runs}"]
            typed += ["task=ct", "engine=openvino", f"paths.cache_dir={work / 'cache'}"]
            typed += [f"input={work / 'series'}", f"output={work / cache}"]
            report = work / f"{cache}.json"
            command = [sys.executable, __file__, "restore", str(report), *typed]
            subprocess.run(command, check=True)
            for name, (passes, whole) in json.loads(report.read_text()).items():
                cells = [f"{passes:.1f}", f"{whole:.1f}", f"{whole / passes:.3f}"]
                rows.append([cache, name, *cells])
    about = f"{options.slices} slices of CT, weights {options.weights}, OpenVINO in float32."
    options.output.write_text(f"{table(HEADS, rows, range(2))}\n{about}\n")
    print(options.output.read_text())


if __name__ == "__main__":
    main()
