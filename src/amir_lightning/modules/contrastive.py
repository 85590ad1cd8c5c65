"""Training with momentum contrast: AirNet, and AMIR without its dictionary (Table 4)."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from amir_lightning.data.dataset import Batch
from amir_lightning.errors import InputError
from amir_lightning.losses import OPTIONS, MomentumContrast, Term
from amir_lightning.modules.restoration_module import RestorationModule


class ContrastiveModule(RestorationModule):
    """Adds a contrastive term to Eq. (5): two crops of one slice have the same degradation.

    The query is the encoding of the crop that is restored, the key that of a second crop of the
    same slice. The keys of all processes enter one queue. During the first ``warmup_fraction`` of
    the steps, only the encoder is trained; the learning rate follows one cosine over both stages.
    """

    loss_options = (
        *OPTIONS,
        "contrast_weight",
        "temperature",
        "momentum",
        "queue_size",
        "warmup_fraction",
    )
    loss_file = "contrastive"

    def add_partners(self, in_channels: int) -> None:
        """Build key encoder and queue.

        Raises:
            InputError: The network has no query encoder, or a number is out of range.
        """
        loss = self.loss_config
        if self.network.query_encoder is None:
            name = type(self.network).__name__
            raise InputError(
                f"loss.objective=contrastive compares vectors, which {name} does not make; "
                "type loss=l1_balance, or network=airnet or amir_contrastive"
            )
        for name, fits, expected in (
            ("momentum", 0 <= loss["momentum"] <= 1, "from 0 to 1; type loss.momentum=0.999"),
            (
                "warmup_fraction",
                0 <= loss["warmup_fraction"] <= 1,
                "from 0 to 1; type loss.warmup_fraction=0.1",
            ),
            ("temperature", loss["temperature"] > 0, "above 0; type loss.temperature=0.07"),
            ("queue_size", loss["queue_size"] >= 1, "at least 1; type loss.queue_size=2048"),
        ):
            if not fits:
                raise InputError(f"loss.{name} is {loss[name]}, expected a number {expected}")
        self.contrast = MomentumContrast(
            self.encoder,
            in_channels,
            loss["queue_size"],
            loss["momentum"],
            loss["temperature"],
        )

    @property
    def encoder(self) -> nn.Module:
        """Query encoder of the network."""
        encoder = self.network.query_encoder
        assert encoder is not None
        return encoder

    @property
    def warming_up(self) -> bool:
        """True while only the encoder is trained."""
        steps = round(self.loss_config["warmup_fraction"] * self.trainer.max_steps)
        return self.trainer.global_step < steps

    def objective(self, batch: Batch) -> dict[str, Term]:
        """Compute the contrastive term of a batch and, after the warm-up, the terms of Eq. (5)."""
        if batch.positive is None:
            raise ValueError("a contrastive step needs a second crop of each slice")
        self.contrast.follow(self.encoder)
        keys = self.contrast.keys(batch.positive)
        terms: dict[str, Term] = {}
        if self.warming_up:
            query = self.encoder(batch.lq).query
        else:
            report = self.network.report(batch.lq)
            terms, query = self.image_terms(report, batch), report.query
        terms["contrast"] = Term(self.loss_config["contrast_weight"], self.contrast(query, keys))
        self.contrast.enqueue(self._of_all_processes(keys))
        return terms

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Leave parameters that the warm-up does not train out of the step."""
        super().on_before_optimizer_step(optimizer)
        if self.warming_up:
            for parameter in self._idle():
                parameter.grad = None

    def _idle(self) -> list[Tensor]:
        trained = {id(one) for one in self.encoder.parameters()}
        return [one for one in self.network.parameters() if id(one) not in trained]

    def _of_all_processes(self, keys: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return keys
        gathered = [torch.empty_like(keys) for _ in range(self.trainer.world_size)]
        torch.distributed.all_gather(gathered, keys)
        return torch.cat(gathered)
