from dataclasses import replace

import pytest
import torch
from torch import Tensor

from amir_lightning.degradation import OneOf, SparseView
from amir_lightning.degradation.ct_scan import WATER_PER_MM, to_attenuation
from amir_lightning.degradation.projector import parallel_beam
from amir_lightning.errors import InputError

SPACING = (3.0, 2.0, 2.0)
FEW = SparseView(views=20, photons=1e6, electronic_noise=5.0, kernel="ramp")
SIZE = 96


def disk(radius: float = 30.0, spot: float = 0.0) -> Tensor:
    """A slice of water in air, with a dense rod in the middle."""
    axis = torch.arange(SIZE) - (SIZE - 1) / 2
    distance = torch.hypot(axis[:, None], axis)
    image = torch.where(distance < radius, 0.0, -1000.0)
    image[distance < 2] += spot
    return image[None]


@pytest.mark.parametrize("views", [12, 20, 60, 84])
def test_the_views_are_some_of_the_full_scan(views: int) -> None:
    full, few, step = replace(FEW, views=views)._beams(disk(), SPACING, 0)
    assert full.num_views == views * step >= 1.5 * SIZE
    image = torch.rand(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    sinogram = full.forward(image)[:, step // 2 :: step]
    torch.testing.assert_close(few.forward(image), sinogram, rtol=1e-4, atol=1e-3)


def test_as_many_streaks_as_views() -> None:
    """Around a dense point, few views leave 2 V rays; the radius where they part grows with V."""
    for views in (12, 20):
        physics = replace(FEW, views=views)
        change = physics.degrade(disk(40, 3000), SPACING, 0) - disk(40, 3000)
        plain = physics.degrade(disk(40), SPACING, 0) - disk(40)
        rod = (change - plain)[0]
        angle = torch.arange(720) * torch.pi / 360
        y = (47.5 + 25 * angle.sin()).round().long()
        x = (47.5 + 25 * angle.cos()).round().long()
        spectrum = torch.fft.rfft(rod[y, x]).abs()
        spectrum[0] = 0
        assert int(spectrum[: 3 * views].argmax()) == 2 * views


def test_streaks_vanish_with_more_views() -> None:
    scan = disk(30, 2000)
    size = [
        (replace(FEW, views=views).degrade(scan, SPACING, 0) - scan).square().mean().sqrt().item()
        for views in (12, 36, 84, 148)
    ]
    assert size[0] > 2 * size[1] > 4 * size[2]
    assert size[3] < 1e-2  # 1.5 x 96 = 144 views are a full scan


def test_the_mean_is_kept_inside() -> None:
    scan = disk()
    lq = FEW.degrade(scan, SPACING, 0)
    inside = disk(24) > -500
    assert lq[inside].mean().item() == pytest.approx(0, abs=8)


def test_noise_of_few_views_is_that_of_the_full_scan_times_their_step() -> None:
    """FBP averages over the views: V / m of them have m times the variance."""
    truth = disk(40).repeat(24, 1, 1)
    physics = replace(FEW, views=52, photons=1e5)
    lq, hq = physics.acquire(truth, SPACING, 1)
    inside = disk(12)[0] > -500
    few, full = (image[:, inside].var(0).mean().item() for image in (lq, hq))
    assert few / full == pytest.approx(3, rel=0.1)
    assert hq[:, inside].mean().item() == pytest.approx(0, abs=2)


def test_without_noise_both_ways_agree() -> None:
    """A scan of the phantom is its few-view reconstruction by an independent sum over views."""
    truth = disk(30, 500)
    bright = replace(FEW, photons=1e12, electronic_noise=0.0, views=12)
    lq, _ = bright.acquire(truth, SPACING, 0)
    beam = parallel_beam((SIZE, SIZE), 12, 2.0)
    expected = beam.fbp(beam.forward(to_attenuation(truth))) * (1000 / WATER_PER_MM) - 1000
    torch.testing.assert_close(lq, expected, atol=1.0, rtol=0)


def test_a_scan_gets_the_streaks_of_its_few_views() -> None:
    """The change is the difference of two scans, each projected along its own views."""
    scan = disk(30, 500)
    attenuation = to_attenuation(scan)
    few, full = (parallel_beam((SIZE, SIZE), views, 2.0) for views in (12, 13 * 12))
    expected = few.fbp(few.forward(attenuation)) - full.fbp(full.forward(attenuation))
    change = replace(FEW, views=12).degrade(scan, SPACING, 0) - scan
    torch.testing.assert_close(change, expected * (1000 / WATER_PER_MM), atol=1.0, rtol=0)


def test_padding_and_slices_that_are_not_square() -> None:
    scan = disk()
    scan[:, :10] = -2000.0
    assert torch.equal(FEW.degrade(scan, SPACING, 0)[:, :10], scan[:, :10])
    narrow = disk()[:, :, 20:70].contiguous()
    assert FEW.degrade(narrow, SPACING, 0).shape == narrow.shape
    assert torch.equal(FEW.degrade(narrow, SPACING, 1), FEW.degrade(narrow, SPACING, 2))
    lq, hq = FEW.acquire(narrow, SPACING, 1)
    assert lq.dtype == hq.dtype == torch.float32
    assert not torch.equal(lq, FEW.acquire(narrow, SPACING, 2)[0])


@pytest.mark.parametrize("views", [0, -4, 61, OneOf((60, 0))])
def test_impossible_numbers_of_views_are_refused(views: float | OneOf) -> None:
    with pytest.raises(InputError, match="views is .*positive multiple of 4"):
        replace(FEW, views=views)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="photons is 0"):
        replace(FEW, photons=0)
    with pytest.raises(InputError, match="kernel is 'soft'"):
        replace(FEW, kernel="soft")
