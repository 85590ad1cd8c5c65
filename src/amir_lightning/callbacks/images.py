"""Choice of the validation slices that are shown, and writing of their pictures."""

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger

from amir_lightning import pictures


def chosen_batches(trainer: pl.Trainer, dataloader_idx: int, count: int) -> set[int]:
    """Indices of `count` batches of a validation loader, evenly spread and always the same."""
    sizes = trainer.num_val_batches
    size = int(sizes[dataloader_idx] if isinstance(sizes, list) else sizes)
    return {(2 * i + 1) * size // (2 * count) for i in range(count)}


def show(trainer: pl.Trainer, key: str, picture: pictures.Pixels) -> None:
    """Write ``<key>-step<step>.png`` into the run folder, and log it to W&B and TensorBoard."""
    step = trainer.global_step
    pictures.save(picture, Path(trainer.default_root_dir) / f"{key}-step{step:06d}.png")
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, [picture], step=step)
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(key, picture, step, dataformats="HWC")
