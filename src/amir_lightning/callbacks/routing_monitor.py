"""Which experts each task uses: shares per spatial routing module, as in Fig. 4 (b), and maps."""

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
    """Use of the experts by one slice."""

    masses: list[Tensor]  # of each routing module, (M,)
    balance: float


class RoutingMonitor(pl.Callback):
    """Logs the expert shares and the balance loss of each task over the validation slices.

    ``router/srm{l}/{task}/expert{e}`` is the gate mass of expert e in module l over all tokens of
    the task, as a share of 1; ``router/balance/{task}`` is the mean balance loss of its slices.
    ``routing/{task}`` is a picture: which expert has the largest gate at each pixel of a slice.
    """

    def __init__(self) -> None:
        self._routed: dict[tuple[str, str, int], _Routed] = {}  # by task, patient and slice
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
        """Add up the gates of a slice; the batch of an evaluation is one slice."""
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
        keys = sorted(routed)  # the order of the sums is that of one process
        for task in dict.fromkeys(key[0] for key in keys):
            slices = [routed[key] for key in keys if key[0] == task]
            for level, masses in enumerate(zip(*(one.masses for one in slices), strict=True), 1):
                mass = torch.stack(masses).sum(dim=0)
                for expert, share in enumerate(mass / mass.sum().clamp_min(1e-12)):
                    pl_module.log(f"router/srm{level}/{task}/expert{expert}", share.float())
            balance = sum(one.balance for one in slices) / len(slices)
            pl_module.log(f"router/balance/{task}", balance)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write one picture per task and hand it to the loggers."""
        for task, picture in self._maps.items():
            show(trainer, f"routing/{task}", picture)


def _maps(outputs: Mapping[str, Any]) -> pictures.Pixels:
    """The first slice of a batch, restored, and the experts of each routing module on it."""
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
