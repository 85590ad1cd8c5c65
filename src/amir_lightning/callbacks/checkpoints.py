"""The best checkpoint, the one that a run goes on from, and stopping without losing a step."""

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
    """A signal stopped the run; it can go on.

    Attributes:
        signum: The signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.status = 128 + signum  # as a shell says it


class KeepBest(ModelCheckpoint):
    """Writes ``best.ckpt`` after each validation that beats all before.

    Args:
        folder: Where the checkpoint goes.
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
        """Keep the score to beat, also where the run folder was moved."""
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
    """Writes ``last.ckpt`` every so many steps, after each validation, and when asked to stop.

    Ctrl-C, SIGTERM (a cluster's last word) and SIGUSR1 (its warning) let the step in progress end,
    write the checkpoint and raise `Stopped`, in all processes at the same step. A second one, or
    one while no step is trained, stops at once; nothing but the work since the last checkpoint is
    lost.

    Args:
        folder: Where the checkpoint goes.
        every: Optimiser steps between two checkpoints.
        validate_every: Optimiser steps between two validations; at these steps the checkpoint
            waits for the validation, whose outcome is part of it.
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
        """Take the signals over from Lightning, which would act in the middle of a step."""
        super().on_train_start(trainer, pl_module)
        self._training = True
        self._take_signals()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on there is no step to wait for."""
        self._training = False

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning would ignore SIGTERM during a test."""
        self._take_signals()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop after a validation, whose scores have been logged by now."""
        if self._saved == trainer.global_step and self._agreed(trainer):
            raise Stopped(self._asked or signal.SIGTERM)

    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        """Save if it is time or the run has to stop."""
        if step % self.validate_every == 0:
            return
        stop = self._agreed(trainer)
        if stop or step % self.every == 0:
            self._save(trainer)
        if stop:
            raise Stopped(self._asked or signal.SIGTERM)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, with the score of the best checkpoint."""
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        for logger in trainer.loggers:
            logger.save()  # no curve ends before its checkpoint
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved = trainer.global_step

    def _agreed(self, trainer: pl.Trainer) -> bool:
        """Whether any process was asked to stop."""
        return trainer.strategy.reduce_boolean_decision(self._asked is not None, all=False)

    def _take_signals(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)  # Lightning puts the old ones back

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._asked is not None or not self._training:
            raise Stopped(number)
        self._asked = number
