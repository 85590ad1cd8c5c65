"""Clinical measures of a split, from its restored slices and from repeated scans of phantoms."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from amir_lightning.clinical import known, patients
from amir_lightning.clinical.detection import Place, detection_area, receiver_curves
from amir_lightning.clinical.inserts import Insert, scan_inserts
from amir_lightning.clinical.masks import Masks
from amir_lightning.clinical.patients import Slices
from amir_lightning.clinical.regions import Regions, of_phantom
from amir_lightning.clinical.rescans import Restore, anatomies_of, measure_draws
from amir_lightning.config import plain
from amir_lightning.data.embedded import Cohort
from amir_lightning.data.splits import Split
from amir_lightning.data.store import SliceRef, Store
from amir_lightning.errors import InputError
from amir_lightning.io.volume import Labels
from amir_lightning.metrics.clinical import Image, noise
from amir_lightning.runs.clinical import (
    MEASURES,
    Clinical,
    Curve,
    Overall,
    Row,
    of_patients,
    of_tasks,
)
from amir_lightning.runs.clinical import Image as Name
from amir_lightning.system.wording import counted
from amir_lightning.tasks import Task

_log = logging.getLogger(__name__)
Volumes = list[tuple[SliceRef, Image, Image, Image]]  # LQ, HQ and restored slices of a patient

_BY_MASK = tuple(MEASURES)[: tuple(MEASURES).index("insert_recovery")]
_OF_INSERTS = ("insert_recovery", "ttf50", "observer_auc", "observer_gain")
_WITHOUT = {
    "lesion": "no lesion has measures.lesions.fewest_pixels pixels in the scored slices",
    "suv": "no lesion has measures.lesions.fewest_pixels pixels in the scored slices",
    "organ": "no organ has measures.organs.fewest_pixels pixels in the scored slices",
    "lesions_erased": "HQ shows no lesion in the scored slices",
    "lesions_invented": "no organ is wide enough for a disc without a lesion",
    "detection": "the rule needs places with and without a lesion",
    "noise": "no flat region holds a square of measures.noise.side pixels",
    "edge": "no border of an organ is one step",
    "mtf50": "no border of an organ is one step",
    "ttf50": "no added lesion stands out of the noise of the restored images",
}
_NO_PHANTOM = "lesions of known contrast and repeated scans need embedded patients"


@dataclass(frozen=True)
class Setting:
    """What is measured, and on what.

    Attributes:
        stores: Data file of each task.
        split: Scored split.
        options: The node ``measures`` of the configuration.
        cohort: Numbers of embedded patients.
        masks: Folder of a user's masks; None for those of phantoms.
        bootstrap: Resamples of the patients for the intervals.
    """

    stores: Mapping[Task, Path]
    split: Split
    options: Mapping[str, Any]
    cohort: Cohort
    masks: Path | None
    bootstrap: int


def options_of(cfg: DictConfig) -> dict[str, object]:
    """Options of a command that decide the clinical measures."""
    return {"measures": plain(cfg.measures), "masks": cfg.masks, "bootstrap": cfg.bootstrap}


def open_scoring(run: DictConfig, cfg: DictConfig, stores: Mapping[Task, Path]) -> "Scoring":
    """Prepare the clinical measures of a run.

    Args:
        run: Configuration of the run.
        cfg: Options of the command: split, masks, measures and bootstrap.
        stores: Data file of each task.

    Raises:
        InputError: The folder of masks cannot be used.
    """
    cohort = Cohort(**{str(key): value for key, value in run.data.phantoms.items()})
    masks = None if cfg.masks is None else Path(cfg.masks)
    options = plain(cfg.measures)
    return Scoring(Setting(stores, cfg.split, options, cohort, masks, cfg.bootstrap))


class Scoring:
    """Collects restored slices, and measures each patient when it is complete.

    Args:
        setting: What is measured.

    Raises:
        InputError: The folder of masks cannot be used.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self._tasks = {task.name: task for task in setting.stores}
        self._stores = {task.name: Store(path, task.name) for task, path in setting.stores.items()}
        self._refs = {
            name: {(ref.patient, ref.slice_index): ref for ref in store.slices(setting.split)}
            for name, store in self._stores.items()
        }
        self._masks = None if setting.masks is None else Masks(setting.masks)
        if self._masks is not None:
            self._masks.check((one, one.slices(setting.split)) for one in self._stores.values())
        self._current: tuple[str, Volumes] | None = None
        self._rows: list[Row] = []
        self._places: dict[str, list[Place]] = {}
        self._spectra: dict[str, list[tuple[Name, Image, Image]]] = {}
        self._unmarked: dict[str, int] = {}

    def add(
        self, task: str, patient: str, slice_index: int, lq: Image, hq: Image, restored: Image
    ) -> None:
        """Take one slice, (H, W) each [units]; the slices of a patient follow each other."""
        ref = self._refs[task][patient, slice_index]
        if self._current is not None:
            name, volumes = self._current
            if (name, volumes[0][0].patient) == (task, patient):
                volumes.append((ref, lq, hq, restored))
                return
        self._measure()
        self._current = task, [(ref, lq, hq, restored)]

    def finish(self, restore: Restore) -> Clinical:
        """Measure the last patient, scan embedded patients again, and sum up.

        Args:
            restore: Restores slices of a task.

        Raises:
            InputError: A region that is marked as flat is not, or an option is not possible.
        """
        self._measure()
        overall: list[Overall] = []
        curves: list[Curve] = []
        reasons: dict[str, dict[str, str]] = {}
        for name, task in self._tasks.items():
            why = self._without_regions(name)
            if why:
                _log.warning("%s: %s", name, why)
            reasons[name] = dict.fromkeys(_BY_MASK, why)
            if self._stores[name].source == "phantoms":
                _log.info("%s: scanning embedded patients again", name)
                found, missing = self._scan_again(task, restore)
                overall += found
                reasons[name].update(missing)
            else:
                reasons[name].update(dict.fromkeys(_OF_INSERTS, _NO_PHANTOM))
            places = self._places.get(name, [])
            overall += detection_area(task, places, self.setting.bootstrap)
            curves += receiver_curves(task, places)
            curves += _noise_curves(task, self._spectra.get(name, []))
        means = of_tasks(of_patients(self._rows), self.setting.bootstrap)
        order = {measure: at for at, measure in enumerate(MEASURES)}
        names = [*self._tasks]
        overall = [*means, *overall]
        overall += [one for n in names for one in _left_out(self._tasks[n], overall, reasons[n])]
        overall.sort(key=lambda one: (names.index(one.task), order[one.measure]))
        return Clinical(self._rows, overall, curves)

    def _measure(self) -> None:
        """Measure the patient whose slices have been collected."""
        if self._current is None:
            return
        (name, volumes), self._current = self._current, None
        task, store = self._tasks[name], self._stores[name]
        refs = [ref for ref, *_ in volumes]
        _, row, column = store.spacing_mm(refs[0].patient)
        lq, hq, restored = (
            np.stack([one[at] for one in volumes]).astype(np.float32) for at in (1, 2, 3)
        )
        images: dict[Name, Image] = {"hq": hq, "input": lq, "restored": restored}
        truths = [store.truth(ref) for ref in refs]
        values = [one.values for one in truths if one is not None]
        if len(values) == len(refs):
            low, high = task.value_range
            images["truth"] = np.clip(np.stack(values), low, high)
        regions = self._regions(store, refs, [one and one.labels for one in truths], task)
        if regions is None:
            self._unmarked[name] = self._unmarked.get(name, 0) + 1
            return
        options = self.setting.options
        fewest = options["lesions"]["fewest_pixels"], options["organs"]["fewest_pixels"]
        regions = regions.without_small(*fewest, refs[0].patient)
        slices = Slices(task, refs[0].patient, images, (row, column))
        self._rows += patients.measure_regions(slices, regions, options)
        rows, detected = patients.detect(slices, regions, options)
        self._rows += rows
        self._places.setdefault(name, []).extend(Place(slices.patient, one) for one in detected)
        rows, spectra = patients.measure_noise(slices, regions, options)
        self._rows += rows
        self._spectra.setdefault(name, []).extend(
            (image, *noise.radial(power, slices.spacing_mm)) for image, power in spectra
        )
        if task.dicom_modality in ("CT", "MR"):
            self._rows += patients.measure_edges(slices, regions, options)

    def _regions(
        self, store: Store, refs: list[SliceRef], labels: list[Labels | None], task: Task
    ) -> Regions | None:
        if self._masks is not None:
            return self._masks.of(store, refs)
        own = [one for one in labels if one is not None]
        if len(own) < len(refs):
            return None
        stacked = Labels(
            np.stack([one.organs for one in own]),
            np.stack([one.lesions for one in own]),
            own[0].organ_names,
            own[0].lesion_list,
        )
        return of_phantom(stacked, air_is_flat=task.dicom_modality == "MR")

    def _without_regions(self, name: str) -> str:
        """Why measures by mask are missing; empty where there are regions."""
        count = self._unmarked.get(name, 0)
        if not count:
            return ""
        if self._masks is not None:
            patients = counted("patient", count)
            return f"{self._masks.folder} has no mask named <patient>.nii.gz for {patients}"
        return "no organs or lesions are known; type masks=<folder>"

    def _scan_again(self, task: Task, restore: Restore) -> tuple[list[Overall], dict[str, str]]:
        """Measure added lesions and repeated scans of embedded patients."""
        options, bootstrap = self.setting.options, self.setting.bootstrap
        found: list[Overall] = []
        why: dict[str, str] = {}
        store, split = self._stores[task.name], self.setting.split
        anatomies = [*anatomies_of(task, store, split, self.setting.cohort)]
        if not anatomies:
            return found, dict.fromkeys(_OF_INSERTS, _NO_PHANTOM)
        names = {one.number: one.redrawn.patient for one in anatomies}
        _, row, column = store.spacing_mm(anatomies[0].redrawn.patient)
        spacing = row, column
        self._rows += measure_draws(task, anatomies, options["draws"], restore)
        insert = Insert.of(task, options["inserts"])
        scans = [] if insert is None else scan_inserts(task, anatomies, insert, restore)
        if insert is None or not scans:
            size = "any size" if insert is None else f"{insert.radius_mm:g} mm in {insert.organ}"
            return found, dict.fromkeys(_OF_INSERTS, f"no patient has room for a lesion of {size}")
        self._rows += known.recovered(task, insert, scans, spacing, names)
        if task.dicom_modality in ("CT", "MR"):
            found += known.transfer(task, insert, scans, spacing)
        try:
            found += known.observed(task, insert, scans, spacing, options["observer"], bootstrap)
        except InputError as error:
            why = dict.fromkeys(("observer_auc", "observer_gain"), str(error))
        return found, why


