"""A channelised Hotelling observer on white noise, whose area is known in closed form."""

import numpy as np
import pytest
from scipy import stats

from amir_lightning.errors import InputError
from amir_lightning.metrics.clinical import intervals
from amir_lightning.metrics.clinical.observer import (
    area,
    channel_outputs,
    folds_of,
    hotelling_scores,
    laguerre_gauss,
    receiver_curve,
)

SIDE, WIDTH = 21, 8.0


def scored(
    absent: np.ndarray, present: np.ndarray, channels: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of squares by an observer with five folds."""
    fold = folds_of(groups, 5, len(channels))
    return hotelling_scores(
        channel_outputs(absent, channels), channel_outputs(present, channels), fold
    )


def cases(d_prime: float, count: int = 600) -> tuple[np.ndarray, ...]:
    """White noise of variance 1 without and with a Gaussian lesion, which is the first channel.

    The ideal observer of a known signal in white noise has d'² = sum of its squares, and the
    signal lies in the span of the channels.
    """
    rng = np.random.default_rng(0)
    channels = laguerre_gauss(SIDE, WIDTH, (1, 1), 5)
    absent, present = rng.standard_normal((2, count, SIDE, SIDE))
    return absent, present + d_prime * channels[0], channels, np.arange(count) // 10


def test_channels_are_orthonormal() -> None:
    channels = laguerre_gauss(41, WIDTH, (1, 1), 5).reshape(5, -1)
    assert channels @ channels.T == pytest.approx(np.eye(5), abs=0.01)
    # exp(-pi r² / a²) times the Laguerre polynomials 1 and 1 - x of x = 2 pi r² / a², at r = a.
    gauss, first = laguerre_gauss(41, WIDTH, (1, 1), 2)
    assert gauss[20, 28] / gauss[20, 20] == pytest.approx(np.exp(-np.pi))
    assert first[20, 28] / first[20, 20] == pytest.approx((1 - 2 * np.pi) * np.exp(-np.pi))
    stretched = laguerre_gauss(41, WIDTH, (2, 1), 1)[0]
    assert stretched[21, 20] == pytest.approx(stretched[20, 22])


@pytest.mark.parametrize("d_prime", [0.0, 1.0, 2.0])
def test_the_area_on_white_noise_is_that_of_theory(d_prime: float) -> None:
    absent, present, channels, groups = cases(d_prime)
    scores = scored(absent, present, channels, groups)
    expected = stats.norm.cdf(d_prime / np.sqrt(2))
    # Without a signal, the template is noise, which spreads the area.
    assert area(*scores) == pytest.approx(expected, abs=0.03 if d_prime else 0.08)
    if d_prime:
        assert np.sqrt(2) * stats.norm.ppf(area(*scores)) == pytest.approx(d_prime, abs=0.15)
        low, high = intervals.of_area(*scores, groups, groups, 200) or (1, 0)
        assert low <= expected <= high
        assert high - low < 0.12


def test_the_observer_undoes_coloured_noise() -> None:
    """Each square is as bright as chance will have it: the mean sees nothing, the observer much.

    For noise of covariance K in the channels and a change s of their outputs, d'² = s K^-1 s.
    """
    absent, present, channels, groups = cases(1.5)
    shift = 20 * np.random.default_rng(1).standard_normal((2, len(groups), 1, 1))
    scores = scored(absent + shift[0], present + shift[1], channels, groups)
    flat = channels.reshape(len(channels), -1)
    covariance = flat @ flat.T + 400 * np.outer(flat.sum(1), flat.sum(1))
    change = 1.5 * flat @ flat[0]
    d_prime = np.sqrt(change @ np.linalg.solve(covariance, change))
    assert area(*scores) == pytest.approx(stats.norm.cdf(d_prime / np.sqrt(2)), abs=0.03)
    means = ((one + by).mean(axis=(1, 2)) for one, by in zip((absent, present), shift, strict=True))
    assert area(*means) < 0.55


def test_an_observer_is_never_scored_on_what_it_was_trained_on() -> None:
    """Without a lesion, few cases and many channels, a template of its own cases would shine."""
    rng = np.random.default_rng(0)
    absent, present = rng.standard_normal((2, 30, SIDE, SIDE))
    channels = laguerre_gauss(SIDE, WIDTH, (1, 1), 12)
    scores = scored(absent, present, channels, np.arange(30) // 3)
    assert area(*scores) < 0.7


def test_areas_and_curves_of_few_scores() -> None:
    absent, present = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0])
    assert area(absent, present) == pytest.approx((1.5 + 3) / 6)
    false, true = receiver_curve(absent, present)
    assert (false[0], true[0]) == (0, 0)
    assert (false[-1], true[-1]) == (1, 1)
    assert np.trapezoid(true, false) == pytest.approx(area(absent, present))


def test_intervals_are_those_of_patients() -> None:
    groups = np.arange(40) // 2
    rng = np.random.default_rng(0)
    absent, present = rng.standard_normal((2, 40))

    def gain(places: np.ndarray) -> list[float]:
        before = area(absent[places], present[places] + 0.3)
        return [area(absent[places], present[places] + 3) - before, 0.0]

    better, same = intervals.of_places(groups, gain, 200)
    assert better is not None
    assert 0 < better[0] < gain(np.arange(40))[0] < better[1] < 1
    assert same == (0, 0)
    assert intervals.of_places(groups, gain, 0) == [None, None]
    # That of a mean of normal values is 1.96 of its standard errors wide on both sides.
    values = 7 + 2 * stats.norm.ppf((np.arange(100) + 0.5) / 100)
    found = intervals.of_mean([*values], 4000)
    assert found is not None
    assert found == pytest.approx((7 - 1.96 * 0.2, 7 + 1.96 * 0.2), abs=0.03)


@pytest.mark.parametrize("patients", [2, 3, 4])
def test_too_few_patients_have_no_interval(patients: int) -> None:
    """Of two, the observer's would have no width: each is scored by one trained on the other."""
    absent, present, channels, _ = cases(1.5, count=12 * patients)
    groups = np.repeat(np.arange(patients), 12)
    outputs = channel_outputs(absent, channels), channel_outputs(present, channels)
    fold = folds_of(groups, 5, len(channels))

    def judged(places: np.ndarray) -> list[float]:
        if len(np.unique(fold[places])) < 2:
            return [np.nan]
        return [area(*hotelling_scores(outputs[0][places], outputs[1][places], fold[places]))]

    scores = hotelling_scores(*outputs, fold)
    found = [
        intervals.of_mean([float(at) for at in range(patients)], 200),
        intervals.of_area(*scores, groups, groups, 200),
        *intervals.of_places(groups, judged, 200),
    ]
    if patients < intervals.FEWEST:
        assert found == [None, None, None]
        return
    for interval in found:
        assert interval is not None
        assert interval[0] < interval[1]
    assert found[0][0] > 0  # no single patient


def test_a_resample_draws_patients_with_all_their_places() -> None:
    """However few patients a fold has: one for each must not give an interval without width."""
    groups = np.repeat(np.arange(4), 3)
    value = np.repeat([1.0, 2.0, 3.0, 4.0], 3)

    def mean(places: np.ndarray) -> list[float]:
        assert len(places) == 12
        assert all(np.bincount(places, minlength=12).reshape(4, 3).std(axis=1) == 0)
        return [float(value[places].mean()), np.nan]

    known, unknown = intervals.of_places(groups, mean, 300)
    assert known is not None
    assert known[0] < 2 < 3 < known[1]
    assert unknown is None


def test_too_few_places_are_one_sentence() -> None:
    absent, present, channels, groups = cases(1.0, count=8)
    with pytest.raises(InputError, match="has 8 places in 1 of the patients, expected at least 2"):
        scored(absent, present, channels, groups)
