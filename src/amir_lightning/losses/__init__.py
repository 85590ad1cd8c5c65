"""Terms of training objectives, as functions of tensors."""

from amir_lightning.losses.adaptive import ErrorBalance
from amir_lightning.losses.adversarial import critic_loss, generator_loss, spectral_loss
from amir_lightning.losses.contrastive import MomentumContrast
from amir_lightning.losses.objective import DISTANCES, OPTIONS, Term, restoration_terms, total

__all__ = [
    "DISTANCES",
    "OPTIONS",
    "ErrorBalance",
    "MomentumContrast",
    "Term",
    "critic_loss",
    "generator_loss",
    "restoration_terms",
    "spectral_loss",
    "total",
]
