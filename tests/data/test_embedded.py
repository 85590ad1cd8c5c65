"""Embedded patients in a store: pairs, and beside them what the phantom drew."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor

from amir_lightning.data.dataset import PairedSlices
from amir_lightning.data.embedded import Cohort, embedded_store, redraw
from amir_lightning.data.store import SliceRef, Store, Truth
from amir_lightning.degradation import OneOf
from amir_lightning.degradation.parameters import value_of
from amir_lightning.errors import InputError
from amir_lightning.io.volume import Labels, Lesion, Volume, lps_affine
from amir_lightning.tasks import Plane, Task, load_task

COHORT = Cohort(train=1, val=0, test=1)
LESIONS = (Lesion("cyst", 6.5), Lesion("hidden", 1.0))


@dataclass(frozen=True)
class Ramp:
    """An own phantom, all voxels different; `labels` is "none", "whole" or "short"."""

    size: int = 24
    num_slices: int = 20
    labels: str = "whole"

    def sample(self, seed: int) -> Volume:
        shape = (self.num_slices, self.size, self.size + 4)
        array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 1000 + seed
        array[:, :3] = array[:, :, :4] = 0  # air, which is left out
        volume = Volume(array, lps_affine((2.0, 3.0, 3.0)), "SUV", f"ramp {seed}")
        if self.labels == "none":
            return volume
        organs, lesions = organs_of(array), lesions_of(array)
        if self.labels == "short":
            organs = organs[:3]
        return replace(volume, labels=Labels(organs, lesions, ("air", "left", "right"), LESIONS))


def organs_of(truth: np.ndarray) -> np.ndarray:
    return ((truth > 3).astype(np.uint8) + (truth > 7)).astype(np.uint8)


def lesions_of(truth: np.ndarray) -> np.ndarray:
    return ((truth > 4) & (truth < 5)).astype(np.uint8)


@dataclass(frozen=True)
class Twice:
    """HQ is the truth, LQ the double of it."""

    def acquire(
        self, truth: Tensor, spacing_mm: tuple[float, float, float], seed: int
    ) -> tuple[Tensor, Tensor]:
        return 2 * truth, truth


def own_task(plane: Plane, labels: str, phantom_slices: int | None = 5) -> Task:
    return replace(
        load_task("pet"),
        plane=plane,
        phantom={"_target_": f"{__name__}.Ramp", "num_slices": 20, "labels": labels},
        phantom_slices=phantom_slices,
        degradation={"_target_": f"{__name__}.Twice"},
    )


def every(store: Store) -> list[SliceRef]:
    return [*store.slices("train"), *store.slices("test")]


@pytest.mark.parametrize("plane", ["axial", "coronal"])
def test_patients_can_be_drawn_again_to_be_scanned_in_another_way(
    tmp_path: Path, plane: Plane
) -> None:
    task = own_task(plane, "whole")
    store = Store(embedded_store(task, COHORT, tmp_path), task.name)
    (again,) = redraw(task, COHORT, "test")
    assert [again.patient] == store.patients("test")
    slices = again.volume.array.transpose({"axial": (0, 1, 2), "coronal": (1, 2, 0)}[plane])
    for ref in store.slices("test"):
        truth = store.truth(ref)
        assert truth is not None
        assert np.array_equal(slices[ref.slice_index], truth.values)
    (trained,) = redraw(task, COHORT, "train")
    assert trained.seed != again.seed


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("phantom_slices", [5, None])
def test_the_truth_lies_in_the_rows_of_its_pairs(
    tmp_path: Path, plane: Plane, phantom_slices: int | None
) -> None:
    store = Store(embedded_store(own_task(plane, "whole", phantom_slices), COHORT, tmp_path))
    refs = every(store)
    assert len(refs) == 2 * 5 if phantom_slices else len(refs) > 2 * 5
    for ref in refs:
        (lq, hq), truth = store.read(ref), store.truth(ref)
        assert truth is not None
        assert truth.labels is not None
        np.testing.assert_array_equal(truth.values, hq)
        np.testing.assert_array_equal(truth.labels.organs, organs_of(hq))
        np.testing.assert_array_equal(truth.labels.lesions, lesions_of(hq))
        np.testing.assert_array_equal(lq, 2 * hq)
        assert truth.values.dtype == np.float32
        assert truth.labels.organs.dtype == truth.labels.lesions.dtype == np.uint8
        assert truth.labels.organ_names == ("air", "left", "right")
        assert truth.labels.lesion_list == LESIONS


def test_a_phantom_of_ones_own_needs_no_labels(tmp_path: Path) -> None:
    store = Store(embedded_store(own_task("coronal", "none"), COHORT, tmp_path))
    for ref in every(store):
        truth = store.truth(ref)
        assert truth is not None
        np.testing.assert_array_equal(truth.values, store.read(ref)[1])
        assert truth.labels is None


def test_labels_on_another_grid_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ramp 0 is \(20, 24, 28\) voxels, its organs \(3, 24"):
        embedded_store(own_task("coronal", "short"), COHORT, tmp_path)
    assert not list(tmp_path.glob("*.h5"))


def test_the_truth_changes_neither_pairs_nor_fingerprint(tmp_path: Path) -> None:
    paths = {
        labels: embedded_store(own_task("coronal", labels), COHORT, tmp_path / labels)
        for labels in ("whole", "none")
    }
    with h5py.File(paths["none"], "a") as file:  # as stores were written before
        for group in file.values():
            del group["truth"]
    new, old = Store(paths["whole"], "pet"), Store(paths["none"], "pet")
    assert new.fingerprint == old.fingerprint
    for ref in every(old):
        assert old.truth(ref) is None
        np.testing.assert_array_equal(old.read(ref), new.read(ref))


def test_a_shipped_phantom_is_stored_with_its_organs(tmp_path: Path) -> None:
    mri = load_task("mri")
    task = replace(mri, phantom={**mri.phantom, "size": 32}, phantom_slices=3)
    store = Store(embedded_store(task, COHORT, tmp_path))
    for ref in every(store):
        known = store.truth(ref)
        assert known is not None
        assert known.labels is not None
        fluid = known.labels.organs == known.labels.organ_names.index("ventricles")
        if fluid.any():
            assert known.values[fluid].mean() > 2 * known.values[~fluid].mean()
    assert any(
        (store.truth(ref).labels.organs > 0).mean() > 0.2  # type: ignore[union-attr]
        for ref in every(store)
    )


@pytest.mark.parametrize("trick", ["external", "shape", "type", "names", "kinds"])
def test_truth_that_is_not_as_it_was_written_is_refused(tmp_path: Path, trick: str) -> None:
    path = embedded_store(own_task("coronal", "whole"), COHORT, tmp_path)
    secret = tmp_path / "secret.hdf"
    with h5py.File(path, "a") as file, h5py.File(secret, "w") as other:
        group = file[sorted(file)[0]]
        shape = group["organs"].shape
        names = dict(group["organs"].attrs)
        other["organs"] = np.ones(shape, np.uint8)
        other["organs"].attrs.update(names)
        if trick == "names":
            group["organs"].attrs["names"] = "not JSON"
        elif trick == "kinds":
            group["lesions"].attrs["kinds"] = json.dumps(["cyst"])
        else:
            del group["organs"]
            if trick == "external":
                group["organs"] = h5py.ExternalLink(secret, "organs")
            else:
                group["organs"] = (
                    np.ones(shape, np.int64)
                    if trick == "type"
                    else np.ones((shape[0], 3, 3), np.uint8)
                )
                group["organs"].attrs.update(names)
    store = Store(path)
    with pytest.raises(InputError, match=r"refers to other data|is damaged|other types"):
        [store.truth(ref) for ref in every(store)]


def test_truth_of_another_shape_is_not_written(tmp_path: Path) -> None:
    from test_store import patient, write

    short = patient("A", truth=Truth(np.zeros((2, 20, 30), np.float32), None))
    with pytest.raises(InputError, match=r"truth of \(2, 20, 30\) and HQ slices of \(3, 20, 30\)"):
        write(tmp_path / "ct.h5", [short])


@pytest.mark.parametrize("units", ["a.u.", "SUV"])
def test_brightness_varies_from_patch_to_patch_in_arbitrary_units_alone(
    tmp_path: Path, units: str
) -> None:
    task = replace(own_task("axial", "none"), units=units)
    part = PairedSlices(embedded_store(task, COHORT, tmp_path), task, 0, "train")
    factors = []
    for counter in range(20):
        plain = part.patch(0, 1, counter, 9, positives=True)
        found = part.patch(0, 1, counter, 9, positives=True, brightness=(0.25, 0.75))
        assert plain.positive is not None
        assert found.positive is not None
        factor = float(found.hq.sum() / plain.hq.sum())
        torch.testing.assert_close(found.lq, plain.lq * factor)
        torch.testing.assert_close(found.hq, plain.hq * factor)
        torch.testing.assert_close(found.positive, plain.positive * factor)
        factors.append(factor)
    if units == "a.u.":
        assert 0.25 <= min(factors) < 0.4 < 0.6 < max(factors) <= 0.75
    else:
        assert factors == [1.0] * 20


def test_a_parameter_of_a_phantom_may_be_drawn_for_each_patient(tmp_path: Path) -> None:
    task = own_task("axial", "whole")
    sizes = {"_target_": "amir_lightning.degradation.OneOf", "values": [24, 32]}
    task = replace(task, phantom={**task.phantom, "size": sizes})
    cohort = Cohort(train=12, val=0, test=0)
    store = Store(embedded_store(task, cohort, tmp_path), task.name)
    heights = {ref.patient: store.shape(ref)[0] for ref in store.slices("train")}
    expected = [int(value_of(OneOf((24, 32)), "size", seed)) for seed in range(12)]
    assert sorted(heights.values()) == sorted(expected)
    assert set(expected) == {24, 32}
    again = {one.patient: one.volume.array.shape[1] for one in redraw(task, cohort, "train")}
    assert again == heights
