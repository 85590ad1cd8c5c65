"""Which experts each task uses: shares per spatial routing module, as in Fig. 4 (b), and maps."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from amir_lightning import pictures
from amir_lightning.callbacks.show import chosen_batches, show
from amir_lightning.data.dataset import Batch


class RoutingMonitor(pl.Callback):
    """Logs the expert shares and the balance loss of each task over the validation slices.

    ``router/srm{l}/{task}/expert{e}`` is the gate mass of expert e in module l over all tokens of
    the task, as a share of 1; ``router/balance/{task}`` is the mean balance loss of its slices.
    ``routing/{task}`` is a picture: which expert has the largest gate at each pixel of a slice.
    """

    def __init__(self) -> None:
        self._mass: dict[tuple[str, int], Tensor] = {}
        self._balance: dict[str, list[Tensor]] = defaultdict(list)
        self._maps: dict[str, pictures.Pixels] = {}

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the shares of the last validation."""
        self._mass.clear()
        self._balance.clear()
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
        """Add up the gates of a batch."""
        if not isinstance(outputs, Mapping) or not outputs["report"].gates:
            return
        task = outputs["task"].name
        for level, gates in enumerate(outputs["report"].gates, start=1):
            mass = gates.reshape(-1, gates.shape[-1]).double().sum(dim=0)
            key = (task, level)
            self._mass[key] = self._mass[key] + mass if key in self._mass else mass
        self._balance[task].append(outputs["report"].balance)
        if trainer.is_global_zero and batch_idx in chosen_batches(trainer, dataloader_idx, 1):
            self._maps[task] = _maps(outputs)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the shares; with several processes, those of the first one's slices."""
        if not trainer.is_global_zero:
            return
        for (task, level), mass in self._mass.items():
            for expert, share in enumerate(mass / mass.sum().clamp_min(1e-12)):
                key = f"router/srm{level}/{task}/expert{expert}"
                pl_module.log(key, share.float(), rank_zero_only=True)
        for task, balances in self._balance.items():
            mean = torch.stack(balances).mean()
            pl_module.log(f"router/balance/{task}", mean, rank_zero_only=True)

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
