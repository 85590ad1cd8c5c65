"""`Volume`: one scan in physical units with its geometry."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Lesion(NamedTuple):
    """One lesion of a drawn patient.

    Attributes:
        kind: What it is, for instance "cyst".
        value: Its value without texture, in the units of the volume.
    """

    kind: str
    value: float


@dataclass(frozen=True)
class Labels:
    """Which organ and which lesion each voxel of a drawn patient shows.

    Attributes:
        organs: Index into `organ_names`, uint8 of the shape of the image.
        lesions: 0, or i in the i-th lesion, uint8. The organs below stay as they are.
        organ_names: Names of the organs; the first one is the air around the patient.
        lesion_list: The lesions; one that organs hide, or that is left out by a cut, has no voxel.
    """

    organs: NDArray[np.uint8]
    lesions: NDArray[np.uint8]
    organ_names: tuple[str, ...]
    lesion_list: tuple[Lesion, ...]

    def cut(self, slices: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> "Labels":
        """The same labels where an image is cut or turned by `slices`."""
        return replace(self, organs=slices(self.organs), lesions=slices(self.lesions))


@dataclass(frozen=True)
class Volume:
    """A scan in canonical LPS order: x to the left, y to posterior, z to superior.

    A slice ``array[z]`` with row 0 at the top is the usual radiological view.

    Attributes:
        array: Voxels in physical units, (Z, Y, X) float32.
        affine: 4x4 matrix from voxel index (x, y, z, 1) to world millimetres (RAS+, as in NIfTI).
        units: Physical units of the voxels: "HU", "SUV" or "a.u.".
        source: Origin of the data, without patient names; written into the prepared store.
        labels: Organs and lesions on the same grid, from phantoms that label what they draw.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    units: str
    source: str
    labels: Labels | None = None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along (z, y, x) [mm]."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)


def lps_affine(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Affine of an axis-aligned LPS volume whose first voxel lies at the origin.

    Args:
        spacing_mm: Voxel size along (z, y, x) [mm].
    """
    z, y, x = spacing_mm
    return np.diag([-x, -y, z, 1.0])
