"""Clinical measures: what they are called, and their means over regions, patients and seeds."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from amir_lightning.metrics.clinical import intervals

Image = Literal["truth", "hq", "input", "restored"]
IMAGES: tuple[Image, ...] = ("truth", "hq", "input", "restored")


class Measure(NamedTuple):
    """A kind of number.

    Attributes:
        title: Its name in tables.
        best: The number that would be perfect: a number, or "hq" for that of the high-quality scan.
    """

    title: str
    best: float | Literal["hq"]

    def error(self, restored: float, hq: float) -> float:
        """Distance of a number from the best one."""
        return abs(restored - (hq if self.best == "hq" else self.best))


MEASURES: Mapping[str, Measure] = {
    "lesion_error": Measure("Lesions, error of the mean", 0),
    "lesion_recovery": Measure("Lesions, contrast recovery", 1),
    "suv_max_recovery": Measure("Lesions, recovery of SUVmax", 1),
    "suv_mean_recovery": Measure("Lesions, recovery of SUVmean", 1),
    "suv_peak_recovery": Measure("Lesions, recovery of SUVpeak", 1),
    "organ_error": Measure("Organs, error of the mean", 0),
    "lesions_erased": Measure("Lesions erased", 0),
    "lesions_invented": Measure("Lesions invented", 0),
    "detection_auc": Measure("Area of the detection rule", 1),
    "noise_sd": Measure("Noise, standard deviation", "hq"),
    "noise_correlation": Measure("Noise, correlation of neighbours", "hq"),
    "noise_frequency": Measure("Noise, mean frequency", "hq"),
    "edge_width": Measure("Edges, 10-90 % width", "hq"),
    "mtf50": Measure("Edges, 50 % of the transfer", "hq"),
    "insert_recovery": Measure("Inserts, contrast recovery", 1),
    "ttf50": Measure("Inserts, 50 % of the transfer", "hq"),
    "observer_auc": Measure("Model observer, area", 1),
    "observer_gain": Measure("Model observer, gain in area", 1),
    "bias": Measure("Repeated scans, bias", 0),
    "spread": Measure("Repeated scans, spread", 0),
}
"""Measures by their name in the files, in the order of tables."""


class Row(NamedTuple):
    """One measure of one region, of a patient or of all patients of a task.

    Attributes:
        task: Name of the task.
        patient: Hashed patient id; empty for all.
        measure: One of `MEASURES`, or a number of a region that is only shown region by region.
        level: Contrast of inserted lesions with its unit; empty for other measures.
        region: Name of the region; empty for a patient as a whole.
        unit: Unit of the numbers; "1" for ratios and shares.
        values: Number of each image that has one.
    """

    task: str
    patient: str
    measure: str
    level: str
    region: str
    unit: str
    values: Mapping[Image, float]


class Overall(NamedTuple):
    """One measure of all patients of a task.

    Attributes:
        task: Name of the task.
        measure: One of `MEASURES`.
        level: Contrast of inserted lesions with its unit; empty for other measures.
        unit: Unit of the numbers.
        patients: Patients that have the measure.
        values: Mean over the patients of each image.
        interval: 95 % interval over the patients of the restored image's number.
        left_out: Reason why there are no numbers; empty where there are.
    """

    task: str
    measure: str
    level: str
    unit: str
    patients: int
    values: Mapping[Image, float]
    interval: tuple[float, float] | None
    left_out: str = ""

    @property
    def title(self) -> str:
        """Name of the measure in tables, with the contrast."""
        return MEASURES[self.measure].title + (f", {self.level}" if self.level else "")

    @property
    def error(self) -> float:
        """Distance of the restored image's number from the best one."""
        return MEASURES[self.measure].error(self.values["restored"], self.values.get("hq", 0.0))


class Curve(NamedTuple):
    """One curve of a task.

    Attributes:
        task: Name of the task.
        kind: "noise power" or "receiver".
        image: The image that it describes.
        unit: Units of both axes.
        points: Pairs of x and y.
    """

    task: str
    kind: str
    image: str
    unit: str
    points: Sequence[tuple[float, float]]


class Clinical(NamedTuple):
    """All measures of an evaluation.

    Attributes:
        regions: Rows of single regions.
        overall: Rows of whole tasks.
        curves: Curves.
    """

    regions: Sequence[Row]
    overall: Sequence[Overall]
    curves: Sequence[Curve]


def of_patients(rows: Iterable[Row]) -> list[Row]:
    """Average the rows of the regions of each patient, for every measure of `MEASURES`.

    Numbers that are not finite, such as the width of a border that does not rise, are left out.
    """
    groups: dict[tuple[str, str, str, str, str], list[Row]] = {}
    for row in rows:
        if row.measure in MEASURES:
            key = (row.task, row.patient, row.measure, row.level, row.unit)
            groups.setdefault(key, []).append(row)
    found = []
    for (task, patient, measure, level, unit), own in groups.items():
        means = {image: _mean([row.values.get(image) for row in own]) for image in IMAGES}
        values = {image: mean for image, mean in means.items() if mean is not None}
        if "restored" in values:
            found.append(Row(task, patient, measure, level, "", unit, values))
    return found


def of_tasks(patients: Sequence[Row], bootstrap: int) -> list[Overall]:
    """Average the rows of patients over each task, with the interval of the restored number."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in patients:
        groups.setdefault((row.task, row.measure, row.level, row.unit), []).append(row)
    found = []
    for (task, measure, level, unit), own in groups.items():
        means = {image: _mean([row.values.get(image) for row in own]) for image in IMAGES}
        restored = [row.values["restored"] for row in own]
        values = {image: mean for image, mean in means.items() if mean is not None}
        interval = intervals.of_mean(restored, bootstrap)
        found.append(Overall(task, measure, level, unit, len(own), values, interval))
    return found


def mean_overall(runs: Sequence[Sequence[Overall]]) -> list[Overall]:
    """Average the measures of tasks over seeds.

    The bounds of the intervals are averaged, too. This is cautious: the mean over seeds varies less
    from patient to patient than each of them.
    """
    if len(runs) == 1:
        return [*runs[0]]
    keys = [{(one.task, one.measure, one.level): one for one in run} for run in runs]
    found = []
    for key, first in keys[0].items():
        own = [one[key] for one in keys if key in one]
        values: dict[Image, float] = {
            image: sum(one.values[image] for one in own) / len(own)
            for image in first.values
            if all(image in one.values for one in own)
        }
        bounds = [one.interval for one in own if one.interval is not None]
        interval = None
        if len(bounds) == len(own):
            low, high = (sum(ends) / len(ends) for ends in zip(*bounds, strict=True))
            interval = low, high
        found.append(first._replace(values=values, interval=interval))
    return found


def mean_rows(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """Average the number of each patient over seeds."""
    groups: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in (row for run in runs for row in run):
        groups.setdefault((row.task, row.patient, row.measure, row.level), []).append(row)
    found = []
    for own in groups.values():
        restored = sum(row.values["restored"] for row in own) / len(own)
        found.append(own[0]._replace(values={**own[0].values, "restored": restored}))
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return sum(finite) / len(finite) if finite else None
