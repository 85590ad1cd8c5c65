"""Measures of the stored slices of one patient: regions, detection, noise and borders."""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from amir_lightning.clinical.regions import Region, Regions
from amir_lightning.metrics.clinical import Image, Place, Spacing, lesions, noise, sharpness
from amir_lightning.metrics.clinical.places import border_distance, centres, ring, squares, take
from amir_lightning.runs.clinical import Image as Name
from amir_lightning.runs.clinical import Row
from amir_lightning.tasks import Task

Options = Mapping[str, Mapping[str, float]]

_SEEN: tuple[Name, ...] = ("hq", "input", "restored")
_FEWEST = 8  # pixels of a ring around a lesion


class Slices(NamedTuple):
    """All stored slices of a patient.

    Attributes:
        task: Their task.
        patient: Hashed patient id.
        images: HQ, input and restored slices, and the truth where it is known, (S, H, W) [units].
        spacing_mm: Distance between rows and columns [mm].
    """

    task: Task
    patient: str
    images: Mapping[Name, Image]
    spacing_mm: Spacing

    @property
    def reference(self) -> Image:
        """The truth, or HQ where there is none."""
        return self.images.get("truth", self.images["hq"])

    @property
    def seen(self) -> Mapping[Name, Image]:
        """Images that a scanner or a network has made."""
        return {name: image for name, image in self.images.items() if name != "truth"}

    @property
    def pixel_mm(self) -> float:
        """Size of a pixel, the mean of both sides [mm]."""
        return sum(self.spacing_mm) / 2

    def row(self, measure: str, region: str, unit: str, values: Mapping[Name, float]) -> Row:
        """A row of this patient."""
        return Row(self.task.name, self.patient, measure, "", region, unit, values)


class Detected(NamedTuple):
    """Contrast-to-noise ratios of one place.

    Attributes:
        lesion: Whether there is a lesion.
        values: Absolute ratio in each image.
    """

    lesion: bool
    values: Mapping[Name, float]


def measure_regions(slices: Slices, regions: Regions, options: Options) -> list[Row]:
    """Measure means of organs and lesions, and contrast recovery and SUV of lesions."""
    unit = slices.task.units
    rows = []
    for one in regions.organs:
        means = {name: float(image[one.mask].mean()) for name, image in slices.images.items()}
        rows.append(slices.row("organ_mean", one.name, unit, means))
        rows.append(slices.row("organ_error", one.name, unit, _errors(means)))
    for one, seen in _contrasts(slices, regions, options):
        means = {name: found.inside for name, found in seen.items()}
        contrasts = {name: found.difference for name, found in seen.items()}
        true = seen.get("truth", seen["hq"])
        recovered = {name: lesions.recovery(found, true) for name, found in seen.items()}
        rows.append(slices.row("lesion_mean", one.name, unit, means))
        rows.append(slices.row("lesion_error", one.name, unit, _errors(means)))
        rows.append(slices.row("lesion_contrast", one.name, unit, contrasts))
        rows.append(slices.row("lesion_recovery", one.name, "1", recovered))
        rows += _suv(slices, one) if unit == "SUV" else []
    return rows


def detect(slices: Slices, regions: Regions, options: Options) -> tuple[list[Row], list[Detected]]:
    """Apply the rule of detection to every lesion, and to discs where there is none.

    A lesion counts if HQ shows it. It is erased from another image that does not show it with the
    sign of its true contrast. A disc counts if the truth, or else HQ, shows nothing there. It is an
    invented lesion of an image that shows something, whatever its sign.
    """
    threshold = options["lesions"]["threshold"]
    rows, places = [], []
    for one, seen in _contrasts(slices, regions, options):
        sign = seen.get("truth", seen["hq"]).difference
        places.append(_detected(True, seen))
        if lesions.is_found(seen["hq"], threshold, sign):
            erased = {
                name: float(not lesions.is_found(seen[name], threshold, sign)) for name in _SEEN
            }
            rows.append(slices.row("lesions_erased", one.name, "1", erased))
    for one, seen in _controls(slices, regions, options["lesions"]):
        if not lesions.is_found(seen.get("truth", seen["hq"]), threshold):
            places.append(_detected(False, seen))
            invented = {name: float(lesions.is_found(seen[name], threshold)) for name in _SEEN}
            rows.append(slices.row("lesions_invented", one.name, "1", invented))
    return rows, places


def measure_noise(
    slices: Slices, regions: Regions, options: Options
) -> tuple[list[Row], list[tuple[Name, Image]]]:
    """Measure the noise in flat squares.

    Returns:
        Rows, and the noise power spectrum of each image in each flat region.

    Raises:
        InputError: A region that a user has marked as flat is not.
    """
    own = options["noise"]
    side, unit = int(own["side"]), slices.task.units
    rows: list[Row] = []
    spectra: list[tuple[Name, Image]] = []
    for one in regions.flat:
        # The flattest anatomy, never the squares in which HQ happens to have little noise.
        anatomy = slices.images.get("truth", np.zeros(one.mask.shape))
        places = squares(one.mask, side, anatomy, int(own["per_slice"]))
        if regions.marked and places:
            where = f"the flat region {one.name} of patient {slices.patient}"
            noise.check_flat(take(slices.images["hq"], places, side), own["most_trend"], where)
        if "truth" in slices.images:
            places = [
                place for place in places if _texture(slices, place, side) <= own["most_texture"]
            ]
        if not places:
            continue
        cut = {name: take(slices.images[name], places, side) for name in _SEEN}
        for measure, number, of_unit in (
            ("noise_sd", noise.deviation, unit),
            ("noise_correlation", noise.neighbour_correlation, "1"),
        ):
            values = {name: number(image) for name, image in cut.items()}
            rows.append(slices.row(measure, one.name, of_unit, values))
        power = {n: noise.power_spectrum(image, slices.spacing_mm) for n, image in cut.items()}
        means = {n: noise.mean_frequency(one, slices.spacing_mm) for n, one in power.items()}
        rows.append(slices.row("noise_frequency", one.name, "1/mm", means))
        spectra += power.items()
    return rows, spectra


