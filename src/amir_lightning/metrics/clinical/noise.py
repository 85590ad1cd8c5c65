"""Noise of flat squares: standard deviation, autocorrelation and noise power spectrum."""

import numpy as np
from numpy.typing import NDArray

from amir_lightning.errors import InputError
from amir_lightning.metrics.clinical import Image, Spacing

_TERMS = 6  # of a quadratic surface


def trend_free(squares: Image) -> tuple[Image, NDArray[np.float64]]:
    """Subtract from each square the quadratic surface that fits it best.

    Args:
        squares: Flat squares, (N, side, side).

    Returns:
        What remains, (N, side, side), and the share of the variance that was subtracted, (N,).
    """
    side = squares.shape[-1]
    y, x = np.meshgrid(*[np.linspace(-1, 1, side)] * 2, indexing="ij")
    basis, _ = np.linalg.qr(np.stack([x**0, x, y, x * x, x * y, y * y], -1).reshape(-1, _TERMS))
    flat = squares.reshape(len(squares), -1).astype(np.float64)
    rest = flat - flat @ basis @ basis.T
    total = flat.var(axis=1)
    share = 1 - (rest**2).mean(axis=1) / np.where(total > 0, total, 1)
    return rest.reshape(squares.shape), np.where(total > 0, share, 0.0)


def check_flat(squares: Image, most: float, where: str) -> None:
    """Refuse squares that are not flat.

    Args:
        squares: Squares of the high-quality image, (N, side, side).
        most: Largest share of the variance that a smooth trend may have, on average.
        where: Which region it is, for the error.

    Raises:
        InputError: A smooth trend has a larger share.
    """
    share = float(trend_free(squares)[1].mean())
    if share > most:
        raise InputError(
            f"{where} is not flat: a smooth trend makes {share:.0%} of its variance, expected at "
            f"most {most:.0%}; mark a region without structure, or type measures.noise.most_trend="
            f"{share + 0.05:.2f}"
        )


def deviation(squares: Image) -> float:
    """Standard deviation of the noise, pooled over squares without their trend [units]."""
    rest, _ = trend_free(squares)
    freedom = len(squares) * (squares.shape[-1] ** 2 - _TERMS)
    return float(np.sqrt((rest**2).sum() / freedom))


def autocorrelation(squares: Image) -> Image:
    """Mean autocorrelation of the noise by lag in pixels, (side, 2 side - 1); 1 at (0, side - 1).

    The rows are lags of 0 to side - 1 rows, the columns lags of 1 - side to side - 1 columns. Each
    lag is divided by the number of pairs of pixels that have it.
    """
    rest, _ = trend_free(squares)
    side = squares.shape[-1]
    spectrum = np.abs(np.fft.fft2(rest, (2 * side, 2 * side))) ** 2
    sums = np.fft.ifft2(spectrum.mean(axis=0)).real
    lags = np.arange(1 - side, side)
    pairs = np.outer(side - np.arange(side), side - np.abs(lags))
    found = sums[np.ix_(np.arange(side), lags)] / pairs
    return found / found[0, side - 1] if found[0, side - 1] > 0 else found


def neighbour_correlation(squares: Image) -> float:
    """Correlation of the noise of neighbouring pixels, the mean of rows and columns."""
    found, side = autocorrelation(squares), squares.shape[-1]
    return float(found[0, side] + found[1, side - 1]) / 2


def power_spectrum(squares: Image, spacing_mm: Spacing) -> Image:
    """Noise power spectrum of squares without their trend, (side, side) [units² mm²].

    A Hann window keeps the power of low frequencies from leaking into high ones at the border of a
    square; the spectrum is divided by the mean of its square. The mean of the spectrum, divided by
    the area of a pixel, is the variance. Frequencies lie as `numpy.fft.fftfreq` puts them.
    """
    rest, _ = trend_free(squares)
    area = spacing_mm[0] * spacing_mm[1]
    side = squares.shape[-1]
    taper = np.hanning(side + 2)[1:-1]
    window = np.outer(taper, taper)
    power = np.abs(np.fft.fft2(rest * window)) ** 2
    return area / (window**2).sum() * power.mean(axis=0)


def radial(spectrum: Image, spacing_mm: Spacing) -> tuple[Image, Image]:
    """Mean of a spectrum over directions, without the frequency 0.

    Returns:
        Frequencies [1/mm] and means, in rings as wide as one step of the finer axis, up to the
        highest frequency that both axes have.
    """
    side = spectrum.shape[-1]
    rows, columns = (np.fft.fftfreq(side, step) for step in spacing_mm)
    frequency = np.hypot(rows[:, None], columns)
    step = 1 / (side * min(spacing_mm))
    number = np.rint(frequency / step).astype(int)
    last = int(0.5 / max(spacing_mm) / step)
    inside = (number >= 1) & (number <= max(last, 1))
    counts = np.bincount(number[inside])
    with np.errstate(invalid="ignore"):  # a ring may hold no frequency
        means = np.bincount(number[inside], spectrum[inside]) / counts
        at = np.bincount(number[inside], frequency[inside]) / counts
    return at[counts > 0], means[counts > 0]


def mean_frequency(spectrum: Image, spacing_mm: Spacing) -> float:
    """Mean frequency of the noise, weighted by its power [1/mm]; NaN without noise."""
    rows, columns = (np.fft.fftfreq(spectrum.shape[-1], step) for step in spacing_mm)
    frequency = np.hypot(rows[:, None], columns)
    total = float(spectrum.sum())
    return float((frequency * spectrum).sum()) / total if total > 0 else float("nan")
