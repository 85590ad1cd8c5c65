"""Values of DICOM elements that are what the dictionary says they are."""

import math
from collections.abc import Iterable

from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

# Without these a voxel would silently be another value, so that they are refused and not dropped.
_RESCALE = {Tag("RescaleSlope"), Tag("RescaleIntercept")}
_NUMBER_VRS = {"DS", "IS", "FL", "FD", "SL", "SS", "UL", "US"}
_TEXT_VRS = {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}


class WrongRescaleError(Exception):
    """A rescale slope or intercept that is no number; the message is its keyword."""


def keep_valid(dataset: Dataset, tags: Iterable[BaseTag]) -> None:
    """Convert values now, and drop those that break their type.

    Args:
        dataset: Elements as they were read.
        tags: Which of them, if they are there.

    Raises:
        WrongRescaleError: One of them tells what the voxels mean.
    """
    for tag in [tag for tag in tags if tag in dataset]:
        try:
            element = dataset[tag]
            valid = _is_valid(element)
        except Exception:  # converters raise anything
            valid = False
        if not valid:
            if tag in _RESCALE:
                raise WrongRescaleError(keyword_for_tag(tag))
            del dataset[tag]
        elif element.VR == "SQ" and not tag.is_private:
            for item in element.value:
                keep_valid(item, list(item.keys()))


def _is_valid(element: DataElement) -> bool:
    """Whether a value is of the kind, and alone where it has to be, as the dictionary says.

    A file may say of any element that it is text, or a sequence.
    """
    if not dictionary_has_tag(element.tag):
        return True
    expected = dictionary_VR(element.tag)
    if (element.VR == "SQ") != (expected == "SQ"):
        return False
    if element.is_empty:
        return element.value is None or expected[:2] not in _NUMBER_VRS
    if expected[:2] not in _NUMBER_VRS | _TEXT_VRS:
        return True
    values = [element.value] if element.VM == 1 else list(element.value)
    if len(values) > 1 and dictionary_VM(element.tag) == "1":
        return False
    if expected[:2] in _TEXT_VRS:
        return all(isinstance(value, str) for value in values)
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)
