from dataclasses import replace

import pytest
import torch
from torch import Tensor

from amir_lightning.degradation import LowDose
from amir_lightning.degradation.ct_scan import WATER_PER_MM, measure
from amir_lightning.degradation.projector import parallel_beam
from amir_lightning.errors import InputError

SPACING = (5.0, 3.0, 3.0)
QUARTER = LowDose(dose=0.25, photons=2e4, electronic_noise=5.0, kernel="hann")
SIZE, RADIUS = 64, 26


def water(
    num_slices: int = 16, height: int = SIZE, width: int = SIZE, radius: float = RADIUS
) -> tuple[Tensor, Tensor]:
    y = torch.arange(height) - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    distance = torch.hypot(y[:, None], x)
    image = torch.where(distance < radius, 0.0, -1000.0)
    return image.expand(num_slices, height, width).clone(), distance


def test_sinogram_noise_has_the_stated_variance() -> None:
    attenuation = torch.full((1, 200, 400), 3.0)
    generator = torch.Generator().manual_seed(0)
    for dose in (1.0, 0.25):
        photons = 2e4 * dose
        measured = measure(attenuation, photons, 5.0, generator)
        arriving = photons * torch.exp(-attenuation).double()
        variance = (1 / arriving + 25 / arriving**2).mean().item()
        assert measured.var().item() == pytest.approx(variance, rel=0.03)
        assert measured.mean().item() == pytest.approx(3.0, abs=1 / arriving.mean().item())


@pytest.mark.parametrize("dose", [0.5, 0.25, 0.1])
def test_image_noise_grows_as_one_over_the_dose(dose: float) -> None:
    truth, distance = water()
    quantum = replace(QUARTER, dose=dose, photons=1e5, electronic_noise=0.0)
    lq, hq = quantum.acquire(truth, SPACING, seed=1)
    inside = distance < RADIUS - 6
    ratio = lq[:, inside].var(0).mean() / hq[:, inside].var(0).mean()
    assert ratio.item() == pytest.approx(1 / dose, rel=0.1)


def test_a_quarter_of_the_dose_doubles_the_noise_of_a_real_scan() -> None:
    truth, distance = water()
    inside = distance < RADIUS - 6
    degradation = replace(QUARTER, photons=1e5)
    acquired, hq = degradation.acquire(truth, SPACING, seed=2)
    lq = degradation.degrade(hq, SPACING, seed=3)
    full, inserted, scanned = (scan[:, inside].std(0).mean().item() for scan in (hq, lq, acquired))
    assert inserted == pytest.approx(2 * full, rel=0.08)
    assert inserted == pytest.approx(scanned, rel=0.05)


def test_water_stays_at_zero() -> None:
    truth, distance = water()
    inside = distance < RADIUS - 6
    acquired, hq = replace(QUARTER, photons=1e5).acquire(truth, SPACING, seed=4)
    inserted = QUARTER.degrade(truth, SPACING, seed=4)
    for scan in (hq, acquired, inserted):
        assert scan[:, inside].mean().item() == pytest.approx(0, abs=1)
        assert scan[:, distance > RADIUS + 4].mean().item() == pytest.approx(-1000, abs=5)


def test_padding_is_kept_and_counts_as_air() -> None:
    truth, distance = water(2)
    outside = distance > SIZE / 2
    padded = truth.clone()
    padded[:, outside] = -3024.0
    lq = QUARTER.degrade(padded, SPACING, seed=0)
    assert torch.equal(lq[:, outside], padded[:, outside])
    # The same noise as with air in the corners.
    assert torch.equal(lq[:, ~outside], QUARTER.degrade(truth, SPACING, seed=0)[:, ~outside])


@pytest.mark.parametrize(("height", "width"), [(40, 64), (65, 33)])
def test_slices_need_not_be_square(height: int, width: int) -> None:
    truth, _ = water(2, height, width, 14)
    lq, hq = QUARTER.acquire(truth, SPACING, seed=0)
    assert lq.shape == hq.shape == truth.shape
    assert QUARTER.degrade(truth, SPACING, seed=0).dtype == torch.float32


def test_noise_depends_on_the_seed_alone_and_differs_between_slices() -> None:
    truth, distance = water(3)
    noise = QUARTER.degrade(truth, SPACING, seed=7) - truth
    assert torch.equal(noise, QUARTER.degrade(truth, SPACING, seed=7) - truth)
    assert not torch.equal(noise, QUARTER.degrade(truth, SPACING, seed=8) - truth)
    samples = noise[:, distance < RADIUS]
    assert torch.corrcoef(samples).fill_diagonal_(0).abs().max() < 0.15
    assert all(
        map(torch.equal, QUARTER.acquire(truth, SPACING, 7), QUARTER.acquire(truth, SPACING, 7))
    )


def test_an_opaque_object_stays_finite() -> None:
    metal = torch.full((1, 64, 64), 30000.0)
    for scan in (*QUARTER.acquire(metal, SPACING, 0), QUARTER.degrade(metal, SPACING, 0)):
        assert torch.isfinite(scan).all()


def test_attenuation_of_water_is_the_scale() -> None:
    truth, _ = water(1)
    beam = parallel_beam((SIZE, SIZE), 96, 3.0)
    attenuation = beam.forward((1 + truth / 1000) * WATER_PER_MM)
    middle = attenuation[0, :, beam.num_bins // 2].mean().item()
    assert middle == pytest.approx(2 * RADIUS * 3.0 * WATER_PER_MM, rel=0.02)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="dose is 2"):
        replace(QUARTER, dose=2.0)
    with pytest.raises(InputError, match="kernel is 'B30'"):
        replace(QUARTER, kernel="B30")
    truth, _ = water(1)
    with pytest.raises(InputError, match="square"):
        QUARTER.degrade(truth, (5.0, 3.0, 2.0), 0)
    with pytest.raises(InputError, match="num_views=52"):
        replace(QUARTER, num_views=50).degrade(truth, SPACING, 0)
    truth[0, 0, 0] = float("inf")
    with pytest.raises(InputError, match="infinite"):
        QUARTER.degrade(truth, SPACING, 0)
