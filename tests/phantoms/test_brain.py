"""The embedded brains: reproducible, in physical units, and anatomically in order."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from amir_lightning.errors import InputError
from amir_lightning.io.volume import Volume
from amir_lightning.phantoms import Brain
from amir_lightning.phantoms.brain.cortex import cerebrum
from amir_lightning.phantoms.brain.deep import CAUDATE, PALLIDUM, PUTAMEN, ventricles
from amir_lightning.phantoms.brain.head import Head, skull
from amir_lightning.phantoms.brain.phantom import FIELD_MM, SLAB_CENTRE
from amir_lightning.phantoms.brain.t2_signal import CSF_SIGNAL, TISSUES, drawn_signals, signal
from amir_lightning.phantoms.fields import (
    Array,
    Grid,
    ellipsoid,
    rotation,
)

SEEDS = range(3)


@pytest.fixture(scope="module")
def volumes() -> list[Volume]:
    return [Brain(128, 8).sample(seed) for seed in SEEDS]


def head(seed: int, size: int = 128, num_slices: int = 8) -> Head:
    """The patient of `Brain.sample`, whose first draws are the head's."""
    grid = Grid.over(FIELD_MM, size, num_slices)
    signals = drawn_signals(0, seed)
    return Head(np.random.default_rng(seed), grid, SLAB_CENTRE, Brain().slice_mm, signals)


