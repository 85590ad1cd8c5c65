"""PET with a short time at each bed position.

Source: M. Dahlbom et al., J Nucl Med 33, 1992 (whole-body PET in overlapping bed positions); S. R.
Cherry et al., Physics in Nuclear Medicine, 2012, Ch. 18 (in 3-D mode, sensitivity falls linearly
from the middle of the scanner to its ends).
"""

import math
from dataclasses import dataclass

import torch

from amir_lightning.degradation.counts import CountScan, Exposure
from amir_lightning.degradation.parameters import Parameter, possible, value_of
from amir_lightning.degradation.stack import Spacing
from amir_lightning.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ShortBeds(CountScan):
    """`Degradation` of PET with a short time at each bed position.

    A whole-body scan is measured bed by bed. Between two beds fewer counts are measured, and the
    tracer decays from bed to bed. LQ has the counts of a short window in the time of each bed; the
    window starts at random. Unlike in `LowCount`, the noise is therefore uneven along the patient.

    The first and the last bed lie with their middle at an end of the volume, or beyond.

    Attributes:
        seconds: Length of the window [s]; may be drawn for each patient.
        seconds_per_bed: Time of a bed in the full scan [s].
        bed_mm: Axial field of view of the scanner [mm].
        overlap: Share of the field of view that neighbouring beds have in common.
        half_life_s: Half-life of the tracer [s].
    """

    seconds: Parameter
    seconds_per_bed: float
    bed_mm: float
    overlap: float
    half_life_s: float

    def __post_init__(self) -> None:
        if not all(0 < one <= self.seconds_per_bed for one in possible(self.seconds)):
            raise InputError(
                f"seconds is {self.seconds} and seconds_per_bed is {self.seconds_per_bed}, "
                "expected more than 0 and at most the time of a bed; type for instance "
                "tasks.<task>.degradation.seconds=10"
            )
        if self.bed_mm <= 0 or self.half_life_s <= 0 or not 0 < self.overlap <= 0.5:
            raise InputError(
                f"bed_mm is {self.bed_mm}, half_life_s is {self.half_life_s} and overlap is "
                f"{self.overlap}, expected lengths above 0 and an overlap from 0 to 0.5; type for "
                "instance tasks.<task>.degradation.overlap=0.25"
            )
        super().__post_init__()

    def exposure(self, num_slices: int, spacing_mm: Spacing, seed: int) -> Exposure:
        """Counts of each slice in all beds, and in their windows.

        Each count of a slice comes from one of the beds, so thinning the counts of each bed by its
        own window is thinning all of them by the mean share.
        """
        position = torch.arange(num_slices, dtype=torch.float64) * spacing_mm[0]
        step = self.bed_mm * (1 - self.overlap)
        beds = torch.arange(2 + math.floor(float(position[-1]) / step))
        middle = float(position[-1]) / 2 + step * (beds - (len(beds) - 1) / 2)
        distance = (position[:, None] - middle).abs()
        decay = math.log(2) / self.half_life_s
        started = torch.exp(-decay * self.seconds_per_bed * beds)
        seen = (1 - distance / (self.bed_mm / 2)).clamp(min=0) * started  # (Z, beds)
        full = seen.sum(1)
        kept = (seen * self._share(len(beds), decay, seed)).sum(1) / full
        return Exposure((full / full.mean()).float()[:, None, None], kept.float()[:, None, None])

    def _share(self, beds: int, decay: float, seed: int) -> torch.Tensor:
        """Share of the counts of each bed that fall into its window."""
        generator = torch.Generator().manual_seed(seed)
        length = value_of(self.seconds, "seconds", seed)
        start = torch.rand(beds, generator=generator, dtype=torch.float64)
        start *= self.seconds_per_bed - length
        window = torch.exp(-decay * start) * -math.expm1(-decay * length)
        return window / -math.expm1(-decay * self.seconds_per_bed)
