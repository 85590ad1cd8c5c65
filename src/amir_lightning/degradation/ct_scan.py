"""CT acquisition that all tasks of CT share: attenuation, photon counts, padding."""

import math

import torch
from torch import Tensor

from amir_lightning.degradation.stack import blocks
from amir_lightning.errors import InputError

WATER_PER_MM = 0.0193
"""Linear attenuation of water at 70 keV [1/mm] (Hubbell and Seltzer, NIST SRD 126)."""

PADDING_BELOW_HU = -1024.0
"""Smaller values are padding: scanners fill the corners with -2000 or -3024 HU."""

MIN_PHOTONS = 1.0
"""Lower bound of detected photons, because their logarithm is taken."""

_BLOCK_PIXELS = 32 * 512**2  # about 1.5 GB of temporaries


def check_photons(photons: float, electronic_noise: float) -> None:
    """Check the numbers of `measure`.

    Raises:
        InputError: There are no photons, or the noise is negative.
    """
    if photons <= 0 or electronic_noise < 0:
        raise InputError(
            f"photons is {photons} and electronic_noise is {electronic_noise}, expected photons "
            "above 0 and a noise of at least 0; type for instance "
            "tasks.<task>.degradation.electronic_noise=0"
        )


def usual_views(height: int, width: int) -> float:
    """Number of views of a full scan: 1.5 per pixel of the longer side."""
    return 1.5 * max(height, width)


def to_attenuation(image_hu: Tensor) -> Tensor:
    """Linear attenuation [1/mm]; values below -1000 HU, such as padding, count as air."""
    return (1 + image_hu / 1000).clamp_(min=0) * WATER_PER_MM


def measure(
    attenuation: Tensor, photons: float, electronic_noise: float, generator: torch.Generator
) -> Tensor:
    """Draw noisy line integrals.

    Args:
        attenuation: Line integrals, (S, V, D).
        photons: Photons that leave the tube towards each bin.
        electronic_noise: Standard deviation of the read-out [photons].
        generator: Random generator.
    """
    counts = torch.poisson(photons * torch.exp(-attenuation), generator=generator)
    counts += electronic_noise * torch.randn(counts.shape, generator=generator)
    return math.log(photons) - counts.clamp_(min=MIN_PHOTONS).log_()


def with_padding(hq: Tensor, change_hu: Tensor) -> Tensor:
    """Add a change to a scan, and leave its padding as it is."""
    return torch.where(hq < PADDING_BELOW_HU, hq, hq + change_hu)


def ct_blocks(stack: Tensor) -> list[slice]:
    """Divide a stack (Z, Y, X) into blocks that fit into memory."""
    return blocks(len(stack), stack[0].numel(), _BLOCK_PIXELS)
