"""Base class of callbacks that act once per optimiser step."""

from typing import Any

import lightning.pytorch as pl


class EachStep(pl.Callback):
    """Calls `after_step` after each optimiser step of a training.

    Lightning's hook is called after each batch, also while gradients are accumulated.
    """

    _step = 0  # last step that was handled

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start to count, from 0 or from the step of the checkpoint."""
        self._step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Call `after_step` if this batch was the last one of a step."""
        if trainer.global_step != self._step:
            self._step = trainer.global_step
            self.after_step(trainer, pl_module, self._step)

    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        """Act after optimiser step number `step`; a subclass implements it."""
        raise NotImplementedError
