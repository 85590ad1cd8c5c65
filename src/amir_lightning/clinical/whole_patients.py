"""Hand the restored slices of a test to the clinical measures, and restore further slices."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from amir_lightning.clinical.rescans import Restore
from amir_lightning.clinical.scoring import Scoring
from amir_lightning.data.dataset import Batch
from amir_lightning.metrics.clinical import Image
from amir_lightning.networks import RestorationNetwork
from amir_lightning.tasks import Task


class WholePatients(pl.Callback):
    """Pass every tested slice on, in the order of the patients.

    Args:
        scoring: Takes the slices.
    """

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Pass the slices of a batch on."""
        assert isinstance(outputs, Mapping)  # of `RestorationModule.test_step`
        sides = [outputs[key][:, 0].float().cpu().numpy() for key in ("lq", "hq", "restored")]
        for at, (patient, index) in enumerate(zip(batch.patient, batch.slice_index, strict=True)):
            lq, hq, restored = (side[at] for side in sides)
            self.scoring.add(outputs["task"].name, patient, index, lq, hq, restored)


def restorer(network: RestorationNetwork, device: torch.device) -> Restore:
    """Return what restores slices of any task, one after the other.

    Args:
        network: Trained network in evaluation mode.
        device: Where it computes.
    """

    def restore(task: Task, lq: Image) -> Image:
        network.to(device)
        restored = []
        with torch.inference_mode():
            for one in lq:
                image = torch.from_numpy(task.normalise(one.astype(np.float32)))[None, None]
                found = network.report(image.to(device)).image
                restored.append(task.denormalise(found.float().cpu().numpy()[0, 0]))
        return np.stack(restored)

    return restore
