"""Drop DICOM values that do not have the type given in the dictionary."""

import math
from collections.abc import Iterable

from pydicom.datadict import dictionary_has_tag, dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

# Dropping these would silently change the voxel values, so the file is refused instead.
_RESCALE = {Tag("RescaleSlope"), Tag("RescaleIntercept")}
_NUMBER_VRS = {"DS", "IS", "FL", "FD", "SL", "SS", "UL", "US"}
_TEXT_VRS = {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}


class WrongRescaleError(Exception):
    """Rescale slope or intercept is not a number; the message is its keyword."""


def keep_valid(dataset: Dataset, tags: Iterable[BaseTag]) -> None:
    """Convert raw values, and drop those of the wrong type, also inside sequences.

    Args:
        dataset: Dataset as it was read; modified.
        tags: Tags to convert; absent ones are ignored.

    Raises:
        WrongRescaleError: The rescale slope or intercept is not a number.
    """
    for tag in [tag for tag in tags if tag in dataset]:
        try:
            element = dataset[tag]
            valid = _is_valid(element)
        except Exception:  # pydicom's converters can raise anything
            valid = False
        if not valid:
            if tag in _RESCALE:
                raise WrongRescaleError(keyword_for_tag(tag))
            del dataset[tag]
        elif element.VR == "SQ" and not tag.is_private:
            for item in element.value:
                keep_valid(item, list(item.keys()))


def _is_valid(element: DataElement) -> bool:
    """Whether a value matches its dictionary VR and multiplicity.

    The VR stored in a file can be wrong, so it is not trusted.
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
