"""MRI denoising: magnitude images with Rician noise.

Source: H. Gudbjartsson and S. Patz, Magn Reson Med 34, 1995: noise of both channels is Gaussian, so
the magnitude is Rician, which lifts dark regions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from amir_lightning.degradation.kspace import receiver_noise
from amir_lightning.degradation.parameters import Parameter, possible, value_of
from amir_lightning.degradation.stack import Spacing, check_stack
from amir_lightning.errors import InputError


@dataclass(frozen=True)
class RicianNoise:
    """`Degradation` of MRI denoising.

    Attributes:
        level: Standard deviation of the noise that LQ has in addition to HQ, per channel (real and
            imaginary) [a.u.]; may be drawn for each patient.
        noise: Standard deviation of the noise of HQ per channel [a.u.]; used by `acquire` only,
            because a real scan already contains noise; may be drawn for each patient.
    """

    level: Parameter
    noise: Parameter

    def __post_init__(self) -> None:
        if min(possible(self.level)) < 0 or min(possible(self.noise)) < 0:
            raise InputError(
                f"level is {self.level} and noise is {self.noise}, expected at least 0 each; type "
                "for instance tasks.<task>.degradation.level=60"
            )

    def degrade(self, hq: Tensor, spacing_mm: Spacing, seed: int) -> Tensor:
        """Add noise to both channels of the scan, whose phase is taken as 0; take the magnitude."""
        del spacing_mm
        check_stack(hq)
        generator = torch.Generator().manual_seed(seed)
        level = value_of(self.level, "level", seed)
        return (hq + receiver_noise(hq.shape, level, generator)).abs()

    def acquire(self, truth: Tensor, spacing_mm: Spacing, seed: int) -> tuple[Tensor, Tensor]:
        """Draw the noise of HQ and, on top of it, the noise that LQ has in addition."""
        del spacing_mm
        check_stack(truth)
        generator = torch.Generator().manual_seed(seed)
        level = value_of(self.level, "level", seed)
        signal = truth + receiver_noise(truth.shape, value_of(self.noise, "noise", seed), generator)
        return (signal + receiver_noise(truth.shape, level, generator)).abs(), signal.abs()
