import math

import pytest
import torch
from scipy.special import i0e, i1e

from amir_lightning.degradation import RicianNoise, Uniform, fixed_for
from amir_lightning.errors import InputError

SPACING = (3.0, 1.0, 1.0)


def rician_mean(signal: float, sigma: float) -> float:
    """sigma sqrt(pi / 2) L_1/2(-signal² / (2 sigma²)), written with Bessel functions."""
    x = signal**2 / (2 * sigma**2)
    laguerre = (1 + x) * i0e(x / 2) + x * i1e(x / 2)
    return float(sigma * math.sqrt(math.pi / 2) * laguerre)


@pytest.mark.parametrize("signal", [0.0, 20.0, 60.0, 400.0])
def test_mean_and_power_of_the_magnitude_are_rician(signal: float) -> None:
    lq = RicianNoise(40.0, 17.0).degrade(torch.full((4, 200, 200), signal), SPACING, seed=0)
    assert lq.mean().item() == pytest.approx(rician_mean(signal, 40.0), rel=0.005)
    # The second moment is that of the signal and of both channels.
    power = lq.square().mean().item()
    assert power == pytest.approx(signal**2 + 2 * 40.0**2, rel=0.01)


def test_a_scan_of_a_phantom_has_the_noise_of_both() -> None:
    truth = torch.zeros(2, 200, 200)
    truth[1] = 900.0
    lq, hq = RicianNoise(40.0, 30.0).acquire(truth, SPACING, seed=1)
    for image, sigma in ((hq, 30.0), (lq, 50.0)):  # sqrt(30² + 40²)
        assert image[0].mean().item() == pytest.approx(sigma * math.sqrt(math.pi / 2), rel=0.01)
        assert image[1].std().item() == pytest.approx(sigma, rel=0.01)
        assert image[1].mean().item() == pytest.approx(rician_mean(900.0, sigma), rel=0.001)


def test_noise_is_white_and_depends_on_the_seed() -> None:
    scan = torch.full((1, 256, 256), 2000.0)
    noise = RicianNoise(40.0, 0.0)
    first = noise.degrade(scan, SPACING, 3)
    assert torch.equal(first, noise.degrade(scan, SPACING, 3))
    assert not torch.equal(first, noise.degrade(scan, SPACING, 4))
    centred = first[0] - first.mean()
    neighbours = (centred[:, 1:] * centred[:, :-1]).mean() / centred.square().mean()
    assert abs(neighbours.item()) < 0.02


def test_one_level_for_a_whole_volume() -> None:
    blind = RicianNoise(Uniform(20.0, 120.0), 0.0)
    noisy = blind.degrade(torch.full((3, 128, 128), 3000.0), SPACING, seed=8)
    level = fixed_for(blind, 8).level
    for image in noisy:
        assert image.std().item() == pytest.approx(level, rel=0.03)  # type: ignore[arg-type]


def test_bad_input() -> None:
    with pytest.raises(InputError, match="level is -1"):
        RicianNoise(-1, 0)
    with pytest.raises(InputError, match="float64"):
        RicianNoise(1, 0).degrade(torch.zeros(1, 8, 8).double(), SPACING, 0)
