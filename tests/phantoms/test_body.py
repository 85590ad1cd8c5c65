from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from amir_lightning.io.volume import Volume
from amir_lightning.phantoms import Body

SMALL = Body(size=64, num_slices=132)


@pytest.fixture(scope="module")
def patients() -> list[Volume]:
    return [SMALL.sample(seed) for seed in range(6)]


def test_the_same_seed_is_the_same_patient_bit_for_bit(patients: list[Volume]) -> None:
    again = Body(size=64, num_slices=132).sample(3)
    assert again.array.tobytes() == patients[3].array.tobytes()
    assert again.source == "phantom body seed 3"


def test_different_seeds_are_different_patients(patients: list[Volume]) -> None:
    for first, second in pairwise(patients):
        assert np.corrcoef(first.array.ravel(), second.array.ravel())[0, 1] < 0.98


def test_volume_is_suv_on_the_scanner_grid(patients: list[Volume]) -> None:
    volume = patients[0]
    assert volume.array.shape == (132, 64, 64)
    assert volume.array.dtype == np.float32
    assert volume.array.flags.c_contiguous
    assert volume.units == "SUV"
    np.testing.assert_allclose(volume.spacing_mm, (748 / 132, 604.8 / 64, 604.8 / 64))


def test_the_paper_grid_has_the_paper_voxels() -> None:
    assert Body() == Body(size=192, num_slices=400)
    assert (604.8 / 192, 748 / 400) == (3.15, 1.87)


def test_uptake_is_finite_and_air_is_exactly_zero(patients: list[Volume]) -> None:
    for volume in patients:
        assert np.isfinite(volume.array).all()
        assert volume.array.min() == 0
        edge = np.ones(volume.array.shape[1:], bool)
        edge[4:-4, 4:-4] = False
        assert not volume.array[:, edge].any()
        assert (volume.array == 0).mean() > 0.7


def test_activity_is_conserved(patients: list[Volume]) -> None:
    # SUVbw of a whole patient averages (1 - excreted) / density, just below 1 g/mL; the field of
    # view leaves out the cold legs and holds the hot brain and bladder.
    means = [volume.array[volume.array > 0].mean() for volume in patients]
    assert 0.7 < min(means) < max(means) < 1.2


def test_the_patient_fills_the_field_of_view_from_the_vertex_to_the_thighs(
    patients: list[Volume],
) -> None:
    for volume in patients:
        middle = volume.array[:, :, 29:35]  # without raised arms
        assert not middle[-1].any()
        assert middle[-5].any()
        assert volume.array[0, :, 20:44].any()


def box(
    volume: Volume, z: tuple[float, float], y: tuple[float, float], x: tuple[float, float]
) -> NDArray[np.float32]:
    """Voxels between fractions of the field of view along each axis."""
    window = (
        slice(int(n * low), int(n * high))
        for n, (low, high) in zip(volume.array.shape, (z, y, x), strict=True)
    )
    return volume.array[tuple(window)]


def test_brain_and_bladder_are_hot_and_lungs_are_cold(patients: list[Volume]) -> None:
    for volume in patients:
        brain = box(volume, (0.88, 0.95), (0.44, 0.58), (0.44, 0.56))
        bladder = box(volume, (0.08, 0.18), (0.38, 0.55), (0.42, 0.58))
        lung = np.median(box(volume, (0.57, 0.62), (0.49, 0.53), (0.38, 0.42)))
        liver = np.median(box(volume, (0.42, 0.45), (0.49, 0.53), (0.37, 0.42)))
        assert np.median(brain) > 2.5
        assert np.percentile(bladder, 98) > 5
        assert 0.15 < lung < 0.8
        assert 1.2 < liver < 3.2


def test_the_liver_is_on_the_right_and_the_heart_and_spleen_on_the_left(
    patients: list[Volume],
) -> None:
    # Column 0 is the patient's right.
    for volume in patients:
        right = box(volume, (0.40, 0.45), (0.45, 0.53), (0.34, 0.44))
        left = box(volume, (0.40, 0.45), (0.45, 0.53), (0.56, 0.66))
        assert np.median(right) > 1.3 * np.median(left)
    heart = np.mean([box(v, (0.48, 0.54), (0.40, 0.52), (0.0, 1.0)) for v in patients], axis=0)
    assert heart[..., 33:44].mean() > 1.3 * heart[..., 20:31].mean()


def test_front_is_front(patients: list[Volume]) -> None:
    # Row 0 is anterior: the bladder lies before the sacrum, the spine behind the heart.
    for volume in patients:
        hot = np.argwhere(box(volume, (0.05, 0.18), (0.0, 1.0), (0.42, 0.58)) > 5)
        assert hot[:, 1].mean() < 0.53 * 64


def test_the_same_seed_at_another_size_is_the_same_patient() -> None:
    fine, coarse = Body(96, 160).sample(5).array, Body(48, 80).sample(5).array
    pooled = fine.reshape(80, 2, 48, 2, 48, 2).mean(axis=(1, 3, 5))
    assert np.corrcoef(pooled.ravel(), coarse.ravel())[0, 1] > 0.95
