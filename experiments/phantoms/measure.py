"""Measure how close the embedded patients are to real scans, task by task.

``python experiments/phantoms/measure.py --real mri=<files or folder> ct=<folder> pet=<folder>``
brings each real scan to the spacing and matrix of the phantom, degrades it as `restore
degrade=true` would, and writes the same measures of real and embedded patients. ``--label before``
keeps the rows of other labels, so that two versions of the phantoms can be compared.
"""

import argparse
import csv
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from hydra.utils import instantiate
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from omegaconf import OmegaConf

from amir_lightning.config import CONF_DIR
from amir_lightning.data.pairs import AXES, informative_rows
from amir_lightning.degradation import Degradation
from amir_lightning.io.scan import find_scans
from amir_lightning.metrics import METRICS
from amir_lightning.system.markdown import table
from amir_lightning.tasks import Task

HERE = Path(__file__).parent
Array = NDArray[np.float32]
BANDS = np.array([0.01, 0.02, 0.04, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5])
"""Borders of the bands of spatial frequency [cycles per pixel]."""


REACH = {"mri": 12, "ct": 8, "pet": 7}
"""Bands that are compared. Real CT and PET scans end where their own kernel or voxels end."""


class Patient(NamedTuple):
    """Slices of a patient in physical units, (S, H, W)."""

    kind: str
    name: str
    lq: Array
    hq: Array


def resample(image: Array, axis: int, spacing: float, wanted: float) -> Array:
    """Crop or pad k-space along an axis, so that voxels get another size; real values."""
    n = image.shape[axis]
    m = round(n * spacing / wanted)
    k = np.fft.fftshift(np.fft.fft(image, axis=axis), axes=axis)
    if m < n:
        first = n // 2 - m // 2
        k = k.take(range(first, first + m), axis)
    else:
        before = m // 2 - n // 2
        k = np.pad(
            k, [(before, m - n - before) if a == axis else (0, 0) for a in range(image.ndim)]
        )
    whole: Array = np.fft.ifft(np.fft.ifftshift(k, axes=axis), axis=axis).real * (m / n)
    return whole.astype(np.float32)


def to_side(image: Array, axis: int, side: int, air: float) -> Array:
    """Crop or pad with air around the middle."""
    n = image.shape[axis]
    if n > side:
        first = (n - side) // 2
        return image.take(range(first, first + side), axis)
    before = (side - n) // 2
    widths = [(before, side - n - before) if a == axis else (0, 0) for a in range(image.ndim)]
    return np.pad(image, widths, constant_values=air)


def real_patients(task: Task, folder: Path, phantom: object, most: int) -> Iterator[Patient]:
    """Real scans on the grid of the phantom, with LQ simulated from them."""
    degradation: Degradation = instantiate(dict(task.degradation))
    target = phantom.sample(0)  # type: ignore[attr-defined]
    wanted, side = target.spacing_mm, target.array.shape
    for scan in find_scans(folder, task.units)[0]:
        volume = scan.read()
        low, _ = task.value_range
        array = np.maximum(volume.array, low)
        for axis in (1, 2) if task.plane == "axial" else (0, 1, 2):
            array = resample(array, axis, volume.spacing_mm[axis], wanted[axis])
            array = to_side(np.maximum(array, low), axis, side[axis], low)
        spacing = wanted if task.plane != "axial" else (volume.spacing_mm[0], *wanted[1:])
        if task.plane == "axial":
            reach = side[0] * wanted[0]
            keep = min(len(array), round(reach / volume.spacing_mm[0]))
            first = (len(array) - keep) // 2
            array = array[first : first + keep]
            array = array[np.linspace(0, keep - 1, min(most, keep)).round().astype(int)]
        lq = degradation.degrade(torch.from_numpy(np.ascontiguousarray(array)), spacing, 0).numpy()
        yield chosen(task, Patient("real", scan.path.name, lq, array), most)


