"""Organs and lesions of a patient, labelled while the image is painted."""

from types import EllipsisType

import numpy as np
from numpy.typing import NDArray

from amir_lightning.io.volume import Labels, Lesion
from amir_lightning.phantoms.frame import Window

Share = NDArray[np.floating] | NDArray[np.bool_]

_LESION = 256  # a code is an organ plus so many times a lesion


class Masks:
    """Labels of a patient who is being painted.

    A voxel belongs to what fills more than half of it, and to the last of those painted. A lesion
    leaves the label of the organ below it; an organ that is painted later hides a lesion.
    """

    def __init__(self, shape: tuple[int, ...], organ_names: tuple[str, ...]) -> None:
        """Air everywhere.

        Args:
            shape: Voxels of the volume.
            organ_names: All organs that may be painted, air first.
        """
        self._codes = np.zeros(shape, np.uint16)
        self._names = organ_names
        self._lesions: list[Lesion] = []

    def organ(self, share: Share, name: str, window: Window | EllipsisType = ...) -> None:
        """Label an organ.

        Args:
            share: Share of the organ in each voxel of the window.
            name: The organ.
            window: Part of the volume; all of it by default.
        """
        np.copyto(self._codes[window], self._names.index(name), where=share > 0.5)

    def lesion(
        self, share: Share, kind: str, value: float, window: Window | EllipsisType = ...
    ) -> None:
        """Label one more lesion.

        Args:
            share: Share of the lesion in each voxel of the window.
            kind: What it is.
            value: Its value without texture, in the units of the image.
            window: Part of the volume; all of it by default.
        """
        self._lesions.append(Lesion(kind, float(value)))
        codes, inside = self._codes[window], share > 0.5
        codes[inside] = codes[inside] % _LESION + _LESION * len(self._lesions)

    def labels(self, gain: float = 1.0) -> Labels:
        """What has been labelled; an image that is scaled at the end has a `gain`."""
        return Labels(
            organs=(self._codes % _LESION).astype(np.uint8),
            lesions=(self._codes // _LESION).astype(np.uint8),
            organ_names=self._names,
            lesion_list=tuple(Lesion(kind, value * gain) for kind, value in self._lesions),
        )
