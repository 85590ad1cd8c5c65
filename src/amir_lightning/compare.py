"""``python -m amir_lightning.compare``: parameters, time and memory of all networks."""

import logging
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig

from amir_lightning.cli import command, compose
from amir_lightning.errors import InputError
from amir_lightning.system.markdown import table
from amir_lightning.system.wording import counted

_log = logging.getLogger("amir_lightning.compare")  # __name__ is "__main__", which is quiet


@command("compare")
def main(cfg: DictConfig) -> None:
    """Count parameters and multiply-adds, and time the restoring of slices in fresh processes."""
    import csv
    import io
    import platform
    from functools import partial
    from itertools import product
    from statistics import median

    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from amir_lightning.bench.size import network_size
    from amir_lightning.bench.speed import ENGINES, Speed, difference, measure_apart
    from amir_lightning.system import cores
    from amir_lightning.system.versions import version_of

    if cfg.measure not in ("all", "difference", "size"):
        raise InputError(f"measure is '{cfg.measure}'; choose from all, difference, size")
    if cfg.accelerator not in ("auto", "cpu"):
        raise InputError(f"accelerator is '{cfg.accelerator}'; choose from auto, cpu")
    for engine in cfg.engines:
        if engine not in ENGINES:
            raise InputError(f"engines has '{engine}'; choose from {', '.join(ENGINES)}")
    if cfg.rounds < 1:
        raise InputError(f"rounds is {cfg.rounds}, expected at least 1; type rounds=3")
    if cfg.seconds <= 0:
        raise InputError(f"seconds is {cfg.seconds}, expected more than 0; type seconds=1")
    folder = None if cfg.output is None else Path(cfg.output)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{folder} cannot be made ({error.strerror}); type another output=<folder>"
            ) from error
    nodes: dict[str, dict[str, Any]] = {}
    for name in cfg.networks:
        node = compose("train", [f"network={name}", f"scale={cfg.at_scale}"]).network
        nodes[name] = cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
        del nodes[name]["pretrained"]

    rows = {}
    for name, node in nodes.items():
        size = network_size(partial(instantiate, node), int(node.get("in_channels", 1)))
        rows[name] = {"network": name, "parameters": size.parameters}
        rows[name]["gmacs_128"] = f"{size.gmacs:.3f}"
    sizes = [(int(height), int(width)) for height, width in cfg.sizes]
    smallest = min(sizes, default=(64, 64))
    others = [one for one in cfg.engines if one != "torch"] if cfg.measure != "size" else []
    refused: dict[tuple[str, str], str] = {}
    for name, engine in product(nodes, others):
        try:
            value = f"{difference(nodes[name], smallest, engine):.1e}"
        except InputError as error:
            value, refused[name, engine] = "-", str(error)
        rows[name][f"{engine}_difference"] = value
        _log.info("%s by %s: %s", name, engine, refused.get((name, engine), value))

    if cfg.measure == "all":
        device = "cuda" if cfg.accelerator == "auto" and torch.cuda.is_available() else "cpu"
        pairs = list(product(nodes, cfg.engines))
        found: dict[tuple[str, str], list[list[Speed]]]
        found = {pair: [] for pair in pairs if pair not in refused}
        for turn in range(cfg.rounds):
            for name, engine in found:
                speeds = measure_apart(nodes[name], sizes, cfg.seconds, device, engine)
                found[name, engine].append(speeds)
                seconds = ", ".join(f"{one.seconds:.3g} s" for one in speeds)
                _log.info("round %d of %d: %s %s %s", turn + 1, cfg.rounds, name, engine, seconds)
        for name, engine in pairs:
            prefix = "" if engine == "torch" else f"{engine}_"
            for index, (height, width) in enumerate(sizes):
                speeds = [one[index] for one in found.get((name, engine), [])]
                taken = f"{median(s.seconds for s in speeds):.3g}" if speeds else "-"
                memory = f"{median(s.memory_mib for s in speeds):.0f}" if speeds else "-"
                rows[name][f"{prefix}seconds_{height}x{width}"] = taken
                rows[name][f"{prefix}memory_mib_{height}x{width}"] = memory

    text = io.StringIO()
    writer = csv.DictWriter(text, list(next(iter(rows.values()))), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    print(text.getvalue(), end="")
    if folder is None:
        return
    gpu = cfg.measure == "all" and device == "cuda"
    machine = f"{platform.machine()}, {counted('core', cores.usable())}"
    where = torch.cuda.get_device_name() if gpu else machine
    about = (
        f"Networks of scale {cfg.at_scale}; multiply-adds of one slice of 128x128 as run here: "
        "AMIR evaluates all its experts, AirNet the part of its encoder that restoring needs, and "
        "channel attention is multiplied with its projection before it meets the pixels."
    )
    if cfg.measure == "all":
        about += (
            f" Seconds and peak memory of restoring one slice: {where}, torch {torch.__version__}, "
            f"float32, medians; the networks took turns, rounds={cfg.rounds}."
        )
    if others:
        about += (
            f" OpenVINO {version_of('openvino')}, after compiling; difference: the largest from "
            f"torch {torch.__version__} in float32, on one random image in [0, 1] of "
            f"{'x'.join(map(str, smallest))}, with random weights."
        )
    page = f"{_markdown(list(rows.values()))}\n{about}\n"
    if refused:
        page += "\n" + "".join(
            f"- {name} is refused by {engine}: {why}\n" for (name, engine), why in refused.items()
        )
    (folder / "methods.csv").write_text(text.getvalue())
    (folder / "methods.md").write_text(page)
    print(f"{'table':>10}  {folder}/methods.csv, methods.md")


def _markdown(rows: list[dict[str, object]]) -> str:
    titles = [
        key.replace("gmacs_128", "10^9 multiply-adds")
        .replace("seconds_", "s, ")
        .replace("memory_mib_", "MiB, ")
        .replace("openvino_bf16_", "OpenVINO bf16: ")
        .replace("openvino_", "OpenVINO: ")
        for key in rows[0]
    ]
    return table(
        titles,
        (
            [f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()]
            for row in rows
        ),
    )


if __name__ == "__main__":
    main()