def phantom_patients(
    task: Task, label: str, phantom: object, count: int, most: int
) -> Iterator[Patient]:
    """Embedded patients, drawn and scanned as for a training."""
    degradation: Degradation = instantiate(dict(task.degradation))
    for seed in range(count):
        volume = phantom.sample(seed)  # type: ignore[attr-defined]
        truth = torch.from_numpy(volume.array)
        lq, hq = degradation.acquire(truth, volume.spacing_mm, seed)
        yield chosen(task, Patient(label, volume.source, lq.numpy(), hq.numpy()), most)


def chosen(task: Task, patient: Patient, most: int) -> Patient:
    """At most so many slices along the plane of the task, evenly spread, without air."""
    lq, hq = (image.transpose(AXES[task.plane]) for image in (patient.lq, patient.hq))
    rows = informative_rows(hq, task)
    rows = rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int)]
    return patient._replace(lq=np.ascontiguousarray(lq[rows]), hq=np.ascontiguousarray(hq[rows]))


def measures(task: Task, patient: Patient) -> dict[str, float]:
    """What is compared; lengths are pixels, amplitudes shares of the range of a slice."""
    lq, hq = (torch.from_numpy(image)[:, None] for image in (patient.lq, patient.hq))
    scores = METRICS["paper"](lq, hq, task)
    found = {name: float(scores[name].mean()) for name in ("psnr", "ssim", "rmse")}
    shown = np.clip(patient.hq, *task.score_range)
    scale = (shown.max((1, 2)) - shown.min((1, 2)))[:, None, None]
    image = (shown - shown.min((1, 2))[:, None, None]) / scale
    power = sum(np.abs(np.fft.fft2(one)) ** 2 / one.size for one in image) / len(image)
    radius = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, power.shape), indexing="ij"))
    for low, high in pairwise(BANDS):
        inside = (radius >= low) & (radius < high)
        found[f"power {low:.2f}-{high:.2f}"] = float(10 * np.log10(power[inside].mean()))
    body = image > 0.05
    gradient = np.hypot(*np.gradient(image, axis=(1, 2)))[body]
    for share in (10, 50, 75, 90, 99):
        found[f"gradient p{share}"] = float(np.percentile(gradient, share))
    # Differences of second order are blind to gradients; the calmest tenth shows the noise.
    second = image[:, 1:-1, 2:] - 2 * image[:, 1:-1, 1:-1] + image[:, 1:-1, :-2]
    tiles = [
        (float(second[s, y : y + 8, x : x + 8].std()), s, y, x)
        for s in range(len(image))
        for y in range(0, image.shape[1] - 9, 8)
        for x in range(0, image.shape[2] - 9, 8)
        if body[s, y : y + 9, x : x + 9].all()
    ]
    calm = sorted(tiles)[: max(len(tiles) // 10, 1)]
    found["noise"] = float(np.mean([one[0] for one in calm]) / np.sqrt(6))
    patches = np.stack([image[s, y : y + 8, x : x + 8] for _, s, y, x in calm])
    patches -= patches.mean((1, 2), keepdims=True)
    for axis, name in ((1, "rows"), (2, "columns")):
        ahead, behind = (np.delete(patches, end, axis) for end in (0, -1))
        found[f"autocorrelation {name}"] = float((ahead * behind).mean() / (patches**2).mean())
    return found


def task_of(name: str, scale: str) -> Task:
    """A task with the phantom of a scale."""
    node = OmegaConf.load(CONF_DIR / "tasks" / f"{name}.yaml")
    if scale != "paper":
        tasks = OmegaConf.load(CONF_DIR / "scale" / f"{scale}.yaml").tasks
        node = OmegaConf.merge(node, tasks.get(name, {}))
    return Task.from_config(name, OmegaConf.to_container(node))


def write(rows: list[list[str]], path: Path) -> None:
    """Put rows into the CSV; rows of the same task and kind are replaced."""
    old = []
    if path.exists():
        with path.open(newline="") as file:
            old = list(csv.reader(file))[1:]
    new = {(row[0], row[1]) for row in rows}
    kept = [row for row in old if (row[0], row[1]) not in new]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["task", "kind", "patient", "measure", "value"], *kept, *rows])


