"""Private attributes that define the meaning of voxels, found by their private creator.

DICOM PS3.5 7.8.1: the creator (owner) of (gggg,bbee) is named in (gggg,00bb), and a vendor may use
any block bb. All attributes listed here describe the scan and none the patient; PS3.15 E.3.10 lists
such attributes as safe to keep.
"""

from collections.abc import Iterator
from typing import NamedTuple

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

_BLOCKS = range(0x10, 0x100)
_TEXT_VRS = {"CS", "DS", "DT", "IS"}


class Private(NamedTuple):
    """A private attribute.

    Attributes:
        group: Group number, gggg.
        owner: Private creator.
        element: Element number within the block, ee.
        vr: Value representation.
    """

    group: int
    owner: str
    element: int
    vr: str

    def __str__(self) -> str:
        return f"({self.group:04X},xx{self.element:02X}) of {self.owner}"


_PHILIPS_PET = "Philips PET Private Group"
_PHILIPS_MR = "Philips MR Imaging DD 001"
_PHILIPS = "Philips Imaging DD 001"
_SIEMENS_MR = "SIEMENS MR HEADER"

SUV_PER_COUNT = Private(0x7053, _PHILIPS_PET, 0x00, "DS")
ACTIVITY_PER_COUNT = Private(0x7053, _PHILIPS_PET, 0x09, "DS")
GE_SCAN_TIME = Private(0x0009, "GEMS_PETD_01", 0x0D, "DT")
SIEMENS_DECAY_TIME = Private(0x0071, "SIEMENS MED PT", 0x22, "DT")
SIEMENS_TILES = Private(0x0019, _SIEMENS_MR, 0x0A, "US")
SIEMENS_CSA = Private(0x0029, "SIEMENS CSA HEADER", 0x10, "OB")
UNITED_TILES = Private(0x0065, "Image Private Header", 0x50, "DS")

_READ = (
    SUV_PER_COUNT,
    ACTIVITY_PER_COUNT,
    GE_SCAN_TIME,
    SIEMENS_DECAY_TIME,
    SIEMENS_TILES,
    SIEMENS_CSA,
    UNITED_TILES,
)
# Kept in a derived series, because some readers scale or interpret its voxels by them.
_KEPT = (
    SUV_PER_COUNT,
    ACTIVITY_PER_COUNT,
    GE_SCAN_TIME,
    SIEMENS_DECAY_TIME,
    Private(0x2005, _PHILIPS_MR, 0x0D, "FL"),  # scale intercept, from stored to measured values
    Private(0x2005, _PHILIPS_MR, 0x0E, "FL"),  # scale slope
    Private(0x2001, _PHILIPS, 0x03, "FL"),  # b-value
    Private(0x2001, _PHILIPS, 0x04, "CS"),  # diffusion direction
    Private(0x0043, "GEMS_PARM_01", 0x39, "IS"),  # b-value
    Private(0x0019, _SIEMENS_MR, 0x0C, "IS"),  # b-value
    Private(0x0019, _SIEMENS_MR, 0x0D, "CS"),  # whether there is a diffusion direction
    Private(0x0019, _SIEMENS_MR, 0x0E, "FD"),  # diffusion direction
    Private(0x0019, _SIEMENS_MR, 0x27, "FD"),  # b-matrix
)


def private_tags() -> Iterator[BaseTag]:
    """Tags to request from pydicom so that `find_private` finds the attributes in `_READ`."""
    for group in {one.group for one in _READ}:
        yield from (Tag(group, block) for block in _BLOCKS)
    for one in _READ:
        yield from (Tag(one.group, block << 8 | one.element) for block in _BLOCKS)


def find_private(dataset: Dataset, wanted: Private) -> DataElement | None:
    """Find a private attribute; None if the header lacks it.

    Some exports drop the creators, so the first block is used if it has none.
    """
    for tag in sorted(dataset.keys()):
        if tag.group == wanted.group and tag.element & 0xFF == wanted.element:
            block = tag.element >> 8
            owner = Tag(wanted.group, block)
            if owner in dataset:
                if private_text(dataset[owner]).casefold() == wanted.owner.casefold():
                    return dataset[tag]
            elif block == _BLOCKS.start:
                return dataset[tag]
    return None


def private_text(element: DataElement) -> str:
    """Value of an element as text; in files of implicit VR it is raw bytes."""
    value = element.value
    if isinstance(value, bytes):
        return value.decode("ascii", "replace").strip("\0 ")
    return "" if value is None else str(value).strip()


def keep_known_private(dataset: Dataset) -> None:
    """Remove all private attributes except those that define the meaning of voxels."""
    kept = [(one, find_private(dataset, one)) for one in _KEPT]
    dataset.remove_private_tags()
    for one, element in kept:
        if element is None or element.is_empty:
            continue
        dataset.add_new(Tag(one.group, element.tag.element >> 8), "LO", one.owner)
        if element.VR == "UN" and one.vr in _TEXT_VRS:
            dataset.add_new(element.tag, one.vr, private_text(element))
        else:
            dataset[element.tag] = element
