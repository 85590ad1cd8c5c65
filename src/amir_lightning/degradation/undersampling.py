"""Accelerated MRI: few Cartesian lines of k-space, zeros elsewhere.

Source: M. Lustig et al., Magn Reson Med 58, 2007 (variable density: aliasing looks like noise);
J. Zbontar et al., fastMRI, arXiv:1811.08839, 2018 (factors 4 and 8, a sampled centre of 8 % and
4 %). K-space that is computed from a magnitude image lacks phase and coils, and scores on it are
better than on measured data (E. Shimron et al., PNAS 119, e2117203119, 2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amir_lightning.degradation.kspace import receiver_noise, to_image, to_kspace
from amir_lightning.degradation.parameters import Parameter, possible, value_of
from amir_lightning.degradation.stack import Spacing, check_stack
from amir_lightning.errors import InputError


def sampled_lines(
    length: int,
    factor: float,
    centre: float,
    power: float,
    generator: torch.Generator,
    even: bool = False,
) -> Tensor:
    """Draw which of the phase-encoding lines are measured: round(length / factor) of them.

    Args:
        length: Number of lines, N; line N // 2 is the DC line.
        factor: Acceleration.
        centre: Share of the measured lines that lie together around the DC line, at least one.
        power: Outside the centre, the chance of a line at distance d is proportional to
            (1 - d / d_max) to this power.
        generator: Random generator.
        even: Outside the centre, take lines at even distances from a random start, as fastMRI does
            for brains.

    Returns:
        True for the measured lines, (N,).
    """
    kept = max(1, round(length / factor))
    middle = max(1, round(centre * kept))
    first = length // 2 - middle // 2
    mask = torch.zeros(length, dtype=torch.bool)
    mask[first : first + middle] = True
    if kept > middle and even:
        others = (~mask).nonzero().flatten()
        places = torch.rand((), generator=generator) + torch.arange(kept - middle)
        index = (places * (len(others) / (kept - middle))).long()
        mask[others[index.clamp(max=len(others) - 1)]] = True  # a start of almost 1 rounds up
    elif kept > middle:
        distance = (torch.arange(length) - length // 2).abs() / (length // 2 + 1)
        density = (1 - distance) ** power * ~mask
        mask[torch.multinomial(density, kept - middle, generator=generator)] = True
    return mask


@dataclass(frozen=True)
class Undersampling:
    """`Degradation` of accelerated MRI: Cartesian lines of variable density, zero-filled.

    The lines run along the rows of a slice, and the phase is encoded along its columns. Each slice
    has lines of its own.

    Attributes:
        factor: Acceleration: 1 / factor of the lines are measured; may be drawn for each patient.
        centre: Share of the measured lines that lie together in the centre of k-space.
        power: Power of the density of the other lines; 0 gives all the same chance.
        noise: Standard deviation of the receiver noise per channel [a.u.]; used by `acquire` only;
            may be drawn for each patient.
        even: Take the other lines at even distances instead.
    """

    factor: Parameter
    centre: float
    power: float
    noise: Parameter
    even: bool = False

    def __post_init__(self) -> None:
        if min(possible(self.factor)) < 1 or min(possible(self.noise)) < 0:
            raise InputError(
                f"factor is {self.factor} and noise is {self.noise}, expected a factor of at least "
                "1 and a noise of at least 0; type for instance tasks.<task>.degradation.factor=4"
            )
        if not 0 <= self.centre <= 1:
            raise InputError(
                f"centre is {self.centre}, expected 0 to 1; type for instance "
                "tasks.<task>.degradation.centre=0.32"
            )
        if self.power < 0:
            raise InputError(
                f"power is {self.power}, expected at least 0; type for instance "
                "tasks.<task>.degradation.power=3"
            )
        if not isinstance(self.even, bool):
            raise InputError(
                f"even is '{self.even}', expected true or false; type "
                "tasks.<task>.degradation.even=true"
            )

    def degrade(self, hq: Tensor, spacing_mm: Spacing, seed: int) -> Tensor:
        """Keep some lines of the k-space of each slice; no noise is added."""
        del spacing_mm
        check_stack(hq)
        return _zero_filled(hq, self.samples((hq.shape[0], hq.shape[1], hq.shape[2]), seed))

    def samples(self, shape: tuple[int, int, int], seed: int) -> Tensor:
        """Draw the measured lines of each slice."""
        return self._lines(shape, seed, torch.Generator().manual_seed(seed))

    def acquire(self, truth: Tensor, spacing_mm: Spacing, seed: int) -> tuple[Tensor, Tensor]:
        """Add complex white noise; HQ is the magnitude, LQ has only some lines of its k-space."""
        del spacing_mm
        check_stack(truth)
        generator = torch.Generator().manual_seed(seed)
        signal = truth + receiver_noise(truth.shape, value_of(self.noise, "noise", seed), generator)
        return _zero_filled(signal, self._lines(signal.shape, seed, generator)), signal.abs()

    def _lines(self, shape: Sequence[int], seed: int, generator: torch.Generator) -> Tensor:
        factor = value_of(self.factor, "factor", seed)
        masks = [
            sampled_lines(shape[1], factor, self.centre, self.power, generator, self.even)
            for _ in range(shape[0])
        ]
        return torch.stack(masks)[:, :, None]


def _zero_filled(image: Tensor, kept: Tensor) -> Tensor:
    return to_image(to_kspace(image) * kept).abs()
