"""Regions of a patient: lesions, organs and flat places, from labels of a phantom or masks."""

import logging
from dataclasses import dataclass

import numpy as np

from amir_lightning.io.volume import Labels
from amir_lightning.metrics.clinical import Mask
from amir_lightning.system.wording import counted

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Region:
    """One lesion, organ or flat place in the slices of a patient.

    Attributes:
        name: Its name, for tables.
        mask: Its pixels, (S, H, W).
        around: Where the ring around it may lie, (S, H, W).
        value: Its true value without texture, where a phantom knows it [units].
    """

    name: str
    mask: Mask
    around: Mask
    value: float | None = None


@dataclass(frozen=True)
class Regions:
    """What is known of the slices of a patient.

    Attributes:
        lesions: Lesions.
        organs: Organs, without their lesions.
        flat: Regions that are flat.
        marked: Whether a user has marked the flat regions, so that they have to be flat.
    """

    lesions: tuple[Region, ...]
    organs: tuple[Region, ...]
    flat: tuple[Region, ...]
    marked: bool

    def without_small(self, lesion_pixels: int, organ_pixels: int, patient: str) -> "Regions":
        """The same without lesions and organs that have fewer pixels; a user's are named."""
        for kind, fewest, own in (
            ("lesion", lesion_pixels, self.lesions),
            ("organ", organ_pixels, self.organs),
        ):
            for one in own:
                if self.marked and one.mask.sum() < fewest:
                    _log.warning(
                        "the %s %s of patient %s is left out: it has %s in the scored slices, "
                        "fewer than measures.%ss.fewest_pixels=%d",
                        *(kind, one.name, patient, counted("pixel", int(one.mask.sum())), kind),
                        fewest,
                    )
        lesions = tuple(one for one in self.lesions if one.mask.sum() >= lesion_pixels)
        organs = tuple(one for one in self.organs if one.mask.sum() >= organ_pixels)
        return Regions(lesions, organs, self.flat, self.marked)


def of_phantom(labels: Labels, air_is_flat: bool) -> Regions:
    """Regions of an embedded patient.

    Args:
        labels: Organs and lesions of the slices, (S, H, W).
        air_is_flat: Whether noise may be measured in the air around the patient, as in MRI.
    """
    sound = labels.lesions == 0
    lesions = []
    for number, lesion in enumerate(labels.lesion_list, 1):
        mask = labels.lesions == number
        if mask.any():
            below = int(np.bincount(labels.organs[mask]).argmax())
            around = sound & (labels.organs == below)
            lesions.append(Region(f"{lesion.kind} {number}", mask, around, lesion.value))
    found = [
        Region(name, mask, sound & ~mask)
        for number, name in enumerate(labels.organ_names)
        if (mask := sound & (labels.organs == number)).any()
    ]
    air = labels.organ_names[0]
    organs = tuple(one for one in found if one.name != air)
    flat = tuple(found) if air_is_flat else organs
    return Regions(tuple(lesions), organs, flat, marked=False)
