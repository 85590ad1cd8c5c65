"""Noise of known variance and spectrum: white, and white that was blurred by a Gaussian."""

import numpy as np
import pytest
from scipy import ndimage

from amir_lightning.errors import InputError
from amir_lightning.metrics.clinical.noise import (
    autocorrelation,
    check_flat,
    deviation,
    mean_frequency,
    neighbour_correlation,
    power_spectrum,
    radial,
    trend_free,
)

SIDE, SIGMA, BLUR = 32, 12.0, 1.5  # pixels, units, pixels
SPACING = (0.8, 0.8)  # [mm]


@pytest.fixture(scope="module")
def white() -> np.ndarray:
    return SIGMA * np.random.default_rng(0).standard_normal((200, SIDE, SIDE))


@pytest.fixture(scope="module")
def coloured() -> np.ndarray:
    """White noise blurred by a Gaussian of `BLUR` pixels."""
    noise = SIGMA * np.random.default_rng(1).standard_normal((200, 64, 64))
    blurred = ndimage.gaussian_filter(noise, (0, BLUR, BLUR))
    return blurred[:, 16:48, 16:48]


def test_white_noise(white: np.ndarray) -> None:
    assert deviation(white) == pytest.approx(SIGMA, rel=0.01)
    assert neighbour_correlation(white) == pytest.approx(0, abs=0.02)
    spectrum = power_spectrum(white, SPACING)
    # The spectrum of white noise is its variance times the area of a pixel.
    _, power = radial(spectrum, SPACING)
    assert power[3:] == pytest.approx(SIGMA**2 * 0.64, rel=0.1)
    # Its integral over the frequency plane is the variance.
    assert spectrum.mean() / 0.64 == pytest.approx(white.var(), rel=0.02)
    # All frequencies up to that of a pixel are alike: their mean is that of a square.
    mean = (np.sqrt(2) + np.arcsinh(1)) / 6
    assert mean_frequency(spectrum, SPACING) == pytest.approx(mean / 0.8, rel=0.02)


def test_a_shift_or_a_smooth_trend_changes_nothing(white: np.ndarray) -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    tilted = white + 40 + 2.0 * x - 0.05 * y * y
    assert deviation(tilted) == pytest.approx(deviation(white), rel=1e-6)
    assert power_spectrum(tilted, SPACING) == pytest.approx(power_spectrum(white, SPACING))


def test_coloured_noise_has_the_spectrum_and_correlation_of_its_filter(
    coloured: np.ndarray,
) -> None:
    at, power = radial(power_spectrum(coloured, SPACING), SPACING)
    transfer = np.exp(-2 * (np.pi * BLUR * 0.8 * at) ** 2)
    inside = (at > 0.1) & (at < 0.21)  # below, the trend is missing; beyond, there is no power
    assert power[inside] == pytest.approx(SIGMA**2 * 0.64 * transfer[inside] ** 2, rel=0.15)
    # A Gaussian of s pixels gives a correlation of exp(-lag² / 4 s²).
    found = autocorrelation(coloured)
    for lag in (1, 2):
        assert found[0, SIDE - 1 + lag] == pytest.approx(np.exp(-(lag**2) / 4 / BLUR**2), abs=0.07)
        assert found[lag, SIDE - 1] == pytest.approx(np.exp(-(lag**2) / 4 / BLUR**2), abs=0.07)
    assert neighbour_correlation(coloured) == pytest.approx(np.exp(-1 / 4 / BLUR**2), abs=0.05)


def test_the_mean_frequency_of_isotropic_noise(coloured: np.ndarray) -> None:
    # The spectrum is a Gaussian of 1 / (2 sqrt(2) pi s) per axis, so |f| has a Rayleigh mean.
    spread = 1 / (2 * np.sqrt(2) * np.pi * BLUR * 0.8)
    found = mean_frequency(power_spectrum(coloured, SPACING), SPACING)
    assert found == pytest.approx(spread * np.sqrt(np.pi / 2), rel=0.12)


def test_spectra_of_unequal_pixels_count_directions_in_mm(white: np.ndarray) -> None:
    at, power = radial(power_spectrum(white, (2.0, 1.0)), (2.0, 1.0))
    assert at.max() <= 0.27
    assert power[3:] == pytest.approx(SIGMA**2 * 2, rel=0.2)
    waves = np.cos(2 * np.pi * np.arange(SIDE) / 4)  # a period of four pixels
    across = np.broadcast_to(waves, (1, SIDE, SIDE))  # from column to column, 1 mm each
    along = across.transpose(0, 2, 1)  # from row to row, 2 mm each
    for wave, frequency in ((across, 0.25), (along, 0.125)):
        spectrum = power_spectrum(wave, (2.0, 1.0))
        assert mean_frequency(spectrum, (2.0, 1.0)) == pytest.approx(frequency, rel=0.02)
        at, power = radial(spectrum, (2.0, 1.0))
        assert at[power.argmax()] == pytest.approx(frequency, abs=0.02)
    # Neighbours in the direction of the wave have a correlation of cos(90°), the others of 1.
    found = autocorrelation(across)
    assert found[0, SIDE] == pytest.approx(0, abs=0.05)
    assert found[1, SIDE - 1] == pytest.approx(1, abs=0.05)


def test_a_region_with_structure_is_refused(white: np.ndarray) -> None:
    check_flat(white, 0.5, "the liver")
    check_flat(np.zeros_like(white), 0.5, "air without noise")
    edge = white.copy()
    edge[:, :, SIDE // 2 :] += 60
    with pytest.raises(InputError, match=r"the liver is not flat: a smooth trend makes \d\d%"):
        check_flat(edge, 0.5, "the liver")


def test_an_image_without_noise_has_none() -> None:
    flat = np.full((3, SIDE, SIDE), 5.0)
    assert deviation(flat) == pytest.approx(0, abs=1e-9)
    rest, share = trend_free(flat)
    assert np.abs(rest).max() < 1e-9
    assert share.max() == 0
