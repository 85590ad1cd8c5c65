"""Use of the experts by each task: shares per spatial routing module (Fig. 4 (b)), and maps."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor

from amir_lightning import pictures
from amir_lightning.callbacks.images import chosen_batches, show
from amir_lightning.data.dataset import Batch
from amir_lightning.modules.merging import merged


class _Routed(NamedTuple):
    """Gates of one slice, summed over its tokens."""

    masses: list[Tensor]  # one (M,) per routing module
    balance: float


class RoutingMonitor(pl.Callback):
    """Log the expert shares and the balance loss of each task over the validation slices.

    ``router/srm{l}/{task}/expert{e}`` is the share of expert e in the sum of all gates of module l
    over the task's tokens. ``router/balance/{task}`` is the mean balance loss of the task's slices.
    ``routing/{task}`` is a picture of the expert with the largest gate at each pixel of a slice.
    """

    def __init__(self) -> None:
        self._routed: dict[tuple[str, str, int], _Routed] = {}  # key: task, patient, slice
        self._maps: dict[str, pictures.Pixels] = {}

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the shares of the last validation."""
        self._routed.clear()
        self._maps.clear()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: torch.Tensor | Mapping[str, Any] | None,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Sum the gates of a slice; an evaluation batch is one slice."""
        if not isinstance(outputs, Mapping) or not outputs["report"].gates:
            return
        task = outputs["task"].name
        gates, balance = outputs["report"].gates, outputs["report"].balance
        masses = [level.flatten(0, -2).double().sum(dim=0).cpu() for level in gates]
        key = (task, batch.patient[0], batch.slice_index[0])
        self._routed[key] = _Routed(masses, float(balance))
        if trainer.is_global_zero and batch_idx in chosen_batches(trainer, dataloader_idx, 1):
            self._maps[task] = _maps(outputs)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the shares over the slices of all processes."""
        routed = merged(self._routed, trainer.world_size)
        keys = sorted(routed)  # the same order of summation for any number of processes
        for task in dict.fromkeys(key[0] for key in keys):
            slices = [routed[key] for key in keys if key[0] == task]
            for level, masses in enumerate(zip(*(one.masses for one in slices), strict=True), 1):
                mass = torch.stack(masses).sum(dim=0)
                for expert, share in enumerate(mass / mass.sum().clamp_min(1e-12)):
                    pl_module.log(f"router/srm{level}/{task}/expert{expert}", share.float())
            balance = sum(one.balance for one in slices) / len(slices)
            pl_module.log(f"router/balance/{task}", balance)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write and log one picture per task."""
        for task, picture in self._maps.items():
            show(trainer, f"routing/{task}", picture)


def _maps(outputs: Mapping[str, Any]) -> pictures.Pixels:
    """Draw a restored slice beside the top expert of each routing module at each pixel."""
    image = outputs["restored"][0, 0].cpu().numpy()
    height, width = image.shape
    gates = [level[0].float().cpu().numpy() for level in outputs["report"].gates]
    maps = [
        pictures.expert_map(level, height, width, len(gates[0]) // len(level)) for level in gates
    ]
    return pictures.row(
        [
            pictures.grey(image, outputs["task"].display_window),
            *maps,
            pictures.expert_legend(gates[0].shape[-1]),
        ],
        ["restored", *(f"SRM {level}, top expert" for level in range(1, len(maps) + 1)), "expert"],
    )
