"""Learning rates in ``conf/network/rate``: chosen by a search, or taken from another network."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from amir_lightning.cli.searchpath import SearchPath
from amir_lightning.runs.sweep import Job


def taken_from(job: Job) -> str | None:
    """Network whose rate a job is trained at by its file, as the ablations of AMIR; else None."""
    path, scale = SearchPath.running(), job.cfg.scale
    name = own = f"{job.network}_{scale}"
    while (file := path.file(f"network/rate/{name}.yaml")) and (other := lender(file)):
        name = other
    if file is None or name == own:
        return None
    rate = OmegaConf.select(OmegaConf.load(file), "learning_rate")
    return name.removesuffix(f"_{scale}") if rate == job.cfg.optimizer.learning_rate else None


def lender(path: Path) -> str | None:
    """Name of the file that gives a file its rate (``defaults: [amir_study]``); None if none."""
    content = OmegaConf.load(path)
    if not isinstance(content, DictConfig) or "learning_rate" in content:
        return None
    names = [str(name) for name in content.get("defaults") or [] if name != "_self_"]
    return names[-1] if names else None
