"""Measure what bf16 and int8 of OpenVINO lose on trained networks, and how fast they are.

``python experiments/performance/losses.py`` scores the weights that come with the package on test
slices of the study's phantoms. int8 needs ``pip install nncf==3.4.0``, and is left out without it.
"""

import argparse
import logging
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import OmegaConf

from amir_lightning.config import CONF_DIR
from amir_lightning.data.dataset import PairedSlices, Sample
from amir_lightning.data.embedded import Cohort, embedded_store
from amir_lightning.data.splits import Split
from amir_lightning.engines.openvino import convert, core
from amir_lightning.engines.traced import traced, traced_for_size
from amir_lightning.metrics import METRICS
from amir_lightning.networks import RestorationNetwork
from amir_lightning.system import cores
from amir_lightning.system.markdown import table
from amir_lightning.system.wording import counted
from amir_lightning.tasks import Task
from amir_lightning.weights.folder import Pretrained, load_pretrained

HERE = Path(__file__).parent
SIDE = 256  # of the slice whose passes are timed
TURNS = 12
HEADS = ["Weights", "Engine and precision", "Also in float32", "MRI", "CT", "PET", "Speed"]


class Slices(NamedTuple):
    """Some slices of a split of one task."""

    task: Task
    samples: Sequence[Sample]


class Way(NamedTuple):
    """A way to restore: its name, what stays in float32, and models by size."""

    name: str
    wide: str
    models: Any


def slices(weights: Pretrained, split: Split, count: int, phantoms: Path) -> list[Slices]:
    """Slices of the study's patients, evenly spread."""
    patients = OmegaConf.load(CONF_DIR / "scale" / "study.yaml").data.phantoms
    cohort = Cohort(**{str(key): int(value) for key, value in patients.items()})
    parts = []
    for task in weights.tasks.values():
        store = embedded_store(task, cohort, phantoms)
        part = PairedSlices(store, task, 0, split, count)
        parts.append(Slices(task, [part[index] for index in range(len(part))]))
    return parts


class Model:
    """Programs of OpenVINO for each size, from one model for all sizes or from the network."""

    def __init__(self, network: RestorationNetwork, wide: Sequence[str], model: Any = None) -> None:
        self.network, self.wide, self.model = network, wide, model
        self.requests: dict[tuple[int, ...], Any] = {}

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Restore a slice, (1, 1, H, W)."""
        height, width = image.shape[-2:]
        padded = self.network.pad(image)
        restored = self.request(tuple(padded.shape)).infer({0: padded.numpy()})[0]
        return torch.from_numpy(restored.copy())[..., :height, :width]

    def request(self, shape: tuple[int, ...]) -> Any:
        """The compiled program of a size."""
        if shape not in self.requests:
            if self.model is None:
                program = convert(traced_for_size(self.network, shape, True, self.wide))
            else:
                program = self.model.clone()
                program.reshape(list(shape))
            options = {
                "INFERENCE_PRECISION_HINT": "f32",
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            }
            compiled = core().compile_model(program, "CPU", options)
            self.requests[shape] = compiled.create_infer_request()
        return self.requests[shape]


def psnr(restore: Any, parts: Sequence[Slices]) -> dict[str, float]:
    """Mean PSNR of each task over its slices [dB]."""
    found = {}
    for task, samples in parts:
        values = []
        for sample in samples:
            with torch.inference_mode():
                image = restore(sample.lq[None]).float()
            pair = (task.denormalise(one) for one in (image, sample.hq[None]))
            values.append(float(METRICS["paper"](*pair, task)["psnr"].mean()))
        found[task.name] = mean(values)
    return found


def int8_ways(model: Any, network: RestorationNetwork, parts: Sequence[Slices]) -> Iterator[Way]:
    """Quantise by NNCF in four ways."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    calibration = nncf.Dataset([network.pad(s.lq[None]).numpy() for p in parts for s in p.samples])
    count = sum(len(part.samples) for part in parts)
    convolutions = [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == "Convolution"
    ]
    # The ends, the products of attention, gates and experts, and depthwise convolutions.
    scope = nncf.IgnoredScope(
        names=[convolutions[0], convolutions[-1]], types=["MatMul", "GroupConvolution"]
    )
    presets = {"int8": None, "int8, for transformers": nncf.ModelType.TRANSFORMER}
    for name, kind in presets.items():
        for wide, ignored in (("", None), ("ends, products, depthwise", scope)):
            quantised = nncf.quantize(
                model.clone(),
                calibration,
                preset=nncf.QuantizationPreset.MIXED,
                model_type=kind,
                ignored_scope=ignored,
                subset_size=count,
            )
            yield Way(f"OpenVINO, {name}", wide, Model(network, (), quantised))


