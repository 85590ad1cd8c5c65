"""Contrast, recovery, SUVpeak and the rule of detection on discs whose answers are known."""

import numpy as np
import pytest

from amir_lightning.errors import InputError
from amir_lightning.metrics.clinical.lesions import PEAK_MM, contrast, is_found, recovery, suv_peak
from amir_lightning.metrics.clinical.places import (
    border_distance,
    centres,
    disc,
    ring,
    squares,
    take,
)

SPACING = (2.0, 1.0)  # [mm]


def radius(rows: int = 60, columns: int = 120) -> np.ndarray:
    """Distance to the middle of a slice [mm]."""
    y, x = ((np.arange(n) - n // 2) * d for n, d in zip((rows, columns), SPACING, strict=True))
    return np.hypot(y[:, None], x)


def scene(value: float, noise: float = 0.0, seed: int = 0) -> tuple[np.ndarray, ...]:
    """A disc of 10 mm on a background of 100; image, mask and ring."""
    mask = (radius() <= 10)[None]
    image = np.where(mask, value, 100.0)
    image = image + noise * np.random.default_rng(seed).standard_normal(image.shape)
    return image, mask, ring(mask, np.ones_like(mask), 2, 8, SPACING)


def test_contrast_and_its_recovery_are_those_that_were_drawn() -> None:
    true, measured = contrast(*scene(140)), contrast(*scene(130))
    assert true.difference == pytest.approx(40)
    assert true.noise == pytest.approx(0, abs=1e-12)
    assert recovery(measured, true) == pytest.approx(0.75)
    assert np.isnan(recovery(measured, contrast(*scene(100))))


def test_the_ring_lies_between_its_distances_within_what_is_allowed() -> None:
    image, mask, around = scene(140)
    assert radius()[around[0]].min() >= 11.5
    assert radius()[around[0]].max() <= 18.6
    half = np.zeros_like(mask)
    half[:, :, 60:] = True
    assert not ring(mask, half, 2, 8, SPACING)[:, :, :60].any()


def test_a_lesion_is_found_by_its_contrast_in_noise() -> None:
    for value, threshold, found in ((160, 2, True), (160, 4, False), (40, 2, True)):
        seen = contrast(*scene(value, noise=20))
        assert seen.to_noise == pytest.approx((value - 100) / 20, rel=0.1)
        assert is_found(seen, threshold) is found
    dark = contrast(*scene(40, noise=20))
    assert is_found(dark, 2, sign=-40)
    assert not is_found(dark, 2, sign=40)  # an inverted lesion is none


def test_a_contrast_without_noise_is_infinite_or_none() -> None:
    assert contrast(*scene(140)).to_noise > 1e6
    image, mask, around = scene(140)
    flat = np.full_like(image, 7.0)
    assert contrast(flat, mask, around).to_noise == 0


def test_suv_peak_is_the_mean_of_a_disc_of_one_cubic_centimetre() -> None:
    image = np.maximum(0, 12 - radius())[None]  # a cone: its mean over a disc of R is 12 - 2 R / 3
    mask = (radius() <= 10)[None]
    assert suv_peak(image, mask, SPACING) == pytest.approx(12 - PEAK_MM / 3, rel=0.01)
    assert disc(3, SPACING).sum() * 2 == pytest.approx(np.pi * 9, rel=0.01)
    assert np.pi / 6 * PEAK_MM**3 == pytest.approx(1000, rel=0.01)  # a sphere of 1 cm³


def test_suv_peak_is_that_of_the_best_centre_inside_the_lesion() -> None:
    """The mean of a slope over a disc is its value in the centre, which lies in the lesion."""
    x = (np.arange(120) - 60) * SPACING[1]
    slope = np.broadcast_to(100 + x, (1, 60, 120))
    mask = (radius() <= 10)[None]
    assert suv_peak(slope, mask, SPACING) == pytest.approx(110)
    # Slices lie far apart: the other one counts no more than its own lesion.
    both = np.concatenate([slope, 2 * slope])
    masks = np.concatenate([mask, (radius() <= 5)[None]])
    assert suv_peak(both, masks, SPACING) == pytest.approx(210)


def test_what_cannot_be_measured_is_one_sentence() -> None:
    image, mask, around = scene(140)
    with pytest.raises(InputError, match="expected the same grid: resample the mask"):
        contrast(image, mask[:, :-1], around)
    with pytest.raises(InputError, match="has no pixel, expected at least one"):
        contrast(image, np.zeros_like(mask), around)
    with pytest.raises(InputError, match="the ring around a lesion has 0 pixels"):
        contrast(image, mask, np.zeros_like(mask))


def test_a_border_lies_where_it_was_before_it_was_cut_into_pixels() -> None:
    y, x = np.mgrid[:80, :80]
    slant = np.cos(0.2) * (x - 40) + np.sin(0.2) * (y - 40)
    found = border_distance((slant < 0)[None], (1, 1), 1.5)[0]
    near, far = (np.abs(y - 40) < 20) & (np.abs(slant) < np.array([3, 8])[:, None, None])
    assert np.abs(found - slant)[near].max() < 0.2
    assert np.abs(found - slant)[far].mean() < 0.15
    assert np.abs((found - slant)[far].mean()) < 0.02


def test_places_keep_their_distances() -> None:
    allowed = (radius() <= 40)[None].repeat(2, axis=0)
    chosen = centres(allowed, 9, 18, SPACING, most=4)
    assert [index for index, *_ in chosen] == [0] * 4 + [1] * 4
    for index, row, column in chosen:
        assert radius()[row, column] <= 32
        others = [one for one in chosen if one[0] == index and one != (index, row, column)]
        for _, y, x in others:
            assert np.hypot(2 * (y - row), x - column) >= 18
    assert centres(allowed, 45, 90, SPACING, most=4) == []


def test_squares_are_the_flattest_and_do_not_overlap() -> None:
    rough = np.random.default_rng(0).standard_normal((1, 60, 120))
    rough[:, :, 60:] *= 0.1
    allowed = np.ones((1, 60, 120), bool)
    allowed[:, :10] = False
    chosen = squares(allowed, 16, rough, most=3)
    assert len(chosen) == 3
    covered = np.zeros((60, 120), int)
    for _, row, column in chosen:
        assert row >= 10
        assert column >= 60
        covered[row : row + 16, column : column + 16] += 1
    assert covered.max() == 1
    assert take(rough, chosen, 16).shape == (3, 16, 16)
    assert squares(allowed, 61, rough, most=6) == []
