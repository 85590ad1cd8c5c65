"""PET synthesis: simulate a scan with fewer counts, reconstructed by OSEM (paper, Sec. 3.1)."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from amir_lightning.degradation.parameters import Parameter, possible, value_of
from amir_lightning.degradation.projector import ParallelBeam, parallel_beam
from amir_lightning.degradation.stack import Spacing, blocks, check_stack, square_spacing
from amir_lightning.errors import InputError

_BLOCK_PIXELS = 32 * 192**2  # gives a workspace of about 20 MB, near the size of a CPU cache


def thin_counts(counts: Tensor, kept: Tensor, generator: torch.Generator) -> Tensor:
    """Keep each count with a chance, like random list-mode decimation.

    A thinned Poisson variable is a Poisson variable whose mean is multiplied by the chance.

    Args:
        counts: Whole numbers, any shape.
        kept: Chance of a count to be kept, broadcastable to `counts`.
        generator: Random generator.
    """
    return torch.binomial(counts, kept.expand_as(counts).contiguous(), generator=generator)


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


class Exposure(NamedTuple):
    """Counts of a scan along the patient.

    Attributes:
        full: Counts of the full scan per activity in each slice, relative to the mean slice,
            (Z, 1, 1).
        kept: Share of these counts that LQ has, (Z, 1, 1).
    """

    full: Tensor
    kept: Tensor


@dataclass(frozen=True, kw_only=True)
class CountScan(ABC):
    """A PET scan with all its counts and with some of them, slice by slice in parallel beams.

    The expected counts are line integrals of the activity plus a uniform background, scaled by one
    factor per volume. OSEM knows the background. Attenuation and normalisation are assumed to be
    corrected.

    Attributes:
        counts_per_slice: Mean number of true counts of a transaxial slice in the full scan; may be
            drawn for each patient.
        background: Scatter and random counts per true count.
        iterations: Number of OSEM iterations.
        subsets: Number of OSEM subsets.
        fwhm_mm: Gaussian post-filter of the reconstruction [mm].
    """

    counts_per_slice: Parameter
    background: float
    iterations: int
    subsets: int
    fwhm_mm: float

    def __post_init__(self) -> None:
        if min(possible(self.counts_per_slice)) <= 0:
            raise InputError(
                f"counts_per_slice is {self.counts_per_slice}, expected more than 0; type for "
                "instance tasks.<task>.degradation.counts_per_slice=5e5"
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

    @abstractmethod
    def exposure(self, num_slices: int, spacing_mm: Spacing, seed: int) -> Exposure:
        """Counts of each transaxial slice, of all and of those that LQ has."""

    def degrade(self, hq: Tensor, spacing_mm: Spacing, seed: int) -> Tensor:
        """Add the noise that thinned counts have in excess of full counts.

        The scan serves as the activity. Counts n are drawn for it and thinned to m, each kept with
        probability p. Both are reconstructed, and the difference is added to the scan:

            LQ = max(max(HQ, 0) + R(m / p) - R(n), 0).

        Given n, the mean of m / p is n and its variance is (1 / p - 1) n. This is the difference
        between the noise of p n counts and that of n counts, which the scan already contains.
        Reconstructing the scan itself would blur it again; adding the difference keeps its
        resolution and mean.
        """
        lq, reference = self.acquire(hq, spacing_mm, seed)
        return (hq.clamp(min=0) + lq - reference).clamp_(min=0)

    def acquire(self, truth: Tensor, spacing_mm: Spacing, seed: int) -> tuple[Tensor, Tensor]:
        """Draw counts of the activity; reconstruct HQ from all of them and LQ from thinned ones."""
        check_stack(truth)
        beam = self._beam(truth, spacing_mm)
        activity = truth.clamp(min=0)
        generator = torch.Generator().manual_seed(seed)
        full, kept = self.exposure(len(activity), spacing_mm, seed)
        per_slice = value_of(self.counts_per_slice, "counts_per_slice", seed)
        counts_per_suv = _counts_per_suv(beam, activity * full, per_slice) * full
        lq, hq = torch.empty_like(activity), torch.empty_like(activity)
        for block in blocks(len(activity), activity[0].numel(), _BLOCK_PIXELS):
            scale, chance = counts_per_suv[block], kept[block]
            trues = beam.forward(activity[block] * scale)
            extra = self.background * trues.mean((1, 2), keepdim=True)
            counts = torch.poisson(trues + extra, generator=generator)
            thinned = thin_counts(counts, chance, generator)
            known = extra / scale  # in units of SUV, because OSEM starts from an image of ones
            for scan, seen in ((lq, thinned / (scale * chance)), (hq, counts / scale)):
                scan[block] = beam.osem(seen, self.iterations, self.subsets, known)
        return (
            gaussian_filter(lq, self.fwhm_mm, spacing_mm),
            gaussian_filter(hq, self.fwhm_mm, spacing_mm),
        )

    def _beam(self, activity: Tensor, spacing_mm: Spacing) -> ParallelBeam:
        # About one view per pixel; a subset holds groups of four mirrored views.
        height, width = activity.shape[1:]
        step = 4 * self.subsets
        num_views = step * math.ceil(max(height, width) / step)
        return parallel_beam((height, width), num_views, square_spacing(spacing_mm))


@dataclass(frozen=True, kw_only=True)
class LowCount(CountScan):
    """`Degradation` of PET synthesis: the same share of the counts everywhere.

    Attributes:
        reduction: Factor by which the counts are reduced; may be drawn for each patient.
    """

    reduction: Parameter

    def __post_init__(self) -> None:
        if min(possible(self.reduction)) < 1:
            raise InputError(
                f"reduction is {self.reduction}, expected at least 1; type for instance "
                "tasks.<task>.degradation.reduction=12"
            )
        super().__post_init__()

    def exposure(self, num_slices: int, spacing_mm: Spacing, seed: int) -> Exposure:
        """All slices alike."""
        del spacing_mm
        full = torch.ones(num_slices, 1, 1)
        return Exposure(full, full / value_of(self.reduction, "reduction", seed))


def _counts_per_suv(beam: ParallelBeam, activity: Tensor, counts_per_slice: float) -> float:
    """Factor from activity [SUV] to expected counts.

    Each view of a slice sums to the sum of the slice's pixels times their width.
    """
    per_slice = float(activity.sum(dtype=torch.float64)) / len(activity)
    counts = per_slice * beam.spacing_mm * beam.num_views
    return counts_per_slice / counts if counts else 1.0