def _noise_curves(task: Task, spectra: list[tuple[Name, Image, Image]]) -> list[Curve]:
    """Mean noise power spectrum of each image."""
    curves = []
    for name in dict.fromkeys(image for image, *_ in spectra):
        own = [(at, power) for image, at, power in spectra if image == name]
        first = own[0][0]
        mean = np.mean([np.interp(first, at, power) for at, power in own], axis=0)
        unit = f"1/mm, ({task.units})^2 mm^2"
        points = [*zip(first.tolist(), mean.tolist(), strict=True)]
        curves.append(Curve(task.name, "noise power", name, unit, points))
    return curves


def _left_out(task: Task, found: list[Overall], reasons: Mapping[str, str]) -> list[Overall]:
    """A row with the reason for each measure that a task could have and does not have."""
    there = {one.measure for one in found if one.task == task.name}
    rows = []
    for measure in MEASURES:
        kind = measure.partition("_")[0]
        suits = (kind != "suv" or task.units == "SUV") and (
            measure not in ("edge_width", "mtf50", "ttf50") or task.dicom_modality in ("CT", "MR")
        )
        if suits and measure not in there:
            usual = _WITHOUT.get(measure) or _WITHOUT.get(kind, _NO_PHANTOM)
            reason = reasons.get(measure) or usual
            rows.append(Overall(task.name, measure, "", "", 0, {}, None, reason))
    return rows
