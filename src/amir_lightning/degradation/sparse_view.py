"""CT from few views: filtered back-projection of a scan with 60 to 90 views shows streaks.

Source: A. C. Kak and M. Slaney, Principles of Computerized Tomographic Imaging, 1988, Sec. 5.1
(streaks of too few views); K. H. Jin et al., IEEE Trans Image Process 26, 2017 (learned restoration
of scans whose views were thinned out).
"""

import math
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from amir_lightning.degradation.ct_scan import (
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
class SparseView:
    """`Degradation` of CT from few views, in monochromatic parallel-beam geometry.

    LQ is reconstructed from every m-th of the V views of the full scan, and HQ from all of them.
    The views lie at (k + 1/2) 180°/V. For an odd m, every m-th of them is exactly a view of a scan
    with V / m views. V is the smallest such number that is at least 1.5 per pixel of the longer
    side.

    Attributes:
        views: Number of views of LQ over 180 degrees, a multiple of 4; may be drawn for each
            patient.
        photons: Photons that leave the tube towards each bin in each view; may be drawn for each
            patient.
        electronic_noise: Standard deviation of the read-out [photons].
        kernel: Apodisation of the ramp filter.
    """

    views: Parameter
    photons: Parameter
    electronic_noise: float
    kernel: Kernel

    def __post_init__(self) -> None:
        for views in possible(self.views):
            if views < 4 or views % 4:
                raise InputError(
                    f"views is {views}, expected a number of views, a positive multiple of 4; type "
                    "for instance tasks.<task>.degradation.views=60"
                )
        for photons in possible(self.photons):
            check_photons(photons, self.electronic_noise)
        if self.kernel not in get_args(Kernel):
            raise InputError(
                f"kernel is '{self.kernel}'; choose from {', '.join(get_args(Kernel))}"
            )

    def degrade(self, hq: Tensor, spacing_mm: Spacing, seed: int) -> Tensor:
        """Add the difference of two reconstructions of the scan, from few and from all views.

        The scan is projected along all views. Reconstructing it from few of them would blur it a
        second time; adding the difference keeps its resolution and mean.
        """
        check_stack(hq)
        full, few, step = self._beams(hq, spacing_mm, seed)
        lq = torch.empty_like(hq)
        for block in ct_blocks(hq):
            attenuation = full.forward(to_attenuation(hq[block]))
            seen = few.fbp(attenuation[:, step // 2 :: step], self.kernel)
            streaks = seen - full.fbp(attenuation, self.kernel)
            lq[block] = with_padding(hq[block], streaks * (1000 / WATER_PER_MM))
        return lq

    def acquire(self, truth: Tensor, spacing_mm: Spacing, seed: int) -> tuple[Tensor, Tensor]:
        """Draw photon counts along all views; reconstruct LQ from few and HQ from all of them."""
        check_stack(truth)
        full, few, step = self._beams(truth, spacing_mm, seed)
        photons = value_of(self.photons, "photons", seed)
        generator = torch.Generator().manual_seed(seed)
        lq, hq = torch.empty_like(truth), torch.empty_like(truth)
        for block in ct_blocks(truth):
            attenuation = full.forward(to_attenuation(truth[block]))
            measured = measure(attenuation, photons, self.electronic_noise, generator)
            lq[block] = few.fbp(measured[:, step // 2 :: step], self.kernel)
            hq[block] = full.fbp(measured, self.kernel)
        return tuple(image * (1000 / WATER_PER_MM) - 1000 for image in (lq, hq))  # type: ignore

    def _beams(
        self, image: Tensor, spacing_mm: Spacing, seed: int
    ) -> tuple[ParallelBeam, ParallelBeam, int]:
        """The full scan, the scan with few views, and the step between these views."""
        height, width = image.shape[1:]
        views = int(value_of(self.views, "views", seed))
        step = max(1, math.ceil(usual_views(height, width) / views))
        step += 1 - step % 2
        mm = square_spacing(spacing_mm)
        size = (height, width)
        return parallel_beam(size, views * step, mm), parallel_beam(size, views, mm), step
