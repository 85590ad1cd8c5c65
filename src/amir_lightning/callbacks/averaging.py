"""Exponential moving average of the network's weights, which is scored and saved."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from amir_lightning.callbacks.each_step import EachStep
from amir_lightning.errors import InputError
from amir_lightning.modules import RestorationModule

_TRAINED = "trained_network"  # key of a checkpoint


class WeightAverage(EachStep):
    """Average the network after each optimiser step; validation and checkpoints use the average.

    A checkpoint holds the average in place of the weights, so that every reader takes the average.
    The trained weights are stored under another key, to resume from them. All processes compute the
    same average. Networks that only the training needs, such as a critic, are not averaged.

    Lightning's own callback copies the whole module and so averages those networks, too. It has no
    warm-up, so the average of a short run would mostly consist of its initial weights.

    Args:
        decay: Weight of the old average in each step.
        warmup: Exponent of the warm-up; 0 turns it off. The weight of the old average is at most
            ``1 - (1 + step) ** -warmup``.

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
        """Return the weight of the old average at a step."""
        return min(self.decay, 1 - (1 + step) ** -self.warmup) if self.warmup else self.decay

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start from the current weights, unless a checkpoint was loaded."""
        self._average = {
            name: self._average.get(name, value).detach().to(value, copy=True)
            for name, value in _own(pl_module).items()
        }

    def after_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, step: int) -> None:
        """Add the new weights to the average; copy integers, such as counts of batches."""
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
        """Put the average into the network, to score it."""
        self._exchange(pl_module)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the trained weights back."""
        self._exchange(pl_module)

    def _exchange(self, module: pl.LightningModule) -> None:
        with torch.no_grad():
            for name, value in _own(
                module
            ).items():  # in place, because CUDA graphs keep the address
                trained = value.clone()
                value.copy_(self._average[name])
                self._average[name].copy_(trained)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the average in place of the weights, and the weights under another key."""
        state = dict(checkpoint["state_dict"])
        checkpoint[_TRAINED] = {name: state[f"network.{name}"] for name in self._average}
        state.update({f"network.{name}": value for name, value in self._average.items()})
        checkpoint["state_dict"] = state

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Load the average and the trained weights."""
        own = _own(pl_module)
        with torch.no_grad():
            self._average = {
                name: checkpoint["state_dict"][f"network.{name}"].to(value, copy=True)
                for name, value in own.items()
            }
            for name, value in own.items():
                value.copy_(checkpoint[_TRAINED][name])


def _own(module: pl.LightningModule) -> dict[str, Tensor]:
    """Parameters and buffers of the network, not copied."""
    assert isinstance(module, RestorationModule)
    return module.network.state_dict()
