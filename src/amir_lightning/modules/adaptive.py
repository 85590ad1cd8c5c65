"""Training of TAT, whose loss weighs each image by a learned weight."""

from torch import nn

from amir_lightning.data.dataset import Batch
from amir_lightning.losses import ErrorBalance, Term
from amir_lightning.modules.restoration_module import RestorationModule


class AdaptiveModule(RestorationModule):
    """Replaces the distance of the restored images by one with learned weights per image.

    One optimiser trains the network and the estimator of these weights. The estimator is saved in
    checkpoints, but not in exported weights. ``image_weight`` is the factor of the weighted
    distance, which is always L1.
    """

    def add_partners(self, in_channels: int) -> None:
        """Build the estimator of the weights."""
        self.balance = ErrorBalance()

    @property
    def trained(self) -> nn.Module:
        """Network and estimator, which one optimiser trains."""
        return nn.ModuleList([self.network, self.balance])

    def objective(self, batch: Batch) -> dict[str, Term]:
        """Compute the terms of a batch; the plain distance is logged with weight 0."""
        report = self.network.report(batch.lq)
        terms = self.image_terms(report, batch)
        plain = self.loss_config["distance"]
        terms[plain] = Term(0.0, terms[plain].value.detach())
        balanced = self.balance(report.image, batch.lq, batch.hq)
        return {"balanced": Term(self.loss_config["image_weight"], balanced), **terms}