def halved(image: Array) -> Array:
    z, y, x = image.shape
    return image.reshape(z, y // 2, 2, x // 2, 2).mean((2, 4))


def test_same_seed_same_bits(volumes: list[Volume]) -> None:
    np.testing.assert_array_equal(Brain(128, 8).sample(1).array, volumes[1].array)


def test_global_random_state_is_untouched() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    Brain(32, 2).sample(0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_other_seed_other_patient(volumes: list[Volume]) -> None:
    assert np.mean(np.abs(volumes[0].array - volumes[1].array)) > 50


def test_volume_is_described(volumes: list[Volume]) -> None:
    volume = volumes[2]
    assert volume.array.shape == (8, 128, 128)
    assert volume.array.dtype == np.float32
    assert volume.units == "a.u."
    assert volume.source == "phantom brain seed 2"
    np.testing.assert_allclose(volume.spacing_mm, (84 / 8, 240 / 128, 240 / 128))
    assert np.diag(volume.affine)[:2].max() < 0  # LPS in a RAS+ world


def test_values_are_those_of_a_scanner(volumes: list[Volume]) -> None:
    for volume in volumes:
        assert np.isfinite(volume.array).all()
        assert volume.array.min() == 0
        assert 1500 < volume.array.max() < 3000
        assert (volume.array == 0).mean() > 0.3
        border = np.concatenate([volume.array[:, 0], volume.array[:, -1]])
        np.testing.assert_array_equal(border, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_another_size_is_the_same_patient(volumes: list[Volume], seed: int) -> None:
    small = Brain(64, 8).sample(seed).array
    same = np.corrcoef(small.ravel(), halved(volumes[seed].array).ravel())[0, 1]
    other = halved(volumes[(seed + 1) % len(volumes)].array)
    assert same > 0.93
    assert np.corrcoef(small.ravel(), other.ravel())[0, 1] < same - 0.05


def test_more_slices_are_the_same_patient(volumes: list[Volume]) -> None:
    # The 3 middle slices of every block of 8 / 24 coincide with the coarse slice positions.
    fine = Brain(128, 24).sample(0).array[1::3]
    assert np.corrcoef(fine.ravel(), volumes[0].array.ravel())[0, 1] > 0.99


def test_contrast_of_the_tissues() -> None:
    assert signal("csf") == pytest.approx(CSF_SIGNAL)
    assert 400 < signal("white") < 600 < signal("grey") < 900
    assert signal("pallidum") < signal("white") < signal("thalamus") < signal("striatum")
    assert signal("bone") < 0.2 * signal("fat")


@pytest.mark.parametrize("seed", SEEDS)
def test_anatomy_is_in_order(volumes: list[Volume], seed: int) -> None:
    image, patient = volumes[seed].array, head(seed)
    upper = patient.points[0] > 20
    median = {
        "ventricle": np.median(image[(ventricles(patient) < -2)]),
        "putamen": _median_in(image, patient, PUTAMEN),
        "caudate": _median_in(image, patient, CAUDATE),
        "pallidum": _median_in(image, patient, PALLIDUM),
        "skull": np.median(image[(patient.hull > 3.2) & (patient.hull < 5) & upper]),
        "scalp": np.median(image[(patient.hull > 8.5) & (patient.hull < 10) & upper]),
    }
    assert median["ventricle"] > 2 * median["putamen"]
    assert median["putamen"] > 1.2 * median["pallidum"]
    assert median["skull"] < 0.6 * median["scalp"]
    assert (image[patient.hull > 25] == 0).all()

    skull(patient)
    white = cerebrum(patient)
    core = -patient.hull
    deep_white = np.median(image[(white > 0.99) & (patient.points[0] > 35)])
    ribbon = (core > 0.5) & (core < 2) & (patient.points[0] > 10)
    values = image[ribbon]
    grey = np.median(values[values < 1.8 * deep_white])  # the rest is CSF
    assert median["ventricle"] > 2 * grey
    assert grey > 1.1 * deep_white


def _median_in(image: Array, patient: Head, nucleus: tuple) -> float:
    _, centre, radii, turn = nucleus
    inside = ellipsoid(patient.mirrored, centre, tuple(0.5 * r for r in radii), rotation(turn)) < 0
    return float(np.median(image[inside]))


def test_sulci_reach_deep_into_the_brain() -> None:
    patient = head(0, 128, 12)
    cerebrum(patient)
    for low, high in ((3, 6), (10, 14)):
        shell = (-patient.hull > low) & (-patient.hull < high) & (patient.points[0] > -10)
        bright = (patient.image[shell] > 1.15 * signal("grey")).mean()
        assert 0.03 < bright < 0.6


def test_hemispheres_are_alike_but_not_equal(volumes: list[Volume]) -> None:
    patient = head(0, 64, 6)
    straight = patient.points[2]
    assert straight[0, 0, 0] < 0 < straight[0, 0, -1]  # x grows to the patient's left
    image = gaussian_filter(volumes[0].array, (0, 4, 4))
    flipped = np.corrcoef(image.ravel(), image[:, :, ::-1].ravel())[0, 1]
    assert 0.7 < flipped < 0.999


def test_contrast_differs_between_patients_and_the_anatomy_stays() -> None:
    same, other = (Brain(64, 3, contrast_spread=spread).sample(4) for spread in (0, 0.3))
    assert same.labels is not None
    assert other.labels is not None
    assert np.array_equal(same.labels.organs, other.labels.organs)
    ratios = [
        np.median(other.array[inside]) / np.median(same.array[inside])
        for organ in ("white matter", "grey matter", "csf")
        if (inside := same.labels.organs == same.labels.organ_names.index(organ)).any()
    ]
    drawn = drawn_signals(0.3, 4)
    expected = [drawn[tissue] / signal(tissue) for tissue in ("white", "grey", "csf")]
    np.testing.assert_allclose(ratios, expected, rtol=0.1)
    assert drawn_signals(0, 4) == {tissue: signal(tissue) for tissue in TISSUES}
    spread = np.log([drawn_signals(0.3, seed)["white"] / signal("white") for seed in range(400)])
    assert spread.std() == pytest.approx(0.3, rel=0.15)
    for typed in (-0.1, float("nan"), "wide"):
        with pytest.raises(InputError, match=r"contrast_spread is .*, expected a number"):
            Brain(64, 3, contrast_spread=typed)  # type: ignore[arg-type]
