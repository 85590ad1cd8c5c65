"""Interference between tasks during training: Fig. 1 (b) over time."""

from collections.abc import Sequence

import lightning.pytorch as pl

from amir_lightning.callbacks.each_step import EachStep
from amir_lightning.data.datamodule import MultiTaskDataModule
from amir_lightning.metrics.interference import gradient_conflict, interference
from amir_lightning.modules import RestorationModule
from amir_lightning.modules.gradients import check, find_layers, task_gradients


class Interference(EachStep):
    """Log interference and gradient conflict of every pair of tasks.

    ``interference/{layer}/{acting}_on_{affected}`` is the ratio of means of `metrics.interference`.
    ``conflict/{layer}/{one}_{other}`` is the cosine between the mean gradients of two tasks with
    respect to the layer's weights. Measuring does not change the training.

    Args:
        every: Optimiser steps between two measurements.
        batches: Mini-batches per task; each costs about as much as a training step.
        layers: Names of layers as in `find_layers`.
    """

    def __init__(self, every: int, batches: int, layers: Sequence[str]) -> None:
        self.every = every
        self.batches = batches
        self.layers = list(layers)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the options before the first step.

        Raises:
            InputError: An option cannot be used here.
        """
        module, data = _parts(trainer, pl_module)
        check(len(data.modules), find_layers(module.network, self.layers), self.batches)

    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        """Measure if `step` is a multiple of `every`, in process 0 only."""
        if step % self.every or not trainer.is_global_zero:
            return
        module, data = _parts(trainer, pl_module)
        layers = find_layers(module.network, self.layers)
        names = [one.task.name for one in data.modules]
        values = {}
        for layer, gradients in task_gradients(module, data, layers, self.batches).items():
            metric, cosine = interference(gradients).ratio_of_means, gradient_conflict(gradients)
            for i, one in enumerate(names):
                for j, other in enumerate(names):
                    if i != j:
                        values[f"interference/{layer}/{other}_on_{one}"] = metric[i, j]
                    if i < j:
                        values[f"conflict/{layer}/{one}_{other}"] = cosine[i, j]
        for logger in trainer.loggers:
            logger.log_metrics({key: float(one) for key, one in values.items()}, step - 1)


def _parts(
    trainer: pl.Trainer, pl_module: pl.LightningModule
) -> tuple[RestorationModule, MultiTaskDataModule]:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(pl_module, RestorationModule)
    assert isinstance(data, MultiTaskDataModule)
    return pl_module, data
