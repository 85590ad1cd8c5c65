"""A training that ends before one of its steps, as if the power had failed."""

import contextlib
from collections.abc import Iterator
from unittest import mock

import pytest

from amir_lightning.data.dataset import Batch
from amir_lightning.modules import RestorationModule


class PowerCut(RuntimeError):
    """No mistake of the user's, so that the command lets it through."""


@contextlib.contextmanager
def power_cut(step: int) -> Iterator[None]:
    """The training that is started inside has to end before that optimiser step."""
    start = RestorationModule.on_train_batch_start

    def cut(self: RestorationModule, batch: Batch, batch_idx: int) -> None:
        if self.global_step == step:
            raise PowerCut
        start(self, batch, batch_idx)

    with (
        mock.patch.object(RestorationModule, "on_train_batch_start", cut),
        pytest.raises(PowerCut),
    ):
        yield
