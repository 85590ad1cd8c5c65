"""CT denoising: simulate a scan at a fraction of the dose in the sinogram (paper, Sec. 3.1)."""

import math
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from amir_lightning.degradation.ct_scan import (
    MIN_PHOTONS,
    WATER_PER_MM,
    check_photons,
    ct_blocks,
    measure,
    to_attenuation,
    usual_views,
    with_padding,
)
from amir_lightning.degradation.parameters import Parameter, possible, value_of
from amir_lightning.degradation.projector import Kernel, ParallelBeam, parallel_beam
from amir_lightning.degradation.stack import Spacing, check_stack, square_spacing
from amir_lightning.errors import InputError


@dataclass(frozen=True)
class LowDose:
    """`Degradation` of CT denoising, in monochromatic parallel-beam geometry.

    The tube emits N photons towards each bin; N exp(-p) are expected after a line integral of p.
    Poisson counts with electronic noise of variance s² have a variance of N exp(-p) + s². To first
    order, their logarithm has the variance

        var p(N) = exp(p) / N + s² exp(2 p) / N².

    Attributes:
        dose: Fraction of the full dose, between 0 and 1; may be drawn for each patient.
        photons: N at full dose; may be drawn for each patient.
        electronic_noise: s [photons].
        kernel: Apodisation of the ramp filter.
        num_views: Number of projections over 180 degrees, a multiple of 4; None means 1.5 per
            pixel of the longer image side.
    """

    dose: Parameter
    photons: Parameter
    electronic_noise: float
    kernel: Kernel
    num_views: int | None = None

    def __post_init__(self) -> None:
        if not all(0 < dose < 1 for dose in possible(self.dose)):
            raise InputError(
                f"dose is {self.dose}, expected a fraction between 0 and 1; type for instance "
                "tasks.<task>.degradation.dose=0.25"
            )
        for photons in possible(self.photons):
            check_photons(photons, self.electronic_noise)
        if self.kernel not in get_args(Kernel):
            raise InputError(
                f"kernel is '{self.kernel}'; choose from {', '.join(get_args(Kernel))}"
            )

    def degrade(self, hq: Tensor, spacing_mm: Spacing, seed: int) -> Tensor:
        """Add the noise that the reduced dose has in excess of the full dose.

        The scan already contains the noise of the full dose N, so the missing variance is
        var p(d N) - var p(N). Only noise of this variance is reconstructed, and then added to the
        scan, which keeps its resolution, mean and padding (Yu et al., J Comput Assist Tomogr 36,
        2012; Zabic et al., Med Phys 40, 2013).
        """
        check_stack(hq)
        dose = value_of(self.dose, "dose", seed)
        photons = value_of(self.photons, "photons", seed)
        beam = self._beam(hq, spacing_mm)
        generator = torch.Generator().manual_seed(seed)
        lq = torch.empty_like(hq)
        for block in ct_blocks(hq):
            attenuation = beam.forward(to_attenuation(hq[block]))
            missing = self._variance(attenuation, photons * dose)
            missing -= self._variance(attenuation, photons)
            noise = torch.randn(attenuation.shape, generator=generator) * missing.sqrt_()
            noise_hu = beam.fbp(noise, self.kernel) * (1000 / WATER_PER_MM)
            lq[block] = with_padding(hq[block], noise_hu)
        return lq

    def acquire(self, truth: Tensor, spacing_mm: Spacing, seed: int) -> tuple[Tensor, Tensor]:
        """Draw independent photon counts at both doses, and reconstruct both."""
        check_stack(truth)
        dose = value_of(self.dose, "dose", seed)
        photons = value_of(self.photons, "photons", seed)
        beam = self._beam(truth, spacing_mm)
        generator = torch.Generator().manual_seed(seed)
        lq, hq = torch.empty_like(truth), torch.empty_like(truth)
        for block in ct_blocks(truth):
            attenuation = beam.forward(to_attenuation(truth[block]))
            measured = [
                measure(attenuation, photons * share, self.electronic_noise, generator)
                for share in (dose, 1.0)
            ]
            # Both at once, because building the projection matrices takes longer than using them.
            images = beam.fbp(torch.cat(measured), self.kernel) * (1000 / WATER_PER_MM) - 1000
            lq[block], hq[block] = images.chunk(2)
        return lq, hq

    def _beam(self, image: Tensor, spacing_mm: Spacing) -> ParallelBeam:
        height, width = image.shape[1:]
        num_views = self.num_views or 4 * math.ceil(usual_views(height, width) / 4)
        return parallel_beam((height, width), num_views, square_spacing(spacing_mm))

    def _variance(self, attenuation: Tensor, photons: float) -> Tensor:
        """Variance of measured line integrals p, (S, V, D)."""
        arriving = photons * torch.exp(-attenuation)
        arriving.clamp_(min=MIN_PHOTONS)
        return 1 / arriving + (self.electronic_noise / arriving) ** 2
