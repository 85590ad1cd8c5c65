"""The abdominal CT phantom: reproducible, in HU, and built like a patient."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from amir_lightning.io.volume import Volume
from amir_lightning.phantoms.abdomen.patient import Patient
from amir_lightning.phantoms.abdomen.phantom import FIELD_MM, Abdomen
from amir_lightning.phantoms.fields import Grid
from amir_lightning.phantoms.paths import smooth_path, vessel_tree

SIZE, SLICES = 96, 6


@pytest.fixture(scope="module")
def patients() -> list[Volume]:
    return [Abdomen(SIZE, SLICES).sample(seed) for seed in range(4)]


def test_same_seed_is_the_same_patient_whatever_the_global_random_state(
    patients: list[Volume],
) -> None:
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    again = Abdomen(SIZE, SLICES).sample(1)
    np.testing.assert_array_equal(again.array, patients[1].array)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_different_seeds_are_different_patients(patients: list[Volume]) -> None:
    for a, b in pairwise(patients):
        assert np.abs(a.array - b.array).mean() > 20


def test_geometry_and_units(patients: list[Volume]) -> None:
    volume = patients[3]
    assert volume.array.shape == (SLICES, SIZE, SIZE)
    assert volume.array.dtype == np.float32
    assert volume.units == "HU"
    assert volume.source == "phantom abdomen seed 3"
    assert volume.spacing_mm == pytest.approx(Grid.over(FIELD_MM, SIZE, SLICES).spacing_mm)
    assert np.sign(np.diag(volume.affine)).tolist() == [-1, -1, 1, 1]  # LPS voxels, RAS world


def test_values_are_finite_hounsfield_units(patients: list[Volume]) -> None:
    for volume in patients:
        assert np.isfinite(volume.array).all()
        assert volume.array.min() >= -1024
        assert volume.array.max() <= 3071


def test_air_surrounds_the_patient(patients: list[Volume]) -> None:
    for volume in patients:
        array = volume.array
        for border in (array[:, 0], array[:, -1], array[:, :, 0], array[:, :, -1]):
            np.testing.assert_array_equal(border, -1000)
        outside = np.hypot(*_offsets_mm()) > FIELD_MM[1] / 2
        np.testing.assert_array_equal(array[:, outside], -1000)  # the scanner sees a circle


def _offsets_mm() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    axis = (np.arange(SIZE) - (SIZE - 1) / 2) * FIELD_MM[1] / SIZE
    return axis[:, None], axis[None, :]


def test_liver_lies_on_the_right(patients: list[Volume]) -> None:
    for seed, volume in enumerate(patients):
        patient = _patient(seed)
        upper = volume.array[SLICES // 2 :]
        liver = np.abs(upper - patient.hu["liver"]) < 9
        right, left = liver[..., : SIZE // 2].sum(), liver[..., SIZE // 2 :].sum()
        assert right > 2 * left
        voxel_ml = np.prod(volume.spacing_mm) / 1000
        assert liver.sum() * voxel_ml > 500  # adults: 1 to 2 litres


def _patient(seed: int) -> Patient:
    stream = np.random.SeedSequence([0xCA7, seed]).spawn(1)[0]
    return Patient.draw(np.random.default_rng(stream))


def test_spine_is_bone_behind_the_middle(patients: list[Volume]) -> None:
    half, reach = SIZE // 2, SIZE // 10
    for volume in patients:
        spine = volume.array[:, half:, half - reach : half + reach]
        front = volume.array[:, : half - SIZE // 8, half - reach : half + reach]
        assert ((spine > 300).sum(axis=(1, 2)) > 5).all()  # in every slice
        assert (front > 300).sum() < (spine > 300).sum() / 20


def test_subcutaneous_fat_is_thicker_in_the_obese(patients: list[Volume]) -> None:
    fat = [np.mean((v.array > -125) & (v.array < -85)) for v in patients]
    assert min(fat) > 0.01
    thickness = [_patient(seed).fat_mm for seed in range(4)]
    assert np.argmax(fat) == np.argmax(thickness)
    assert np.argmin(fat) == np.argmin(thickness)


def test_lung_is_above(patients: list[Volume]) -> None:
    for volume in patients:
        lung = (volume.array > -880) & (volume.array < -780)
        assert lung[-1].sum() > lung[0].sum()


def test_same_patient_at_every_size() -> None:
    small = Abdomen(64, 3).sample(7).array
    large = Abdomen(128, 3).sample(7).array
    pooled = large.reshape(3, 64, 2, 64, 2).mean(axis=(2, 4))
    assert np.corrcoef(small.ravel(), pooled.ravel())[0, 1] > 0.98
    window = [np.clip(a, -160, 240).ravel() for a in (small, pooled)]
    assert np.corrcoef(*window)[0, 1] > 0.95


def test_same_patient_with_more_slices() -> None:
    # With three times the slices every middle one lies at the same height.
    few, many = Abdomen(64, 2).sample(4).array, Abdomen(64, 6).sample(4).array
    assert np.corrcoef(few.ravel(), many[1::3].ravel())[0, 1] > 0.999


def test_patients_vary() -> None:
    drawn = [_patient(seed) for seed in range(60)]
    assert {p.num_lesions > 0 for p in drawn} == {True, False}
    assert np.ptp([p.fat_mm for p in drawn]) > 10
    assert np.std([p.hu["liver"] for p in drawn]) > 4
    for p in drawn:
        assert p.hu["metastasis"] < p.hu["liver"] < p.hu["blood"]
        half_width = 138 * p.scale[2] + p.fat_mm
        assert half_width < FIELD_MM[1] / 2 - 10


def test_vessels_taper_and_connect() -> None:
    pieces = list(vessel_tree(np.random.default_rng(0), (0, 0, 0), (1, 0, 0), 4.0, 20.0, 4))
    assert len(pieces) == 2 * (2**4 - 1)
    ends = {piece.end for piece in pieces} | {(0.0, 0.0, 0.0)}
    for piece in pieces:
        assert piece.start in ends
        assert piece.radii[1] < piece.radii[0] <= 4.0


def test_smooth_path_passes_through_its_nodes() -> None:
    nodes = np.random.default_rng(1).normal(size=(5, 3))
    np.testing.assert_allclose(smooth_path(nodes, pieces=4)[::4], nodes, atol=1e-12)