def speed(ways: Mapping[str, Model]) -> dict[str, float]:
    """Median processor time of a pass of each, in turns [s]."""
    shape = (1, 1, SIDE, SIDE)
    image = np.random.default_rng(0).random(shape, np.float32)
    took: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TURNS):
        for name, model in ways.items():
            request = model.request(shape)
            start = time.process_time()
            request.infer({0: image})
            if turn > 1:
                took[name].append(time.process_time() - start)
    return {name: median(values) for name, values in took.items()}


def rows(name: str, options: argparse.Namespace) -> Iterator[list[str]]:
    """Score one network in all ways."""
    weights = load_pretrained(name)
    network = weights.network
    parts = slices(weights, "test", options.slices, options.phantoms)
    with torch.inference_mode():
        by_torch = psnr(network, parts)
        yield [name, "torch, float32", "", *(f"{value:.3f}" for value in by_torch.values()), ""]
        model = convert(traced(network))
        plain = Model(network, (), model)
        ways = [Way("OpenVINO, float32", "", plain)]
        ways += [
            Way("OpenVINO, bf16", ", ".join(wide), Model(network, wide))
            for wide in ((), *(names.split(",") for names in options.wide))
        ]
        if find_spec("nncf") and name in options.int8:
            calibration = slices(weights, "val", options.calibration, options.phantoms)
            ways += int8_ways(model, network, calibration)
        for way in ways:
            found = psnr(way.models, parts)
            lost = [f"{found[task] - by_torch[task]:+.3f}" for task in found]
            seconds = speed({"float32": plain, "own": way.models})
            ratio = "" if way.models is plain else f"{seconds['float32'] / seconds['own']:.2f}x"
            yield [name, way.name, way.wide, *lost, ratio]
            print(name, way.name, way.wide, *lost, ratio, flush=True)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", nargs="+", default=["study", "study-restormer"])
    parser.add_argument(
        "--wide", nargs="*", default=["refinement"], help="modules in float32 beside bf16: a,b"
    )
    parser.add_argument("--int8", nargs="*", default=["study"], help="weights that are quantised")
    parser.add_argument("--slices", type=int, default=32, help="test slices of each task")
    parser.add_argument("--calibration", type=int, default=8, help="validation slices of each task")
    parser.add_argument("--phantoms", type=Path, default=Path("data/phantoms"))
    parser.add_argument("--output", type=Path, default=HERE / "engines" / "losses.md")
    options = parser.parse_args()
    lines = [row for name in options.weights for row in rows(name, options)]
    about = (
        f"PSNR in float32 [dB], and what changes against it, on {options.slices} test slices of "
        f"each task of scale study. Speed: processor time of a pass of {SIDE}x{SIDE} in float32 of "
        f"OpenVINO over that of the row, medians of {TURNS - 2} in turns. "
        f"{platform.system()} on {platform.machine()}, {counted('CPU core', cores.usable())}."
    )
    options.output.write_text(f"{table(HEADS, lines, range(3))}\n{about}\n")
    print(options.output.read_text())


if __name__ == "__main__":
    main()
