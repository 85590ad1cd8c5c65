"""``python -m amir_lightning.bench``: cost of passes, against the limits of this machine."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from amir_lightning.cli import command, compose
from amir_lightning.errors import InputError

if TYPE_CHECKING:
    from amir_lightning.bench.cost import Recipe
    from amir_lightning.bench.report import Row
    from amir_lightning.bench.variants import Variant
    from amir_lightning.tasks import Task

_log = logging.getLogger("amir_lightning.bench")  # not __main__, which is quiet

_ABOUT = """\
Medians over all passes of {rounds} rounds; everything took its turn in each round, every
measurement in a fresh process. A training step is forward, plain objective with balance, backward
and Adam on random images, without loading. The machine's peaks are the fastest of many: products
of {side}x{side} matrices at {float32:,.0f} GFLOP/s in float32 and {bf16:,.0f} in bf16, copies of
256 MiB at {copy:.1f} GB/s, read and written bytes counted. The share of the peak in the same
precision counts convolutions and matrix products as this project runs them, for a training step
three forward passes. Peak memory is {memory}.
"""

_SAME_WEIGHTS = """\
Both have the same weights, drawn by the released code; ours runs with the C allocator set as the
commands train and restore do, the released network as its users run it. Same image of
{side}x{side} pixels, in evaluation: outputs differ by at most {float32[output]:.1e} in float32 and
{bf16[output]:.1e} in bf16, the gradients of the L1 distance by {float32[gradient]:.1e} and
{bf16[gradient]:.1e} of their norm.
"""

_LOADING = """\
Patches of {patch_size}x{patch_size} from {task} slices of {slice_size}, LQ and HQ, normalised, one
process, files in the page cache: {store_ms:.2f} ms from the prepared store, {pickles_ms:.2f} ms
from one pickled file a slice as the authors' training reads them, {faster:.1f} times as long.
"""

_TASK_CURVE = """\
Drawing, reading and stacking a batch of 8 patches that mixes so many tasks, without training: the
network does not know how many tasks there are. The tasks repeat those of conf/tasks.
"""


@command("bench")
def main(cfg: DictConfig) -> None:
    """Measure each case in a fresh process; print tables and write them."""
    import csv
    import json
    from tempfile import TemporaryDirectory

    import torch

    from amir_lightning.bench.machine import description
    from amir_lightning.bench.report import markdown, ratios
    from amir_lightning.bench.variants import against_release, measure, same_answers

    folder = _check(cfg)
    device = "cuda" if cfg.accelerator == "auto" and torch.cuda.is_available() else "cpu"
    found: dict[str, Any] = {"machine": description(device)}
    text = ["# Benchmark\n", ", ".join(f"{k} {v}" for k, v in found["machine"].items()) + "\n"]
    with TemporaryDirectory() as temporary:
        weights = Path(temporary) / "official.pth"
        variants = _table(cfg) if cfg.table else []
        if cfg.released is not None:
            name, checkout = cfg.released_network, Path(cfg.released)
            found["differences"] = same_answers(name, checkout, weights, cfg.released_side)
            cases = [("inference", *size) for size in cfg.released_inference]
            cases += [("training", *size) for size in cfg.released_training]
            variants += against_release(name, checkout, weights, cases, list(cfg.engines))
        variants += _curves(cfg) if cfg.scaling else []
        peaks, rows = measure(variants, _recipe(cfg, device), cfg.rounds, cfg.matrix_side)
    found["peaks"] = peaks._asdict()
    parts = {"table": "Networks", "released": "Against the released network", "curve": "Scaling"}
    for part, title in parts.items():
        chosen = [row for row, variant in zip(rows, variants, strict=True) if variant.part == part]
        if chosen:
            found[part] = chosen
            text += [f"## {title}\n", markdown(chosen)]
        if chosen and part == "released":
            found["ratios"] = ratios(chosen)
            about = _SAME_WEIGHTS.format(side=cfg.released_side, **found["differences"])
            text += [markdown(found["ratios"]), about]
    memory = "of the CUDA allocator" if device == "cuda" else "what the fresh process grew by"
    text.append(
        _ABOUT.format(rounds=cfg.rounds, side=cfg.matrix_side, memory=memory, **peaks._asdict())
    )
    if cfg.table:
        found["loading"] = _loading(cfg)
        text += ["## Loading\n", _LOADING.format(**found["loading"])]
    if cfg.scaling:
        found["task_curve"] = _task_curve(cfg)
        text += ["## Tasks in a batch\n", markdown(found["task_curve"]), _TASK_CURVE]
    page = "\n".join(text)
    print(page, end="")
    if folder is None:
        return
    (folder / "bench.json").write_text(json.dumps(found, indent=2) + "\n")
    (folder / "bench.md").write_text(page)
    names = "bench.json, bench.md"
    if cfg.scaling:
        points = [*found["curve"], *found["task_curve"]]
        with (folder / "scaling.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(points[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(points)
        names += ", scaling.csv"
    print(f"{'tables':>10}  {folder}/{names}")


def _check(cfg: DictConfig) -> Path | None:
    """Refuse what cannot be measured, and make the output folder.

    Raises:
        InputError: An option is out of range or unknown.
    """
    for name, value, least in (
        ("rounds", cfg.rounds, 1),
        ("matrix_side", cfg.matrix_side, 1),
        ("loading.patients", cfg.loading.patients, 1),
        ("loading.patches", cfg.loading.patches, 1),
        ("loading.patch_size", cfg.loading.patch_size, 9),
    ):
        if value < least:
            raise InputError(f"{name} is {value}, expected at least {least}; type {name}={least}")
    if cfg.seconds <= 0:
        raise InputError(f"seconds is {cfg.seconds}, expected more than 0; type seconds=1")
    if cfg.accelerator not in ("auto", "cpu"):
        raise InputError(f"accelerator is '{cfg.accelerator}'; choose from auto, cpu")
    for name, choices in (
        ("scales", ("demo", "paper")),
        ("precisions", ("float32", "bf16")),
        ("engines", ("torch", "openvino")),
    ):
        for value in cfg[name]:
            if value not in choices:
                raise InputError(f"{name} has '{value}'; choose from {', '.join(choices)}")
    for name in ("inference", "training", "released_inference", "released_training"):
        for case in cfg[name]:
            if len(case) != 3 or not all(isinstance(n, int) and n >= 1 for n in case):
                raise InputError(
                    f"{name} has {list(case)}, expected batch, rows and columns; type for "
                    f"instance {name}=[[1,128,128]]"
                )
    if cfg.loading.task not in cfg.tasks:
        raise InputError(
            f"loading.task is '{cfg.loading.task}'; choose from {', '.join(cfg.tasks)}"
        )
    if cfg.released is not None:
        from amir_lightning.bench.released import NETWORK_FILES

        if cfg.released_network not in NETWORK_FILES:
            raise InputError(
                f"released_network is '{cfg.released_network}'; choose from "
                f"{', '.join(NETWORK_FILES)}"
            )
        network_file = NETWORK_FILES[cfg.released_network]
        if not (Path(cfg.released) / network_file).is_file():
            raise InputError(
                f"released={cfg.released} has no {network_file}; give the folder of a checkout of "
                "the authors' code"
            )
    if not (cfg.table or cfg.scaling or cfg.released):
        raise InputError("table=false leaves nothing to measure; add released= or scaling=true")
    if cfg.output is None:
        return None
    folder = Path(cfg.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be made ({error.strerror}); type another output=<folder>"
        ) from error
    return folder


def _node(network: str, scale: str) -> dict[str, Any]:
    """Configuration of a network as plain types."""
    composed = compose("train", [f"network={network}", f"scale={scale}"]).network
    node = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True))
    del node["pretrained"]
    return node


def _table(cfg: DictConfig) -> "list[Variant]":
    from amir_lightning.bench.cost import Case
    from amir_lightning.bench.variants import variant

    nodes = {(name, scale): _node(name, scale) for scale in cfg.scales for name in cfg.networks}
    return [
        variant(*names, node, Case(what, batch, height, width, precision, engine=engine))
        for what in ("inference", "training")
        for engine in (cfg.engines if what == "inference" else ["torch"])
        for names, node in nodes.items()
        for batch, height, width in cfg[what]
        for precision in cfg.precisions
    ]


def _curves(cfg: DictConfig) -> "list[Variant]":
    from amir_lightning.bench.variants import curves

    names = cfg.curves.network, cfg.curves.at_scale
    values = {name: list(cfg.curves[name]) for name in ("pixels", "batches", "experts")}
    return curves(*names, _node(*names), values, cfg.curves.patch_size)


def _recipe(cfg: DictConfig, device: str) -> "Recipe":
    from amir_lightning.bench.cost import Recipe
    from amir_lightning.losses import OPTIONS

    train = compose("train", ["loss=l1_balance"])
    loss = {name: train.loss[name] for name in OPTIONS}
    first, second = train.optimizer.betas
    rate = train.optimizer.learning_rate
    return Recipe(loss, rate, (first, second), cfg.seconds, device, cfg.compile)


def _store(cfg: DictConfig, name: str) -> "tuple[Task, Path]":
    from amir_lightning.data.embedded import Cohort, embedded_store
    from amir_lightning.tasks import Task

    node = cast(dict[str, Any], OmegaConf.to_container(cfg.tasks[name], resolve=True))
    task = Task.from_config(name, node)
    cohort = Cohort(train=cfg.loading.patients, val=0, test=0)
    return task, embedded_store(task, cohort, Path(cfg.paths.phantom_dir))


def _loading(cfg: DictConfig) -> dict[str, Any]:
    """Time patches from the store, and from pickled slices as the authors' training reads them."""
    from amir_lightning.bench.loading import patch_times
    from amir_lightning.bench.process import apart

    task, path = _store(cfg, cfg.loading.task)
    side, patches = cfg.loading.patch_size, cfg.loading.patches
    reading = apart(patch_times, path, task, side, patches, cfg.rounds)
    _log.info("loading: %.3g ms a patch", reading.store_ms)
    return {
        "task": task.name,
        "slice_size": "x".join(map(str, reading.slice_size)),
        "patch_size": side,
        "store_ms": reading.store_ms,
        "pickles_ms": reading.pickles_ms,
        "faster": reading.pickles_ms / reading.store_ms,
    }


def _task_curve(cfg: DictConfig) -> "list[Row]":
    """Time batches that mix several tasks; beyond three, the same data count as further tasks."""
    from itertools import cycle, islice

    from amir_lightning.bench.loading import batch_time
    from amir_lightning.bench.process import apart

    stores = [_store(cfg, name) for name in cfg.tasks]
    side, batch, batches = cfg.curves.patch_size, 8, 50
    rows: list[Row] = []
    for count in cfg.curves.tasks:
        mixed = list(islice(cycle(stores), count))
        seconds = apart(batch_time, mixed, side, batch, batches)
        rows.append(
            {
                "curve": "tasks",
                "value": count,
                "what": "loading",
                "size": f"{side}x{side}",
                "batch": batch,
                "seconds": seconds,
                "slices_per_second": batch / seconds,
            }
        )
    return rows


if __name__ == "__main__":
    main()
