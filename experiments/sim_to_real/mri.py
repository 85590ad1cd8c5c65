"""Measure why a network that was trained on phantoms gains little on real MRI.

``python experiments/sim_to_real/mri.py --weights study --real <folder>`` restores some slices of
each scan as they are, with the pixels of the phantoms, with their brightness, and with both.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from torch import Tensor

from amir_lightning.degradation import Degradation
from amir_lightning.io.scan import find_scans
from amir_lightning.metrics import METRICS
from amir_lightning.system.markdown import table
from amir_lightning.tasks import load_task
from amir_lightning.weights.source import load_weights

HERE = Path(__file__).parent
TASK = load_task("mri")
HEADS = ["Patient", "Pixel [mm]", "Brightness", "PSNR of input [dB]", "Gain [dB]", "Gain of SSIM"]
HEADS += ["with air as in the input", "Air of HQ", "Air, restored", "Correlation of detail"]
FLOOR = 60.0  # dimmer pixels are no tissue [a.u.]


def resampled(image: Tensor, spacing: tuple[float, ...], wanted: float) -> Tensor:
    """Crop the k-space of slices, (S, H, W), so that pixels get larger; crop to 256x256."""
    for axis in (1, 2):
        n = image.shape[axis]
        m = round(n * spacing[axis] / wanted)
        if m > n:
            raise SystemExit(f"pixels of {spacing[axis]} mm are larger than {wanted} mm")
        k = torch.fft.fftshift(torch.fft.fft(image, dim=axis), dim=axis)
        k = k.narrow(axis, n // 2 - m // 2, m)
        image = torch.fft.ifft(torch.fft.ifftshift(k, dim=axis), dim=axis).real * (m / n)
        kept = min(m, 256)
        image = image.narrow(axis, (m - kept) // 2, kept)
    return image.clamp(min=0)


def brightness(image: Tensor) -> float:
    """Median of tissue [a.u.]."""
    return float(image[image > FLOOR].median())


def row(network: torch.nn.Module, lq: Tensor, hq: Tensor, factor: float) -> Iterator[str]:
    """Restore slices times a factor, and compare with what was there."""
    with torch.inference_mode():
        given = TASK.normalise(lq * factor)[:, None]
        restored = torch.cat([network(one) for one in given.split(1)])[:, 0]
    restored = TASK.denormalise(restored).clip(*TASK.value_range) / factor
    # Air is what stays dark when it is averaged over 15x15 pixels.
    dark = 0.08 * float(np.percentile(hq, 98))
    air = F.avg_pool2d(hq[:, None], 15, 1, 7)[:, 0] < dark
    images = {"input": lq, "restored": restored, "air": torch.where(air, lq, restored)}
    scores = {
        name: {key: float(value.mean()) for key, value in METRICS["paper"](*pair).items()}
        for name, image in images.items()
        for pair in [(image[:, None], hq[:, None], TASK)]
    }
    gained, missing = restored - lq, hq - lq
    correlation = float((gained * missing).sum() / (gained.norm() * missing.norm()))
    yield f"{scores['input']['psnr']:.2f}"
    yield f"{scores['restored']['psnr'] - scores['input']['psnr']:+.2f}"
    yield f"{scores['restored']['ssim'] - scores['input']['ssim']:+.3f}"
    yield f"{scores['air']['ssim'] - scores['input']['ssim']:+.3f}"
    yield f"{float(hq[air].mean()):.0f}"
    yield f"{float(restored[air].mean()):.0f}"
    yield f"{correlation:.2f}"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="study", help="run, folder or name of shipped weights")
    parser.add_argument("--real", type=Path, required=True, help="folder of MRI scans")
    parser.add_argument("--slices", type=int, default=6, help="of each patient")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), help="where a run's name is found"
    )
    parser.add_argument("--output", type=Path, default=HERE / "mri.md")
    options = parser.parse_args()
    weights = load_weights(options.weights, options.runs)
    degradation: Degradation = instantiate(dict(TASK.degradation))
    phantom = instantiate(dict(TASK.phantom) | {"num_slices": 2 * options.slices})
    rows, levels, pixel = [], [], 1.0
    for seed in (1000, 1001):  # not among those that the network was trained on
        volume = phantom.sample(seed)
        pixel = volume.spacing_mm[1]
        truth = torch.from_numpy(volume.array)
        lq, hq = degradation.acquire(truth, volume.spacing_mm, seed)
        middle = slice(options.slices // 2, options.slices // 2 + options.slices)
        lq, hq = lq[middle], hq[middle]
        levels.append(brightness(hq))
        rows.append([f"phantom {seed}", f"{pixel:.2f}", "x 1", *row(weights.network, lq, hq, 1)])
    for number, scan in enumerate(find_scans(options.real, TASK.units)[0], 1):
        volume = scan.read()
        count = len(volume.array)
        chosen = np.linspace(count * 0.25, count * 0.75, options.slices).round().astype(int)
        own = torch.from_numpy(np.maximum(volume.array[chosen], 0))
        coarse = resampled(own, volume.spacing_mm, pixel)
        factor = mean(levels) / brightness(own)
        for hq, spacing in ((own, volume.spacing_mm[1]), (coarse, pixel)):
            lq = degradation.degrade(hq, volume.spacing_mm, 0)
            for times in (1.0, factor):
                cells = row(weights.network, lq, hq, times)
                rows.append([f"real {number}", f"{spacing:.2f}", f"x {times:.2g}", *cells])
    text = table(HEADS, rows, (0,))
    name = f"{type(weights.network).__name__}, fingerprint {weights.fingerprint}"
    about = f"{options.slices} slices of each patient. Weights: {name}."
    options.output.write_text(f"{text}\n{about}\n")
    print(text)


if __name__ == "__main__":
    main()
