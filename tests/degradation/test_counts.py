from dataclasses import replace

import pytest
import torch
from scipy.ndimage import gaussian_filter as scipy_gaussian
from torch import Tensor

from amir_lightning.degradation import LowCount
from amir_lightning.degradation.counts import _counts_per_suv, gaussian_filter, thin_counts
from amir_lightning.errors import InputError
from amir_lightning.tasks import load_task

SPACING = (4.0, 4.0, 4.0)
TWELFTH = LowCount(
    reduction=12, counts_per_slice=2e5, background=0.3, iterations=3, subsets=6, fwhm_mm=6.0
)
SIZE = 48


def body(num_slices: int = 12, height: int = SIZE, width: int = SIZE) -> Tensor:
    y = torch.arange(height) - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    image = 1.0 * (torch.hypot(y[:, None] / 15, x / 20) < 1)
    image += 4.0 * (torch.hypot(y[:, None], x - 6) < 5)
    return image.expand(num_slices, height, width).clone()


def test_thinned_poisson_numbers_are_poisson() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = torch.poisson(torch.full((400_000,), 36.0), generator=generator)
    thinned = thin_counts(counts, torch.tensor(1 / 12), generator)
    assert (thinned <= counts).all()
    assert torch.equal(thinned, thinned.round())
    assert thinned.mean().item() == pytest.approx(3, rel=0.01)
    assert thinned.var().item() == pytest.approx(3, rel=0.01)
    # Given the counts, binomial: a variance of n p (1 - p) around n p.
    rest = (thinned - counts / 12).var().item()
    assert rest == pytest.approx(36 * (1 / 12) * (11 / 12), rel=0.01)


@pytest.mark.parametrize("spacing_mm", [(2.0, 4.0, 4.0), (1.0, 3.0, 3.0)])
def test_gaussian_filter_agrees_with_scipy(spacing_mm: tuple[float, float, float]) -> None:
    volume = torch.rand(9, 14, 11, generator=torch.Generator().manual_seed(0))
    sigmas = [6.0 / 2.3548200450309493 / spacing for spacing in spacing_mm]
    expected = scipy_gaussian(volume.numpy(), sigmas, mode="nearest", truncate=6)
    smooth = gaussian_filter(volume, 6.0, spacing_mm)
    torch.testing.assert_close(smooth, torch.from_numpy(expected), rtol=0, atol=3e-3)
    assert torch.equal(gaussian_filter(volume, 0.0, spacing_mm), volume)


def test_activity_is_preserved_and_never_negative() -> None:
    truth = body()
    lq, hq = TWELFTH.acquire(truth, SPACING, seed=0)
    degraded = TWELFTH.degrade(truth, SPACING, seed=1)
    for scan in (lq, hq, degraded):
        assert scan.min() >= 0
        assert scan.dtype == torch.float32
        assert scan.mean().item() == pytest.approx(truth.mean().item(), rel=0.03)
        assert scan[:, 18:30, 9:18].mean().item() == pytest.approx(1, rel=0.05)


def test_fewer_counts_are_noisier() -> None:
    truth = body(24)
    lq, hq = TWELFTH.acquire(truth, SPACING, seed=0)
    inside = (slice(None), slice(18, 30), slice(10, 18))
    noise_lq, noise_hq = (scan[inside].std(0).mean().item() for scan in (lq, hq))
    # Close to the root of the reduction; OSEM is not linear.
    assert 12**0.5 * 0.8 < noise_lq / noise_hq < 12**0.5 * 1.5


def test_a_scan_keeps_its_mean_and_resolution() -> None:
    sharp = body(16)  # edges that a second reconstruction would blur
    scans = torch.stack([TWELFTH.degrade(sharp, SPACING, seed) for seed in range(6)])
    mean = scans.flatten(0, 1).mean(0)  # over 96 noise realisations
    inside, hot = (slice(18, 30), slice(9, 18)), (slice(22, 26), slice(28, 32))
    assert mean[inside].mean().item() == pytest.approx(1, rel=0.01)
    assert mean[hot].mean().item() == pytest.approx(5, rel=0.03)
    # The step of the hot disk keeps its height from one pixel to the next.
    blurred = gaussian_filter(sharp, 6.0, SPACING)[0]
    row = SIZE // 2
    step, blurred_step = (float(-(image[row].diff()[20:40]).min()) for image in (mean, blurred))
    assert step > 3.6 > blurred_step


def test_a_scan_gets_the_noise_that_it_lacks() -> None:
    # Difference of thinned and full reconstruction: a variance of (r - 1) of the full one's.
    truth, inside = body(48), (slice(None), slice(18, 30), slice(10, 18))
    smooth = replace(TWELFTH, counts_per_slice=2e6)  # OSEM is nearly linear here
    full = smooth.acquire(truth, SPACING, seed=1)[1]
    added = smooth.degrade(truth, SPACING, seed=2)
    ratio = (added[inside].var(0).mean() / full[inside].var(0).mean()).item()
    assert ratio == pytest.approx(11, rel=0.2)


def test_no_reduction_gives_the_scan_back() -> None:
    scan = body(3)
    torch.testing.assert_close(replace(TWELFTH, reduction=1).degrade(scan, SPACING, 0), scan)


def test_calibration_gives_the_mean_slice_its_counts() -> None:
    truth = body() * torch.linspace(0, 1, 12)[:, None, None]
    beam = TWELFTH._beam(truth, SPACING)
    counts = beam.forward(truth * _counts_per_suv(beam, truth, TWELFTH.counts_per_slice)).sum(
        (1, 2)
    )
    assert counts.mean().item() == pytest.approx(2e5, rel=1e-4)


def test_negative_and_empty_activity() -> None:
    truth = body(2)
    shifted = truth - 0.2 * (truth == 0)
    assert torch.equal(
        TWELFTH.degrade(shifted, SPACING, seed=0), TWELFTH.degrade(truth, SPACING, seed=0)
    )
    nothing = torch.zeros(2, 24, 24)
    assert torch.equal(TWELFTH.degrade(nothing, SPACING, seed=0), nothing)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (49, 37)])
def test_slices_need_not_be_square(height: int, width: int) -> None:
    truth = body(2, height, width)
    lq, hq = TWELFTH.acquire(truth, SPACING, seed=0)
    assert lq.shape == hq.shape == truth.shape
    assert hq.mean().item() == pytest.approx(truth.mean().item(), rel=0.05)


def test_noise_depends_on_the_seed_alone_and_differs_between_slices() -> None:
    truth = body(3)
    sharp = replace(TWELFTH, fwhm_mm=0.0)
    first, again, other = (sharp.acquire(truth, SPACING, seed) for seed in (3, 3, 4))
    for one, two, three in zip(first, again, other, strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, three)
    noise = (first[0] - first[0].mean(0))[:, 18:30, 10:18].flatten(1)
    # Residuals of three independent slices around their mean correlate with -1/2.
    assert torch.corrcoef(noise).fill_diagonal_(-0.5).sub(-0.5).abs().max() < 0.4


def test_task_file_builds_the_class() -> None:
    node = dict(load_task("pet").degradation)
    assert node.pop("_target_") == "amir_lightning.degradation.LowCount"
    assert LowCount(**node).reduction == 12


def test_bad_input() -> None:
    with pytest.raises(InputError, match="reduction is 0"):
        replace(TWELFTH, reduction=0)
    with pytest.raises(InputError, match="subsets is 0"):
        replace(TWELFTH, subsets=0)
    truth = body(1)
    truth[0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        TWELFTH.degrade(truth, SPACING, 0)
