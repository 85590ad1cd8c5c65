"""Checkpoints: the best one, the last one to resume from, and one when a signal stops the run."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from amir_lightning.callbacks.each_step import EachStep
from amir_lightning.errors import InputError
from amir_lightning.runs.checkpoint_io import LAST

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(InputError):
    """A signal stopped the run, which can be resumed.

    Attributes:
        signum: Number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.status = 128 + signum  # as shells report it


class KeepBest(ModelCheckpoint):
    """Write ``best.ckpt`` after each validation with a higher mean PSNR than all before.

    Args:
        folder: Folder of the checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor="val/avg/psnr",
            mode="max",
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the best score even if the run folder was moved."""
        if state_dict["best_model_path"]:
            here = str(Path(str(self.dirpath)) / "best.ckpt")
            scores = state_dict["best_k_models"].values()
            state_dict = {
                **state_dict,
                "dirpath": self.dirpath,
                "best_model_path": here,
                "kth_best_model_path": here,
                "best_k_models": dict.fromkeys([here], *scores),
            }
        super().load_state_dict(state_dict)


class KeepLast(EachStep, Checkpoint):
    """Write ``last.ckpt`` every so many steps, after each validation, and on a signal to stop.

    The signals are Ctrl-C, SIGTERM and SIGUSR1, by which clusters announce the end of a job. The
    step in progress ends, the checkpoint is written and `Stopped` is raised, at the same step in
    all processes. A second signal, or one outside of training steps, stops at once, and only the
    work since the last checkpoint is lost.

    Args:
        folder: Folder of the checkpoint.
        every: Optimiser steps between two checkpoints.
        validate_every: Optimiser steps between two validations. At these steps the checkpoint is
            written after the validation, because it contains the best score.
    """

    def __init__(self, folder: Path, every: int, validate_every: int) -> None:
        if every < 1:
            raise InputError(
                f"checkpoint.every is {every}, expected at least 1 step; type checkpoint.every=200"
            )
        self.path = folder / LAST
        self.every = every
        self.validate_every = validate_every
        self._asked: int | None = None
        self._training = False
        self._saved = -1  # the step of the last checkpoint

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace Lightning's signal handlers, which would stop in the middle of a step."""
        super().on_train_start(trainer, pl_module)
        self._training = True
        self._take_signals()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on a signal stops at once."""
        self._training = False

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Replace Lightning's signal handlers, which ignore SIGTERM during a test."""
        self._take_signals()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop after a validation if asked to; its scores have been logged by now."""
        if self._saved == trainer.global_step and self._agreed(trainer):
            raise Stopped(self._asked or signal.SIGTERM)

    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        """Save if a checkpoint is due, and stop if asked to."""
        if step % self.validate_every == 0:
            return
        stop = self._agreed(trainer)
        if stop or step % self.every == 0:
            self._save(trainer)
        if stop:
            raise Stopped(self._asked or signal.SIGTERM)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after the validation, with the best score."""
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()  # curves must reach as far as the checkpoint
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved = trainer.global_step

    def _agreed(self, trainer: pl.Trainer) -> bool:
        """Whether any process was asked to stop."""
        return trainer.strategy.reduce_boolean_decision(self._asked is not None, all=False)

    def _take_signals(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)  # Lightning restores the old handlers

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None or not self._training:
            raise Stopped(number)
        self._asked = number
