import math
from dataclasses import replace

import pytest
import torch

from amir_lightning.degradation import ShortBeds, Uniform
from amir_lightning.errors import InputError

SPACING = (4.0, 4.0, 4.0)
BEDS = ShortBeds(
    counts_per_slice=4e5,
    background=0.3,
    iterations=2,
    subsets=3,
    fwhm_mm=0.0,
    seconds=10.0,
    seconds_per_bed=120.0,
    bed_mm=160.0,
    overlap=0.25,
    half_life_s=6586.0,
)


def test_sensitivity_is_that_of_overlapping_triangles() -> None:
    """30 mm steps of a slow tracer, slice by slice in plain Python."""
    slow = replace(BEDS, half_life_s=1e12)
    full = slow.exposure(100, SPACING, 0).full.flatten()
    length, step = 99 * 4.0, 160 * 0.75
    number = 2 + int(length // step)
    middles = [length / 2 + step * (bed - (number - 1) / 2) for bed in range(number)]
    expected = torch.tensor(
        [sum(max(0.0, 1 - abs(4.0 * z - m) / 80) for m in middles) for z in range(100)]
    )
    torch.testing.assert_close(full, expected / expected.mean())
    assert full.max() / full.min() == pytest.approx(2, rel=0.05)  # 2 x overlap between the beds
    half = replace(slow, overlap=0.5).exposure(100, SPACING, 0).full
    torch.testing.assert_close(half, torch.ones(100, 1, 1))  # triangles that add up to one


def test_later_beds_have_decayed() -> None:
    fast = replace(BEDS, overlap=0.5, half_life_s=600.0)
    full = fast.exposure(200, SPACING, 0).full.flatten()
    # Slices one step of 80 mm apart see the same beds, 120 s later.
    ratio = full[20:] / full[:-20]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 2 ** (-120 / 600)))


def test_the_window_keeps_its_share_of_the_decays() -> None:
    kept = BEDS.exposure(100, SPACING, 0).kept
    # 10 of 120 s; with a half-life of 110 minutes it hardly matters when.
    torch.testing.assert_close(kept, torch.full_like(kept, 10 / 120), rtol=0.01, atol=0)
    brief = replace(BEDS, half_life_s=76.0)  # rubidium
    shares = torch.stack([brief._share(1, math.log(2) / 76.0, seed) for seed in range(4000)])
    # The windows average out: mean over the start u of the integral over [u, u + d].
    start = torch.linspace(0, 110, 20001, dtype=torch.float64)
    rate = math.log(2) / 76.0
    part = (torch.exp(-rate * start) - torch.exp(-rate * (start + 10))).mean()
    expected = part / (1 - math.exp(-rate * 120.0))
    assert shares.mean().item() == pytest.approx(expected.item(), rel=0.01)
    assert shares.std() > 0.2 * shares.mean()  # early or late does matter here
    whole = replace(BEDS, seconds=120.0).exposure(50, SPACING, 0).kept
    torch.testing.assert_close(whole, torch.ones(50, 1, 1))


def test_noise_follows_the_counts_along_the_patient() -> None:
    axis = torch.arange(32) - 15.5
    activity = (torch.hypot(axis[:, None], axis) < 12).float().expand(90, 32, 32).clone()
    beds = replace(BEDS, overlap=0.1, seconds=30.0, counts_per_slice=2e6, half_life_s=1e12)
    full, kept = beds.exposure(90, SPACING, 0)
    scans = [beds.acquire(activity, SPACING, seed) for seed in range(5)]
    inside = (slice(None), slice(11, 21), slice(11, 21))
    for number, share in ((0, full * kept), (1, full)):
        noise = torch.stack([scan[number][inside] for scan in scans]).var(0).mean((1, 2))
        share = share.flatten()
        dense, sparse = share > share.quantile(0.8), share < share.quantile(0.2)
        ratio = noise[sparse].mean() / noise[dense].mean()
        expected = (1 / share[sparse]).mean() / (1 / share[dense]).mean()
        assert ratio.item() == pytest.approx(expected.item(), rel=0.25)
        assert expected > 3
    lq, hq = scans[0]
    mean = activity[inside].mean().item()
    assert lq[inside].mean().item() == pytest.approx(mean, rel=0.02)
    assert hq[inside].mean().item() == pytest.approx(mean, rel=0.02)


def test_a_whole_window_gives_the_scan_back() -> None:
    scan = torch.rand(6, 24, 24, generator=torch.Generator().manual_seed(0))
    whole = replace(BEDS, seconds=120.0, seconds_per_bed=120.0)
    torch.testing.assert_close(whole.degrade(scan, SPACING, 0), scan)
    assert not torch.allclose(BEDS.degrade(scan, SPACING, 0), scan)


def test_bad_input() -> None:
    for changes, text in (
        ({"seconds": 0.0}, "seconds is 0"),
        ({"seconds": Uniform(10, 200)}, "at most the time of a bed"),
        ({"overlap": 0.0}, "overlap is 0"),
        ({"overlap": 0.7}, "overlap is 0.7"),
        ({"half_life_s": -1.0}, "half_life_s is -1"),
    ):
        with pytest.raises(InputError, match=text):
            replace(BEDS, **changes)  # type: ignore[arg-type]
