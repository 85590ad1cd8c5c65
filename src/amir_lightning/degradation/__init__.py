"""The physics that makes a low-quality scan: one file per modality, one interface for all."""

from typing import Protocol

from torch import Tensor

from amir_lightning.degradation.counts import LowCount
from amir_lightning.degradation.kspace import KSpaceCrop
from amir_lightning.degradation.low_dose import LowDose

__all__ = ["Degradation", "KSpaceCrop", "LowCount", "LowDose"]


class Degradation(Protocol):
    """How a modality loses quality; images are axial stacks (Z, Y, X) in physical units, float32.

    Both methods draw from a generator of their own: the same seed gives the same bits.
    """

    def degrade(self, hq: Tensor, spacing_mm: tuple[float, float, float], seed: int) -> Tensor:
        """Degrade a real scan, which stays the label as it is.

        Args:
            hq: The scan, noise and all, (Z, Y, X).
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
        """Scan noise-free anatomy twice, as the high- and the low-quality protocol would.

        Args:
            truth: The anatomy, (Z, Y, X).
            spacing_mm: Voxel size along (z, y, x) [mm].
            seed: Seed of the noise.

        Returns:
            Low- and high-quality scan on the same grid, (Z, Y, X) each.

        Raises:
            InputError: `truth` is not a stack of finite float32 slices.
        """
        ...
