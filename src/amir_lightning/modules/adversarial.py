"""Training against a critic: AR-GAN."""

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.func import functional_call

from amir_lightning.data.dataset import Batch
from amir_lightning.errors import InputError
from amir_lightning.losses import OPTIONS, Term, critic_loss, generator_loss, spectral_loss
from amir_lightning.modules.restoration_module import RestorationModule
from amir_lightning.networks.argan import Discriminator


class AdversarialModule(RestorationModule):
    """Adds the verdict of a critic and a term of the power spectra to the loss.

    The critic learns to tell restored from HQ images. Each step trains it first, then the network
    against the updated critic. Each has an optimiser, both with the shared recipe. The critic is
    saved in checkpoints, but not in exported weights.
    """

    loss_options = (*OPTIONS, "adversarial_weight", "spectral_weight", "critic_width")
    loss_file = "adversarial"

    def add_partners(self, in_channels: int) -> None:
        """Build the critic.

        Raises:
            InputError: A number is out of range.
        """
        self.automatic_optimization = False
        width = self.loss_config["critic_width"]
        if width < 1:
            raise InputError(
                f"loss.critic_width is {width}, expected at least 1; type loss.critic_width=64"
            )
        self.critic = Discriminator(in_channels, width)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build an optimiser for the network and one for the critic, with the shared recipe."""
        return self.recipe(self.network), self.recipe(self.critic)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Train the critic for one step, then the network."""
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        network, critic = optimizers
        report = self.network.report(batch.lq)
        restored = report.image

        verdicts = [self.critic(batch.lq, image) for image in (batch.hq, restored.detach())]
        verdict = critic_loss(*verdicts)
        self._descend(critic.optimizer, verdict + self.touch(self.network))

        terms = self.image_terms(report, batch)
        frozen = {name: one.detach() for name, one in self.critic.named_parameters()}
        judged = functional_call(self.critic, frozen, (batch.lq, restored))
        weights = (self.loss_config["adversarial_weight"], self.loss_config["spectral_weight"])
        terms["adversarial"] = Term(weights[0], generator_loss(judged))
        terms["spectral"] = Term(weights[1], spectral_loss(restored, batch.hq))
        self._descend(network, self.log_terms(terms, batch) + self.touch(self.critic))

        self.log("train/critic", verdict.detach(), prog_bar=True, batch_size=len(batch.lq))
        self.log("train/critic_learning_rate", critic.param_groups[0]["lr"])
        schedules = self.lr_schedulers()
        assert isinstance(schedules, list)
        for schedule in schedules:
            schedule.step()  # type: ignore[call-arg]  # a cosine needs no metric

    def _descend(self, optimizer: LightningOptimizer | torch.optim.Optimizer, loss: Tensor) -> None:
        """Take a step of one optimiser.

        The trainer counts only steps of a LightningOptimizer, which the network's optimiser is.
        """
        optimizer.zero_grad()
        self.manual_backward(loss)
        if not isinstance(optimizer, LightningOptimizer):
            self.guard(self.critic)
        optimizer.step()
