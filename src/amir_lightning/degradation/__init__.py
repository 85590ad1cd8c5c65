"""Simulation of low-quality scans: one module per kind of scan behind one interface."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from amir_lightning.degradation.bed_positions import ShortBeds
from amir_lightning.degradation.counts import LowCount
from amir_lightning.degradation.kspace import KSpaceCrop
from amir_lightning.degradation.low_dose import LowDose
from amir_lightning.degradation.motion import Motion
from amir_lightning.degradation.parameters import LogUniform, OneOf, Uniform, drawn_for, fixed_for
from amir_lightning.degradation.rician import RicianNoise
from amir_lightning.degradation.sparse_view import SparseView
from amir_lightning.degradation.undersampling import Undersampling

__all__ = [
    "Degradation",
    "KSpaceCrop",
    "LogUniform",
    "LowCount",
    "LowDose",
    "Motion",
    "OneOf",
    "RicianNoise",
    "SamplesKSpace",
    "ShortBeds",
    "SparseView",
    "Undersampling",
    "Uniform",
    "drawn_for",
    "fixed_for",
]


class Degradation(Protocol):
    """Degradation of one task; scans are axial stacks (Z, Y, X) in physical units, float32.

    Both methods make a generator from the seed, so equal seeds give equal bits. The fields of a
    dataclass may be drawn for each patient (`parameters`); their values are then recorded with the
    patient's slices.
    """

    def degrade(self, hq: Tensor, spacing_mm: tuple[float, float, float], seed: int) -> Tensor:
        """Simulate LQ from a real scan, which already contains noise and remains the HQ label.

        Args:
            hq: The scan, (Z, Y, X).
            spacing_mm: Voxel size along (z, y, x) [mm].
            seed: Seed of the noise.

        Returns:
            The low-quality scan on the same grid, (Z, Y, X).

        Raises:
            InputError: `hq` is not a stack of finite float32 slices.
        """
        ...

    def acquire(
        self, truth: Tensor, spacing_mm: tuple[float, float, float], seed: int
    ) -> tuple[Tensor, Tensor]:
        """Simulate a low- and a high-quality scan of noise-free anatomy.

        Args:
            truth: The anatomy, (Z, Y, X).
            spacing_mm: Voxel size along (z, y, x) [mm].
            seed: Seed of the noise.

        Returns:
            LQ and HQ on the same grid, (Z, Y, X) each.

        Raises:
            InputError: `truth` is not a stack of finite float32 slices.
        """
        ...


@runtime_checkable
class SamplesKSpace(Protocol):
    """A degradation that leaves out samples of k-space, and so can act on measured k-space."""

    def samples(self, shape: tuple[int, int, int], seed: int) -> Tensor:
        """Choose the samples that are measured.

        Args:
            shape: Slices, lines and samples of a line. The DC sample is in the middle.
            seed: Seed of the draw.

        Returns:
            True for the measured ones, broadcasting to `shape`.
        """
        ...