def draw(path: Path, output: Path) -> None:
    """Spectra of real and embedded patients: the mean, and the range between patients."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    mpl.use("Agg")
    figure, axes = plt.subplots(1, len(tasks), figsize=(4.2 * len(tasks), 3.6), squeeze=False)
    for axis, task in zip(axes[0], tasks, strict=True):
        for kind in ("real", "before", "now"):
            own = [r for r in rows if (r["task"], r["kind"]) == (task, kind)]
            names = list(
                dict.fromkeys(r["measure"] for r in own if r["measure"].startswith("power"))
            )
            if not names:
                continue
            values = np.array(
                [[float(r["value"]) for r in own if r["measure"] == n] for n in names]
            )
            middle = [(a + b) / 2 for a, b in pairwise(BANDS)]
            axis.plot(middle, values.mean(1), label=kind)
            axis.fill_between(middle, values.min(1), values.max(1), alpha=0.2)
        axis.set(title=task, xlabel="cycles per pixel", ylabel="power [dB of range$^2$]")
        axis.legend()
    figure.tight_layout()
    figure.savefig(output, dpi=110)


def summarise(path: Path, output: Path) -> None:
    """Write means over the patients of each kind, and how far spectra lie from real ones."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        spectra = {}
        for kind in dict.fromkeys(row["kind"] for row in rows if row["task"] == task):
            own = [row for row in rows if (row["task"], row["kind"]) == (task, kind)]
            values: dict[str, list[float]] = {}
            for row in own:
                values.setdefault(row["measure"], []).append(float(row["value"]))
            bands = [np.mean(values[name]) for name in values if name.startswith("power")]
            spectra[kind] = np.array(bands)
            far = (
                np.abs(spectra[kind] - spectra["real"])[: REACH[task]]
                if "real" in spectra
                else None
            )
            cells = [task, kind, str(len(values["psnr"]))]
            cells += [
                f"{np.mean(values[name]):.{digits}f} ({min(values[name]):.{digits}f} to "
                f"{max(values[name]):.{digits}f})"
                for name, digits in (("psnr", 2), ("ssim", 3), ("gradient p50", 3), ("noise", 3))
            ]
            cells.append("—" if kind == "real" else f"{far.max():.1f}")
            lines.append(cells)
    head = ["task", "kind", "patients", "PSNR of LQ [dB]", "SSIM of LQ", "median gradient", "noise"]
    output.write_text(table([*head, "largest difference of spectra [dB]"], lines))


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", nargs="*", default=[], metavar="TASK=FOLDER")
    parser.add_argument("--tasks", nargs="*", default=["mri", "ct", "pet"])
    parser.add_argument("--label", default="now", help="kind of the embedded patients in the CSV")
    parser.add_argument("--patients", type=int, default=4)
    parser.add_argument("--slices", type=int, default=12, help="of each patient")
    parser.add_argument("--scale", default="paper")
    parser.add_argument("--output", type=Path, default=HERE)
    chosen_options = parser.parse_args()
    folders = dict(one.split("=", 1) for one in chosen_options.real)
    rows_file = chosen_options.output / f"measures_{chosen_options.scale}.csv"
    for name in chosen_options.tasks:
        task = task_of(name, chosen_options.scale)
        node = dict(task.phantom)
        if task.plane == "axial":
            node["num_slices"] = chosen_options.slices
        phantom, most = instantiate(node), chosen_options.slices
        found = [
            *(real_patients(task, Path(folders[name]), phantom, most) if name in folders else ()),
            *phantom_patients(task, chosen_options.label, phantom, chosen_options.patients, most),
        ]
        rows = []
        for one in found:
            values = measures(task, one)
            rows += [[name, one.kind, one.name, key, f"{v:.4f}"] for key, v in values.items()]
            print(name, one.kind, one.name, *(f"{key} {v:.3f}" for key, v in values.items()))
        write(rows, rows_file)
    draw(rows_file, rows_file.with_suffix(".png"))
    summarise(rows_file, rows_file.with_suffix(".md"))


if __name__ == "__main__":
    main()
