"""Weights folders as ``export`` writes them, without a training."""

from pathlib import Path

import torch
from omegaconf import OmegaConf

from amir_lightning.config import CONF_DIR, plain
from amir_lightning.export.formats import write_weights_folder
from amir_lightning.networks import AMIR


def write_weights(folder: Path, seed: int) -> None:
    """A weights folder of a network that nobody has trained."""
    node = OmegaConf.merge(
        *(
            OmegaConf.load(CONF_DIR / "network" / name)
            for name in ("amir.yaml", "size/amir_demo.yaml")
        )
    )
    arguments = plain(node)
    del arguments["_target_"]
    torch.manual_seed(seed)
    tasks = {
        name: plain(OmegaConf.load(CONF_DIR / "tasks" / f"{name}.yaml")) for name in ("mri", "ct")
    }
    folder.mkdir(parents=True)
    write_weights_folder(folder, AMIR(**arguments), arguments, tasks, {})