def measure_edges(slices: Slices, regions: Regions, options: Options) -> list[Row]:
    """Measure the sharpness of the borders of organs that are one step in the reference."""
    own = options["edges"]
    rows = []
    for one in regions.organs:
        distance = border_distance(one.mask, slices.spacing_mm, own["smoothing"])
        distance[~(one.mask | one.around)] = math.inf
        reach = own["reach_pixels"] * slices.pixel_mm
        edges = {
            name: found
            for name, image in slices.images.items()
            if (found := sharpness.edge_profile(image, distance, reach, slices.pixel_mm))
        }
        most = own["most_plateau"]
        reference = edges.get("truth", edges.get("hq"))
        if reference is None or not sharpness.is_step(reference, most):
            continue
        if not sharpness.is_step(edges["hq"], 2 * most):
            continue  # lost in noise
        for measure, number, unit in (
            ("edge_width", sharpness.edge_width, "mm"),
            ("mtf50", sharpness.half_frequency, "1/mm"),
        ):
            values = {name: number(edge) for name, edge in edges.items()}
            rows.append(slices.row(measure, one.name, unit, values))
    return rows


def _contrasts(
    slices: Slices, regions: Regions, options: Options
) -> Iterator[tuple[Region, Mapping[Name, lesions.Contrast]]]:
    """Contrast of each lesion in each image; without lesions that leave no room for a ring."""
    for one in regions.lesions:
        yield from _contrast(slices, one, options["lesions"])


def _controls(
    slices: Slices, regions: Regions, options: Mapping[str, float]
) -> Iterator[tuple[Region, Mapping[Name, lesions.Contrast]]]:
    """Contrast of discs in organs where there is no lesion."""
    radius = options["control_pixels"] * slices.pixel_mm
    clear = radius + (options["gap_pixels"] + 2) * slices.pixel_mm
    rows, columns = (np.arange(n) for n in slices.reference.shape[1:])
    for organ in regions.organs:
        chosen = centres(organ.mask, clear, 2 * clear, slices.spacing_mm, int(options["controls"]))
        for number, (index, row, column) in enumerate(chosen, 1):
            away = np.hypot(
                (rows - row)[:, None] * slices.spacing_mm[0],
                (columns - column) * slices.spacing_mm[1],
            )
            mask = np.zeros(organ.mask.shape, bool)
            mask[index] = away <= radius
            region = Region(f"{organ.name} {number}", mask, organ.mask)
            yield from _contrast(slices, region, options)


def _contrast(
    slices: Slices, region: Region, options: Mapping[str, float]
) -> Iterator[tuple[Region, Mapping[Name, lesions.Contrast]]]:
    own = np.flatnonzero(region.mask.any(axis=(1, 2)))
    mask, allowed = region.mask[own], region.around[own]
    inner, outer = (options[key] * slices.pixel_mm for key in ("gap_pixels", "ring_pixels"))
    around = ring(mask, allowed, inner, outer, slices.spacing_mm)
    if np.count_nonzero(around) >= _FEWEST:
        yield (
            region,
            {n: lesions.contrast(image[own], mask, around) for n, image in slices.images.items()},
        )


def _suv(slices: Slices, lesion: Region) -> list[Row]:
    """SUVmax, SUVmean and SUVpeak of a lesion, and their share of its true uptake."""
    true = lesion.value
    rows = []
    for measure, number in (
        ("suv_max", lambda image: float(image[lesion.mask].max())),
        ("suv_mean", lambda image: float(image[lesion.mask].mean())),
        ("suv_peak", lambda image: lesions.suv_peak(image, lesion.mask, slices.spacing_mm)),
    ):
        values: dict[Name, float] = {name: number(image) for name, image in slices.seen.items()}
        full = values["hq"] if true is None else true
        if true is not None:
            values["truth"] = true
        rows.append(slices.row(measure, lesion.name, "SUV", values))
        if full > 0:
            shares = {name: value / full for name, value in values.items()}
            rows.append(slices.row(f"{measure}_recovery", lesion.name, "1", shares))
    return rows


def _detected(lesion: bool, seen: Mapping[Name, lesions.Contrast]) -> Detected:
    return Detected(lesion, {name: abs(seen[name].to_noise) for name in _SEEN})


def _texture(slices: Slices, place: Place, side: int) -> float:
    """Standard deviation of the truth in a square, as a share of that of HQ."""
    truth, hq = (
        noise.deviation(take(slices.images[name], [place], side)) for name in ("truth", "hq")
    )
    return truth / hq if hq > 0 else math.inf


def _errors(means: Mapping[Name, float]) -> dict[Name, float]:
    """Absolute differences from the truth, or from HQ where there is none."""
    true = means.get("truth", means["hq"])
    return {name: abs(mean - true) for name, mean in means.items()}
