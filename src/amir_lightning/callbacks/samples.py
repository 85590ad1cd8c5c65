"""Pictures of fixed validation slices: LQ | restored | HQ | error."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch

from amir_lightning import pictures
from amir_lightning.callbacks.images import chosen_batches, show
from amir_lightning.data.dataset import Batch
from amir_lightning.modules import RestorationModule


class SampleGrids(pl.Callback):
    """Write and log the same slices after every validation, in each task's display window.

    Args:
        per_task: Number of slices per task, evenly spread over the validation slices.
    """

    def __init__(self, per_task: int = 2) -> None:
        self.per_task = per_task
        self._rows: dict[str, list[pictures.Pixels]] = defaultdict(list)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the pictures of the last validation."""
        self._rows.clear()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: torch.Tensor | Mapping[str, Any] | None,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the slice if it is a chosen one."""
        if not trainer.is_global_zero or not isinstance(outputs, Mapping):
            return
        if batch_idx not in chosen_batches(trainer, dataloader_idx, self.per_task):
            return
        if not isinstance(pl_module, RestorationModule):
            return
        lq, restored, hq = (outputs[key][0, 0].cpu().numpy() for key in ("lq", "restored", "hq"))
        row = pl_module.rows[-len(batch.patient)]
        captions = (f"{row['input_psnr']:.2f} dB", f"{row['psnr']:.2f} dB")
        task = outputs["task"]
        self._rows[task.name].append(pictures.comparison(lq, restored, hq, task, captions))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write and log one picture per task."""
        for task, rows in self._rows.items():
            show(trainer, f"samples/{task}", pictures.column(rows))
