"""Check the units of a scan by its value range, such as a CT in [0, 1] or a PET in counts."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from amir_lightning.errors import InputError
from amir_lightning.tasks import ARBITRARY_UNITS, Task

_SAMPLE = 2_000_000  # number of voxels for the percentiles


def check_units(images: NDArray[np.floating], task: Task, name: str) -> None:
    """Refuse a scan whose value range does not fit the task's units.

    Args:
        images: Voxels that cover the value range of the scan, any shape.
        task: The task; its `plausible` ranges are used.
        name: Name of the scan in the error.

    Raises:
        InputError: The 1st or the 99.9th percentile is out of its plausible range.
    """
    if task.plausible is None:
        return
    values = images.reshape(-1)
    values = values[:: max(1, values.size // _SAMPLE)]
    low, high = (float(value) for value in np.percentile(values, (1, 99.9)))
    ranges = task.plausible
    if _inside(low, ranges["low"]) and _inside(high, ranges["high"]):
        return
    scale = ""
    if task.units == ARBITRARY_UNITS:
        scale = f", or intensity_scale=<factor> to rescale {task.units}"
    raise InputError(
        f"{name} has values from {values.min():.4g} to {values.max():.4g} (1 % below {low:.4g}, "
        f"0.1 % above {high:.4g}), which are not {task.units}: expected the 1st percentile in "
        f"{_text(ranges['low'])} and the 99.9th in {_text(ranges['high'])}; convert the scan to "
        f"{task.units}, or type force_units=true to take it as it is{scale}"
    )


def _inside(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] <= value <= bounds[1]


def _text(bounds: Iterable[float]) -> str:
    return " to ".join(f"{bound:g}" for bound in bounds)
