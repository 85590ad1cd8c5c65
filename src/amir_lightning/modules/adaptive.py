"""Training with weights of images that are learned beside the network: TAT."""

from torch import nn

from amir_lightning.data.dataset import Batch
from amir_lightning.losses import ErrorBalance, Term
from amir_lightning.modules.restoration_module import RestorationModule


class AdaptiveModule(RestorationModule):
    """Takes the learned balance between images in place of the plain distance of the image.

    One optimiser trains the network and the estimator, which is part of checkpoints and not of
    exported weights. ``image_weight`` is the factor of the balanced distance; that one is L1.
    """

    def add_partners(self, in_channels: int) -> None:
        """Build the estimator."""
        self.balance = ErrorBalance()

    @property
    def trained(self) -> nn.Module:
        """Network and estimator, which one optimiser trains."""
        return nn.ModuleList([self.network, self.balance])

    def objective(self, batch: Batch) -> dict[str, Term]:
        """The terms of a batch; the plain distance is shown and has no weight."""
        report = self.network.report(batch.lq)
        terms = self.image_terms(report, batch)
        plain = self.loss_config["distance"]
        terms[plain] = Term(0.0, terms[plain].value.detach())
        balanced = self.balance(report.image, batch.lq, batch.hq)
        return {"balanced": Term(self.loss_config["image_weight"], balanced), **terms}
