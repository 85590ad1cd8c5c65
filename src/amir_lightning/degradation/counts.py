"""PET synthesis: simulate a scan with fewer counts, reconstructed by OSEM (paper, Sec. 3.1)."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from amir_lightning.degradation.projector import ParallelBeam, parallel_beam
from amir_lightning.degradation.stack import Spacing, blocks, check_stack, square_spacing
from amir_lightning.errors import InputError

_BLOCK_PIXELS = 32 * 192**2  # gives a workspace of about 20 MB, near the size of a CPU cache


def thin_counts(counts: Tensor, reduction: float, generator: torch.Generator) -> Tensor:
    """Keep each count with probability 1 / reduction, like random list-mode decimation.

    A thinned Poisson variable is a Poisson variable whose mean is divided by the reduction.

    Args:
        counts: Whole numbers, any shape.
        reduction: Reduction factor, at least 1.
        generator: Random generator.
    """
    chance = torch.full_like(counts, 1 / reduction)
    return torch.binomial(counts, chance, generator=generator)


def gaussian_filter(volume: Tensor, fwhm_mm: float, spacing_mm: Spacing) -> Tensor:
    """Smooth a volume along its three axes; the edge values are replicated outside.

    Args:
        volume: The volume, (Z, Y, X).
        fwhm_mm: Full width at half maximum [mm]; 0 changes nothing.
        spacing_mm: Voxel size along (z, y, x) [mm].
    """
    for axis, spacing in enumerate(spacing_mm):
        sigma = fwhm_mm / spacing / math.sqrt(8 * math.log(2))
        radius = math.ceil(3 * sigma)
        offset = torch.arange(-radius, radius + 1)
        taps = torch.exp(-0.5 * (offset / max(sigma, 1e-6)) ** 2)
        rows = volume.movedim(axis, -1)
        padded = F.pad(rows, (radius, radius), mode="replicate")
        smooth = sum(
            tap * padded[..., start : start + rows.shape[-1]]
            for start, tap in enumerate((taps / taps.sum()).tolist())
        )
        volume = torch.as_tensor(smooth).movedim(-1, axis)
    return volume.contiguous()


@dataclass(frozen=True)
class LowCount:
    """`Degradation` of PET synthesis, slice by slice in parallel-beam geometry.

    The expected counts are line integrals of the activity plus a uniform background, scaled by one
    factor per volume. OSEM knows the background. Attenuation and normalisation are assumed to be
    corrected.

    Attributes:
        reduction: Factor by which the counts are reduced.
        counts_per_slice: Mean number of true counts of a transaxial slice in the full scan.
        background: Scatter and random counts per true count.
        iterations: Number of OSEM iterations.
        subsets: Number of OSEM subsets.
        fwhm_mm: Gaussian post-filter of the reconstruction [mm].
    """

    reduction: float
    counts_per_slice: float
    background: float
    iterations: int
    subsets: int
    fwhm_mm: float

    def __post_init__(self) -> None:
        if self.reduction < 1 or self.counts_per_slice <= 0:
            raise InputError(
                f"reduction is {self.reduction} and counts_per_slice is {self.counts_per_slice}, "
                "expected a reduction of at least 1 and counts_per_slice above 0; type for "
                "instance tasks.<task>.degradation.reduction=12"
            )
        if self.iterations < 1 or self.subsets < 1:
            raise InputError(
                f"iterations is {self.iterations} and subsets is {self.subsets}, expected at least "
                "1 each; type for instance tasks.<task>.degradation.iterations=3"
            )
        if self.background < 0 or self.fwhm_mm < 0:
            raise InputError(
                f"background is {self.background} and fwhm_mm is {self.fwhm_mm}, expected at least "
                "0 each; type for instance tasks.<task>.degradation.background=0"
            )

    def degrade(self, hq: Tensor, spacing_mm: Spacing, seed: int) -> Tensor:
        """Add the noise that thinned counts have in excess of full counts.

        The scan serves as the activity. Counts n are drawn for it and thinned to m with probability
        1/r. Both are reconstructed, and the difference is added to the scan:

            LQ = max(max(HQ, 0) + R(r m) - R(n), 0).

        Given n, the mean of r m is n and its variance is (r - 1) n. This is the difference between
        the noise of n / r counts and that of n counts, which the scan already contains.
        Reconstructing the scan itself would blur it again; adding the difference keeps its
        resolution and mean.
        """
        lq, reference = self._scan(hq, spacing_mm, seed, (True, False))
        return (hq.clamp(min=0) + lq - reference).clamp_(min=0)

    def acquire(self, truth: Tensor, spacing_mm: Spacing, seed: int) -> tuple[Tensor, Tensor]:
        """Draw counts of the activity; reconstruct HQ from all of them and LQ from thinned ones."""
        lq, hq = self._scan(truth, spacing_mm, seed, (True, False))
        return lq, hq

    def _scan(
        self, activity: Tensor, spacing_mm: Spacing, seed: int, thinned: tuple[bool, ...]
    ) -> list[Tensor]:
        """Draw the counts of a scan; reconstruct a volume [SUV] for each entry of `thinned`."""
        check_stack(activity)
        beam = self._beam(activity, spacing_mm)
        activity = activity.clamp(min=0)
        generator = torch.Generator().manual_seed(seed)
        counts_per_suv = self._counts_per_suv(beam, activity)
        scans = [torch.empty_like(activity) for _ in thinned]
        for block in blocks(len(activity), activity[0].numel(), _BLOCK_PIXELS):
            trues = beam.forward(activity[block] * counts_per_suv)
            extra = self.background * trues.mean((1, 2), keepdim=True)
            counts = torch.poisson(trues + extra, generator=generator)
            for scan, thin in zip(scans, thinned, strict=True):
                scale = counts_per_suv / self.reduction if thin else counts_per_suv
                kept = thin_counts(counts, self.reduction, generator) if thin else counts
                # In units of SUV, because OSEM starts from an image of ones.
                known = extra / counts_per_suv
                scan[block] = beam.osem(kept / scale, self.iterations, self.subsets, known)
        return [gaussian_filter(scan, self.fwhm_mm, spacing_mm) for scan in scans]

    def _beam(self, activity: Tensor, spacing_mm: Spacing) -> ParallelBeam:
        # About one view per pixel; a subset holds groups of four mirrored views.
        height, width = activity.shape[1:]
        step = 4 * self.subsets
        num_views = step * math.ceil(max(height, width) / step)
        return parallel_beam((height, width), num_views, square_spacing(spacing_mm))

    def _counts_per_suv(self, beam: ParallelBeam, activity: Tensor) -> float:
        """Factor from activity [SUV] to expected counts.

        Each view of a slice sums to the sum of the slice's pixels times their width.
        """
        per_slice = float(activity.sum(dtype=torch.float64)) / len(activity)
        counts = per_slice * beam.spacing_mm * beam.num_views
        return self.counts_per_slice / counts if counts else 1.0
