"""`RestorationModule`: a network, its objective and its scores as a LightningModule."""

import hashlib
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from lightning.pytorch.utilities.types import OptimizerLRScheduler, OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from amir_lightning.data.dataset import Batch
from amir_lightning.errors import InputError
from amir_lightning.losses import DISTANCES, OPTIONS, Term, restoration_terms, total
from amir_lightning.metrics import METRICS, Summary, summarise
from amir_lightning.modules.merging import merged
from amir_lightning.modules.optimizers import check_clip, chosen
from amir_lightning.networks import Report, RestorationNetwork
from amir_lightning.networks.layers.topk_gate import TopKGate
from amir_lightning.tasks import Task

_log = logging.getLogger(__name__)
_MOST_SKIPPED = 10  # consecutive steps without a finite gradient; then the weights are broken


class RestorationModule(pl.LightningModule):
    """Trains and scores any restoration network on any combination of tasks.

    All arguments except the network are plain dictionaries, lists, numbers and strings, so that
    every checkpoint loads with ``weights_only=True``.

    The random position and routing noise of a patch depend only on the seed and on the patch's
    number in the run. A step is therefore the same for any number of processes.

    Attributes:
        loss_options: Names of the options that `loss` must have; a subclass may need more.
        loss_file: File in ``conf/loss`` that gives each of them a value.

    Args:
        network: Maps (B, 1, H, W) to (B, 1, H, W), both normalised to [0, 1].
        network_config: Configuration of the network; saved in checkpoints to recognise it.
        tasks: Configuration of each task by name; `Batch.task` counts them in this order.
        loss: Options of `restoration_terms`, and those that a subclass needs.
        optimizer: Options of `optimizers.chosen`, and ``adjustable_clip``.
        metrics: Definition of the scores: "paper" or "standard".
        seed: Seed of the randomness inside the network, such as the routing noise.
        on_nan: Reaction to a gradient that is not finite: "stop" the run, or "skip" the step.
    """

    loss_options: ClassVar[tuple[str, ...]] = OPTIONS
    loss_file: ClassVar[str] = "l1_balance"

    def __init__(
        self,
        network: RestorationNetwork,
        network_config: Mapping[str, Any],
        tasks: Mapping[str, Mapping[str, Any]],
        loss: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        metrics: str = "paper",
        seed: int = 0,
        on_nan: str = "stop",
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["network"], logger=False)
        self.network = network
        self.tasks = [Task.from_config(name, config) for name, config in tasks.items()]
        gates = [one for one in network.modules() if isinstance(one, TopKGate)]
        options = [*self.loss_options, *["global_balance"] * bool(gates)]
        missing = ", ".join(name for name in options if name not in loss)
        if missing:
            raise InputError(
                f"the loss has no {missing}; write 'defaults: [{self.loss_file}, _self_]' as first "
                "line of its file, which gives every option a value"
            )
        if loss["distance"] not in DISTANCES:
            raise InputError(
                f"loss.distance is '{loss['distance']}'; choose from {', '.join(DISTANCES)}"
            )
        check_clip(optimizer["adjustable_clip"])
        self.loss_config = loss
        self.optimizer_config = optimizer
        self.score = METRICS[metrics]
        if on_nan not in ("stop", "skip"):
            raise InputError(f"on_nan is '{on_nan}'; choose from stop, skip")
        self.seed = seed
        self.on_nan = on_nan
        self.skipped = 0  # steps in a row
        self._batches: list[Batch] = []  # of the step in progress
        self.rows: list[dict[str, Any]] = []
        self.summary: Summary | None = None
        for gate in gates:
            gate.over_processes = loss["global_balance"]
        self.add_partners(int(network_config.get("in_channels", 1)))

    def add_partners(self, in_channels: int) -> None:
        """Build modules that train together with the network; by default there are none."""

    @property
    def trained(self) -> nn.Module:
        """Module whose parameters the optimiser trains."""
        return self.network

    def forward(self, lq: Tensor) -> Tensor:
        """Restore normalised images, (B, 1, H, W)."""
        return self.network(lq)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the routing noise of each patch by its number, other noise by the first number."""
        seeds = [_seed(self.seed, counter) for counter in batch.counters]
        torch.manual_seed(seeds[0])
        noise = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]
        self.network.draw_noise(batch.lq, noise)
        self._batches.append(batch)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Compute the loss of a batch of mixed tasks."""
        return self.log_terms(self.objective(batch), batch) + self.touch(self.trained)

    def objective(self, batch: Batch) -> dict[str, Term]:
        """Compute the terms of a batch, Eq. (5)."""
        return self.image_terms(self.network.report(batch.lq), batch)

    def image_terms(self, report: Report, batch: Batch) -> dict[str, Term]:
        """Compute the terms of restored images and routing, and log the error of each task."""
        error = (report.image.detach() - batch.hq).abs().mean(dim=(1, 2, 3))
        for index, task in enumerate(self.tasks):
            chosen = batch.task == index
            if chosen.any():
                value = error[chosen].mean()
                self.log(f"train/{task.name}/l1", value, batch_size=len(batch.lq))
        return self.pair_terms(report, batch.hq)

    def pair_terms(self, report: Report, hq: Tensor) -> dict[str, Term]:
        """Compute the same terms without logging, for observers of the training."""
        options = {name: self.loss_config[name] for name in OPTIONS}
        return restoration_terms(report.image, hq, report.estimates, report.balance, **options)

    def log_terms(self, terms: Mapping[str, Term], batch: Batch) -> Tensor:
        """Log each term without its weight as ``train/{term}``, and return their weighted sum.

        The learning rate of the step is logged as ``train/learning_rate``. LearningRateMonitor
        would write it into a row of metrics.csv other than that of the losses.
        """
        loss = total(terms)
        for name, value in {"loss": loss, **{key: one.value for key, one in terms.items()}}.items():
            self.log(f"train/{name}", value.detach(), prog_bar=True, batch_size=len(batch.lq))
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        # A NaN in the distance has gradient zero: spread it to all gradients, where `guard` looks.
        return loss * (1 + 0 * loss.detach())

    def touch(self, network: nn.Module) -> Tensor:
        """Return a zero that depends on every parameter, so that DDP finds none unused.

        DDP waits for the gradient of every parameter; its own search for unused ones costs time.
        """
        if not isinstance(self.trainer.strategy, DDPStrategy):
            return torch.zeros((), device=self.device)
        return 0.0 * torch.stack([one.sum() for one in network.parameters()]).sum()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimiser, whose rate follows a cosine from first to final rate (Sec. 3.2)."""
        return self.recipe(self.trained)

    def recipe(self, network: nn.Module) -> OptimizerLRSchedulerConfig:
        """Build the shared optimiser and schedule for the parameters of a network."""
        # Lightning cannot clip float16 gradients that a fused optimiser unscales itself.
        fused = self.trainer.precision != "16-mixed"
        optimizer = chosen(network.parameters(), self.optimizer_config, fused)
        last = self.optimizer_config["final_learning_rate"]
        schedule = CosineAnnealingLR(optimizer, T_max=self.trainer.max_steps, eta_min=last)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "learning_rate"},
        }

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Refuse a step whose gradients are not finite."""
        self.guard(self.trained)
        self._batches = []

    def guard(self, network: nn.Module) -> None:
        """Drop the gradients of a network or end the run if a gradient is not finite.

        All processes have the same gradients here and decide alike.

        Raises:
            InputError: `on_nan` is "stop", or too many consecutive steps had to be skipped.
        """
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            return  # float16 overflows now and then; the gradient scaler skips those steps
        gradients = [one.grad for one in network.parameters() if one.grad is not None]
        finite = bool(nn.utils.get_total_norm(gradients).isfinite()) if gradients else True
        if isinstance(self.trainer.strategy, FSDPStrategy):  # each process has a part of them
            finite = self.trainer.strategy.reduce_boolean_decision(finite)
        if finite:
            if any(part is self.network for part in network.modules()):
                self.skipped = 0
            return
        self.skipped += 1
        where = (
            f"a gradient of step {self.trainer.global_step + 1} is not finite ({self._suspects()})"
        )
        if self.on_nan == "stop" or self.skipped > _MOST_SKIPPED:
            raise InputError(
                f"{where}; look at that data, lower optimizer.learning_rate, or leave such steps "
                "out with on_nan=skip (more than a few in a row end the run in any case)"
            )
        _log.warning("%s; the step is skipped", where)
        for parameter in network.parameters():
            parameter.grad = None

    def _suspects(self) -> str:
        """Name the slices of this step that are not finite, or else all of its slices."""
        named, bad = [], []
        for batch in self._batches:
            finite = torch.stack([batch.lq, batch.hq]).isfinite().all(dim=0).flatten(1).all(dim=1)
            for i, whole in enumerate(finite.tolist()):
                task = self.tasks[int(batch.task[i])].name
                name = f"{task} patient {batch.patient[i]} slice {batch.slice_index[i]}"
                named.append(name)
                bad += [] if whole else [name]
        if bad:
            return "NaN in the data of " + ", ".join(bad)
        several = self.trainer.world_size > 1
        return f"in process {self.global_rank} one of " * several + ", ".join(named)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip as the trainer says, or adjustably to theta / learning rate as VDSR does.

        The bound grows as the rate falls, so that the largest step stays theta (J. Kim et al., CVPR
        2016, Sec. 3.2).
        """
        theta = self.optimizer_config["adjustable_clip"]
        if theta is None:
            super().configure_gradient_clipping(
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )
            return
        rate = optimizer.param_groups[0]["lr"]
        nn.utils.clip_grad_value_(self.trained.parameters(), theta / max(rate, 1e-12))

    def validation_step(
        self, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> dict[str, Any]:
        """Score slices of one task; returns the images that callbacks show."""
        return self._evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Score slices of one task and their LQ input."""
        return self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/{task}/{metric}`` and the means over tasks, ``val/avg/{metric}``."""
        self._summarise("val")

    def on_test_epoch_end(self) -> None:
        """Log ``test/{task}/{metric}`` and keep the rows for the tables."""
        self._summarise("test")

    def _evaluate(self, batch: Batch) -> dict[str, Any]:
        task = self.tasks[int(batch.task[0])]
        report = self.network.report(batch.lq)
        lq, hq, restored = map(task.denormalise, (batch.lq, batch.hq, report.image.float()))
        columns = {name: values.tolist() for name, values in self.score(restored, hq, task).items()}
        for name, values in self.score(lq, hq, task).items():
            columns[f"input_{name}"] = values.tolist()
        for i, (patient, index) in enumerate(zip(batch.patient, batch.slice_index, strict=True)):
            row = {"task": task.name, "patient": patient, "slice": index}
            self.rows.append(row | {name: values[i] for name, values in columns.items()})
        return {"task": task, "lq": lq, "restored": restored, "hq": hq, "report": report}

    def on_validation_epoch_start(self) -> None:
        """Drop the rows of the last evaluation."""
        self.rows = []

    on_test_epoch_start = on_validation_epoch_start

    def _summarise(self, stage: str) -> None:
        own = {(row["task"], row["patient"], row["slice"]): row for row in self.rows}
        self.rows = list(merged(own, self.trainer.world_size).values())
        order = {task.name: index for index, task in enumerate(self.tasks)}
        self.rows.sort(key=lambda row: (order[row["task"]], row["patient"], row["slice"]))
        self.summary = summarise(self.rows)
        for key, value in self.summary.flat(stage).items():
            if stage == "test" or "/input_" not in key:  # the input's scores never change
                self.log(key, value, prog_bar=stage == "val" and key.endswith("/psnr"))


def _seed(seed: int, counter: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{counter}".encode()).digest()[:8]) % 2**63
