"""Run folders as training leaves them, written by hand: no test of what reads them has to train."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

TASKS = {
    "mri": {"title": "MRI Super-Resolution", "units": "a.u."},
    "ct": {"title": "CT Denoising", "units": "HU"},
    "pet": {"title": "PET Synthesis", "units": "SUV"},
}


def write_run(
    runs_dir: Path,
    name: str,
    psnr: dict[str, float],
    network: str = "amir",
    scale: str = "demo",
    finished: bool = True,
    config: dict[str, Any] | None = None,
    **record: Any,
) -> Path:
    """A run whose test PSNR per task is `psnr`; its curves end there."""
    folder = runs_dir / name
    folder.mkdir(parents=True)
    task = "+".join(psnr)
    facts = {
        "name": name,
        "task": task,
        "network": network,
        "scale": scale,
        "seed": 0,
        "parameters": 1000,
        "started": "2026-01-01T10:00:00+00:00",
        "status": "finished" if finished else "running",
        "seconds": 90,
        **record,
    }
    (folder / "run.json").write_text(json.dumps(facts))
    settings = {
        "task": task,
        "network_name": network,
        "scale": scale,
        "tasks": {name: TASKS[name] for name in psnr},
        "network": {"width": 8},
        "optimizer": {"learning_rate": 0.003},
        "paths": {"runs_dir": str(runs_dir)},
    }
    merged = OmegaConf.merge(settings, config or {})
    OmegaConf.save(merged, folder / "config.yaml")
    lines = ["step,train/loss," + ",".join(f"val/{name}/psnr" for name in psnr)]
    for step in (9, 19, 29):
        lines.append(f"{step},{1 / step}," + ",".join(str(v - 29 + step) for v in psnr.values()))
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    if finished:
        scores = {f"test/{name}/psnr": value for name, value in psnr.items()}
        scores |= {f"test/{name}/input_psnr": 20.0 for name in psnr}
        scores["test/avg/psnr"] = sum(psnr.values()) / len(psnr)
        (folder / "result.json").write_text(json.dumps(scores | {"best_step": 30}))
    return folder


def write_picture(path: Path, width: int = 64, height: int = 32) -> None:
    """A PNG file of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
