"""Edges blurred by a Gaussian, whose width and modulation transfer are known."""

import numpy as np
import pytest
from scipy import special

from amir_lightning.metrics.clinical.places import border_distance
from amir_lightning.metrics.clinical.sharpness import (
    edge_profile,
    edge_width,
    half_frequency,
    is_step,
    modulation,
)

PIXEL = 0.75  # [mm]


def slanted(sigma_mm: float, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A slanted edge from 20 to 120 blurred by a Gaussian, and the mask of its dark side."""
    y, x = np.mgrid[:128, :128] * PIXEL
    distance = np.cos(0.13) * (x - 48) + np.sin(0.13) * (y - 48)
    image = 20 + 50 * (1 + special.erf(distance / sigma_mm / np.sqrt(2)))
    image += noise * np.random.default_rng(0).standard_normal(image.shape)
    return image[None], (distance < 0)[None]


def across(mask: np.ndarray) -> np.ndarray:
    """Distance to the border, away from where the edge leaves the image."""
    found = border_distance(mask, (PIXEL, PIXEL), 1.5)
    found[:, :20] = found[:, -20:] = np.inf
    return found


@pytest.mark.parametrize("sigma_mm", [1.0, 1.5, 2.5])
@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_width_and_half_frequency_of_a_gaussian_edge(sigma_mm: float, noise: float) -> None:
    image, mask = slanted(sigma_mm, noise)
    distance = across(mask)
    edge = edge_profile(image, distance, 12, PIXEL)
    assert edge is not None
    assert edge.levels == pytest.approx((20, 120), abs=2)
    assert edge.step == pytest.approx(100, abs=2)
    # 10 to 90 % of a Gaussian are 2.563 standard deviations; its transfer is half at 0.1874 / s.
    assert edge_width(edge) == pytest.approx(2.563 * sigma_mm, rel=0.03 if noise == 0 else 0.08)
    expected = np.sqrt(np.log(2) / 2) / np.pi / sigma_mm
    assert half_frequency(edge) == pytest.approx(expected, rel=0.03 if noise == 0 else 0.08)


def test_the_transfer_of_a_gaussian_is_a_gaussian() -> None:
    image, mask = slanted(1.5)
    edge = edge_profile(image, across(mask), 12, PIXEL)
    assert edge is not None
    frequency, transfer = modulation(edge)
    inside = frequency < 0.25
    expected = np.exp(-2 * (np.pi * 1.5 * frequency[inside]) ** 2)
    assert transfer[inside] == pytest.approx(expected, abs=0.03)
    assert transfer[0] == 1


def test_a_disc_of_known_radius_gives_the_same_answer() -> None:
    y, x = (np.mgrid[:128, :128] - 63.5) * PIXEL
    distance = (np.hypot(y, x) - 20)[None]
    image = 50 * (1 - special.erf(distance / 1.5 / np.sqrt(2)))
    edge = edge_profile(image, distance, 10, PIXEL)
    assert edge is not None
    assert edge.step == pytest.approx(-100, abs=1)
    assert edge_width(edge) == pytest.approx(2.563 * 1.5, rel=0.03)
    assert half_frequency(edge) == pytest.approx(0.1874 / 1.5, rel=0.03)


def test_sharpening_shortens_the_width_and_raises_the_half_frequency() -> None:
    image, mask = slanted(2.5)
    sharp, _ = slanted(1.5)
    distance = across(mask)
    boosted = edge_profile(image + 1.5 * (sharp - image), distance, 12, PIXEL)  # overshoots
    plain = edge_profile(image, distance, 12, PIXEL)
    assert boosted is not None
    assert plain is not None
    assert edge_width(boosted) < edge_width(plain)
    assert half_frequency(boosted) > half_frequency(plain)


def test_what_is_no_step_is_none() -> None:
    image, mask = slanted(1.5)
    distance = across(mask)
    ramp = edge_profile(distance.copy(), distance, 12, PIXEL)
    step = edge_profile(image, distance, 12, PIXEL)
    flat = edge_profile(np.full_like(image, 3.0), distance, 12, PIXEL)
    assert ramp is not None
    assert step is not None
    assert flat is not None
    assert is_step(step, 0.05)
    assert not is_step(ramp, 0.05)
    assert not is_step(flat, 0.05)
    assert np.isnan(edge_width(flat))
    assert np.isnan(half_frequency(flat))
    assert edge_profile(image[:, :2, :2], distance[:, :2, :2], 12, PIXEL) is None
