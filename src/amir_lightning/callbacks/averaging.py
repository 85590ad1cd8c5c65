"""An exponential moving average of the network's weights, the one that is scored and kept."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from amir_lightning.callbacks.each_step import EachStep
from amir_lightning.errors import InputError
from amir_lightning.modules import RestorationModule

_TRAINED = "trained_network"  # key of a checkpoint


class WeightAverage(EachStep):
    """Averages the network after each optimiser step; validation and checkpoints see the average.

    A checkpoint has the average where others have the weights, so that whatever reads one takes it,
    and the trained weights beside it, with which a run goes on. All processes average alike. What
    is learned beside the network, such as a critic, is not averaged.

    Lightning's own callback copies the whole module, averages what belongs to the training alone,
    and has no warm-up, without which short runs would keep their first weights.

    Args:
        decay: Share of the old average in each step.
        warmup: That share is at most ``1 - (1 + step) ** -warmup``; 0 for no such bound.

    Raises:
        InputError: An argument is out of range.
    """

    def __init__(self, decay: float, warmup: float) -> None:
        if not 0 <= decay < 1:
            raise InputError(
                f"optimizer.average_decay is {decay}, expected a number from 0 to below 1, or null "
                "for no average; type optimizer.average_decay=0.999"
            )
        if warmup < 0:
            raise InputError(
                f"optimizer.average_warmup is {warmup}, expected a number from 0 on; type "
                "optimizer.average_warmup=0.667"
            )
        self.decay, self.warmup = decay, warmup
        self._average: dict[str, Tensor] = {}

    def share(self, step: int) -> float:
        """Share of the old average in the average after so many steps."""
        return min(self.decay, 1 - (1 + step) ** -self.warmup) if self.warmup else self.decay

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start from the weights as they are, unless a checkpoint was loaded."""
        self._average = {
            name: self._average.get(name, value).detach().to(value, copy=True)
            for name, value in _own(pl_module).items()
        }

    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        """Take the new weights in; whole numbers, such as counts of batches, are taken over."""
        own = _own(pl_module)
        real = [name for name, value in own.items() if value.is_floating_point()]
        with torch.no_grad():
            torch._foreach_lerp_(
                [self._average[name] for name in real],
                [own[name] for name in real],
                1 - self.share(step),
            )
            for name in own.keys() - real:
                self._average[name].copy_(own[name])

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Score the average."""
        self._exchange(pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the weights that are trained."""
        self._exchange(pl_module)

    def _exchange(self, module: pl.LightningModule) -> None:
        with torch.no_grad():
            for name, value in _own(module).items():  # in place: recorded passes know the place
                trained = value.clone()
                value.copy_(self._average[name])
                self._average[name].copy_(trained)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the average where the weights are, and those beside it."""
        state = dict(checkpoint["state_dict"])
        checkpoint[_TRAINED] = {name: state[f"network.{name}"] for name in self._average}
        state.update({f"network.{name}": value for name, value in self._average.items()})
        checkpoint["state_dict"] = state

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take both back."""
        own = _own(pl_module)
        with torch.no_grad():
            self._average = {
                name: checkpoint["state_dict"][f"network.{name}"].to(value, copy=True)
                for name, value in own.items()
            }
            for name, value in own.items():
                value.copy_(checkpoint[_TRAINED][name])


def _own(module: pl.LightningModule) -> dict[str, Tensor]:
    """Parameters and buffers of the network, which are changed in place."""
    assert isinstance(module, RestorationModule)
    return module.network.state_dict()
