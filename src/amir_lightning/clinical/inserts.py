"""Lesions of known contrast that are added to embedded patients, and scanned."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from hydra.utils import instantiate
from numpy.typing import NDArray

from amir_lightning.clinical.rescans import SEEN, Anatomy, Restore, in_plane, scan_slices
from amir_lightning.data.pairs import AXES
from amir_lightning.degradation import Degradation
from amir_lightning.errors import InputError
from amir_lightning.metrics.clinical import Image, Place, Spacing
from amir_lightning.metrics.clinical.places import centres
from amir_lightning.runs.clinical import Image as Name
from amir_lightning.tasks import Task

_LOOKED_AT = 2.5  # radii around a lesion that the observer sees


class Inserts(NamedTuple):
    """Lesions of one contrast, each in a square around its centre.

    Attributes:
        contrast: Contrast to the anatomy below [units]; 0 for the same places without a lesion.
        patients: Number of the patient of each lesion, (N,).
        images: Squares of HQ, input and restored image, (N, side, side) [units].
    """

    contrast: float
    patients: NDArray[np.int64]
    images: Mapping[Name, Image]


class Insert(NamedTuple):
    """Which lesions are added to the patients of a task.

    Attributes:
        organ: Organ in which they lie.
        radius_mm: Radius of the ball [mm].
        contrasts: Contrasts to the anatomy below [units].
        per_slice: Largest number of lesions in a slice.
    """

    organ: str
    radius_mm: float
    contrasts: tuple[float, ...]
    per_slice: int

    @classmethod
    def of(cls, task: Task, options: Mapping[str, Any]) -> "Insert | None":
        """Read the options of the kind of scan of a task; None if there are none.

        Raises:
            InputError: One of them is not possible.
        """
        kind = task.dicom_modality
        if kind not in options:
            return None
        own = options[kind]
        contrasts = tuple(float(one) for one in own["contrasts"])
        if not contrasts or 0 in contrasts or own["radius_mm"] <= 0:
            raise InputError(
                f"measures.inserts.{kind} has the radius {own['radius_mm']} mm and the contrasts "
                f"{list(contrasts)}, expected numbers other than 0; type for instance "
                f"measures.inserts.{kind}.contrasts=[10.0,20.0,40.0]"
            )
        return cls(str(own["organ"]), float(own["radius_mm"]), contrasts, int(options["per_slice"]))

    def check_size(self, spacing_mm: Spacing, kind: str) -> None:
        """Refuse lesions that are smaller than a pixel.

        Raises:
            InputError: Their largest section has less area than a pixel.
        """
        if np.pi * self.radius_mm**2 < spacing_mm[0] * spacing_mm[1]:
            raise InputError(
                f"a lesion of radius {self.radius_mm:g} mm is smaller than a pixel of "
                f"{spacing_mm[0]:.3g} x {spacing_mm[1]:.3g} mm; type for instance "
                f"measures.inserts.{kind}.radius_mm={2 * max(spacing_mm):.1f}"
            )


class Scan(NamedTuple):
    """Slices of a patient with lesions of one contrast.

    Attributes:
        contrast: Contrast of the lesions; 0 for the same slices without them [units].
        places: Place of each lesion, whose first number counts the slices below.
        lq: Slices of the low-quality scan, (S, H, W) [units].
        hq: Slices of the high-quality scan, (S, H, W) [units].
    """

    contrast: float
    places: Sequence[Place]
    lq: Image
    hq: Image


def add_ball(
    volume: Image, centre: Place, radius_mm: float, contrast: float, spacing_mm: Sequence[float]
) -> Image:
    """Add a ball of one contrast to a volume; its border is as soft as a pixel is wide.

    Args:
        volume: Anatomy, (Z, Y, X) [units].
        centre: Voxel of its centre.
        radius_mm: Radius [mm].
        contrast: Difference to the anatomy below [units].
        spacing_mm: Voxel size along (z, y, x) [mm].
    """
    axes = (
        (np.arange(length) - at) * step
        for length, at, step in zip(volume.shape, centre, spacing_mm, strict=True)
    )
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    away = np.sqrt(z * z + y * y + x * x)
    share = covered(away, radius_mm, min(spacing_mm))
    return (volume + contrast * share).astype(np.float32)


def covered(away_mm: Image, radius_mm: float, pixel_mm: float) -> Image:
    """Share of a pixel that a ball covers, by the distance of the pixel from its centre."""
    return np.clip(0.5 - (away_mm - radius_mm) / pixel_mm, 0, 1)


def scans_with(task: Task, anatomy: Anatomy, insert: Insert) -> Iterator[Scan]:
    """Scan a patient without lesions, and with those of each contrast, from one seed.

    Gaussian noise is equal in all of them. Counts of CT and PET are drawn for other expectations,
    so that their noise differs.

    Nothing is scanned where there is no room for a lesion.
    """
    volume = anatomy.redrawn.volume
    spacing = in_plane(task, volume.spacing_mm)
    insert.check_size(spacing, task.dicom_modality)
    found = _places(task, anatomy, insert, spacing)
    if not found:
        return
    degradation: Degradation = instantiate(dict(task.degradation))
    rows = sorted({index for index, *_ in found})
    places = [(rows.index(index), row, column) for index, row, column in found]
    for contrast in (0.0, *insert.contrasts):
        truth = volume.array
        for place in found:
            at = _voxel(task, place)
            truth = add_ball(truth, at, insert.radius_mm, contrast, volume.spacing_mm)
        scan = scan_slices(task, degradation, anatomy, truth, np.array(rows), anatomy.redrawn.seed)
        yield Scan(contrast, places, *scan)


def scan_inserts(
    task: Task, anatomies: Sequence[Anatomy], insert: Insert, restore: Restore
) -> list[Inserts]:
    """Scan patients with lesions, restore the scans, and cut squares around the lesions.

    Args:
        task: The task, with its degradation.
        anatomies: The patients.
        insert: Lesions to add.
        restore: Restores slices.

    Returns:
        Squares without lesions, then those of each contrast, at the same places. Empty if no
        patient has room for a lesion.

    Raises:
        InputError: The lesions are smaller than a pixel, or the organ is not known.
    """
    found: dict[tuple[float, Name], list[Image]] = {}
    groups: list[int] = []
    for anatomy in anatomies:
        half = half_side(insert, in_plane(task, anatomy.redrawn.volume.spacing_mm))
        for scan in scans_with(task, anatomy, insert):
            groups += [anatomy.number] * (0 if scan.contrast else len(scan.places))
            images: dict[Name, Image] = {"hq": scan.hq, "input": scan.lq}
            images["restored"] = restore(task, scan.lq)
            for name, image in images.items():
                squares = [square(image, place, half) for place in scan.places]
                found.setdefault((scan.contrast, name), []).extend(squares)
    levels = dict.fromkeys(contrast for contrast, _ in found)
    return [
        Inserts(c, np.array(groups), {n: np.array(found[c, n], np.float64) for n in SEEN})
        for c in levels
    ]


def half_side(insert: Insert, spacing_mm: Spacing) -> int:
    """Half the side of the square around a lesion [pixels]."""
    return int(np.ceil(_LOOKED_AT * insert.radius_mm / min(spacing_mm)))


def square(image: Image, place: Place, half: int) -> Image:
    """The square around a place; beyond the image its border is repeated.

    Args:
        image: Slices, (S, H, W).
        place: Slice, row and column of its middle.
        half: Half of its side [pixels].
    """
    index, row, column = place
    padded = np.pad(image[index], half, mode="edge")
    return padded[row : row + 2 * half + 1, column : column + 2 * half + 1]


def _places(task: Task, anatomy: Anatomy, insert: Insert, spacing: Spacing) -> list[Place]:
    """Slice, row and column of the centres of the lesions, in stored slices.

    No lesion reaches where the observer looks at another one, or it would be taken for a part of
    that. Lesions of neighbouring slices keep their distance, too, or their contrasts would add up.
    """
    labels = anatomy.redrawn.volume.labels
    if labels is None:
        return []
    if insert.organ not in labels.organ_names:
        raise InputError(
            f"measures.inserts.{task.dicom_modality}.organ is '{insert.organ}'; choose from "
            f"{', '.join(labels.organ_names[1:])}"
        )
    own = (labels.organs == labels.organ_names.index(insert.organ)) & (labels.lesions == 0)
    cut = own.transpose(AXES[task.plane])[anatomy.positions]
    pixel = max(spacing)
    clear = insert.radius_mm + pixel
    apart = max(2 * clear, (_LOOKED_AT + 1) * insert.radius_mm + pixel)
    step = np.array([anatomy.redrawn.volume.spacing_mm[axis] for axis in AXES[task.plane]])
    found: list[Place] = []
    for index, row, column in centres(cut, clear, apart, spacing, insert.per_slice):
        place = int(anatomy.positions[index]), row, column
        away = np.abs(np.array(found).reshape(-1, 3) - place) * step
        beside = (away[:, 0] < clear) & (np.hypot(away[:, 1], away[:, 2]) < apart)
        if not (beside | (np.linalg.norm(away, axis=1) < 2 * clear)).any():
            found.append(place)
    return found


def _voxel(task: Task, place: Place) -> Place:
    """Voxel (z, y, x) of a slice, row and column."""
    at = [0, 0, 0]
    for axis, position in zip(AXES[task.plane], place, strict=True):
        at[axis] = position
    return at[0], at[1], at[2]
