"""Progress of a training: a bar on a terminal, one line per validation in a log file."""

import sys
import time

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar


class Progress(TQDMProgressBar):
    """Show the loss, its terms and the PSNR of each task in the last validation.

    On a terminal this is a bar over the optimiser steps of the whole run. Elsewhere one line is
    printed after each validation, so that log files stay readable.
    """

    def __init__(self) -> None:
        super().__init__(refresh_rate=5)
        self._live = sys.stdout.isatty()
        self._start = 0.0
        if not self._live:
            self.disable()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        super().on_train_start(trainer, pl_module)
        self._start = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line of a log file."""
        super().on_validation_end(trainer, pl_module)
        if self._live or not trainer.is_global_zero or trainer.sanity_checking:
            return
        values = trainer.progress_bar_metrics
        shown = "  ".join(
            f"{key.removeprefix('train/')} {float(value):{'.2f' if 'psnr' in key else '.4g'}}"
            for key, value in values.items()
        )
        seconds = time.monotonic() - self._start
        print(
            f"step {trainer.global_step}/{trainer.max_steps}  {shown}  {seconds:.0f} s", flush=True
        )
