import pytest
import torch
from torch import Tensor

from amir_lightning.degradation import KSpaceCrop, OneOf
from amir_lightning.degradation.kspace import crop_kspace, low_pass
from amir_lightning.errors import InputError

SPACING = (3.0, 0.9, 0.9)
SIZES = [(256, 256), (64, 48), (37, 50), (33, 31), (3, 5)]


def slices(height: int, width: int, num: int = 2) -> Tensor:
    return torch.rand(num, height, width, generator=torch.Generator().manual_seed(0)) * 1000


def centred(image: Tensor) -> Tensor:
    return torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_centre_is_kept_exactly_and_the_rest_is_empty(height: int, width: int) -> None:
    image = slices(height, width)
    before, after = centred(image), centred(low_pass(image, 4))
    kept_y, kept_x = max(1, round(height / 4)), max(1, round(width / 4))
    top, left = height // 2 - kept_y // 2, width // 2 - kept_x // 2
    centre = (..., slice(top, top + kept_y), slice(left, left + kept_x))
    size = before.abs().max().item()
    torch.testing.assert_close(after[centre], before[centre], rtol=1e-4, atol=1e-6 * size)
    after[centre] = 0
    assert after.abs().max() < 1e-6 * size
    assert top <= height // 2 < top + kept_y  # the DC line is one of them


def test_a_factor_of_four_keeps_a_sixteenth() -> None:
    impulse = torch.zeros(1, 256, 256)
    impulse[0, 100, 30] = 1  # its spectrum has magnitude one everywhere
    power = centred(low_pass(impulse, 4)).abs()
    assert power.sum().item() == pytest.approx(0.0625 * 256**2, rel=1e-5)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_idempotent_before_the_magnitude(height: int, width: int) -> None:
    once = low_pass(slices(height, width), 4)
    torch.testing.assert_close(low_pass(once, 4), once, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_constant_image_and_a_factor_of_one_change_nothing(height: int, width: int) -> None:
    constant = torch.full((1, height, width), 700.0)
    torch.testing.assert_close(crop_kspace(constant, 4), constant)
    image = slices(height, width)
    torch.testing.assert_close(crop_kspace(image, 1), image, rtol=1e-4, atol=1e-2)


def test_degrade_is_the_crop() -> None:
    image = slices(40, 36)
    lq = KSpaceCrop(4, 12.0).degrade(image, SPACING, seed=0)
    assert lq.dtype == torch.float32
    assert torch.equal(lq, crop_kspace(image, 4))
    torch.testing.assert_close(lq.mean((1, 2)), image.mean((1, 2)), rtol=0.02, atol=0)


def test_acquire_adds_rician_noise() -> None:
    truth = torch.zeros(2, 128, 128)
    truth[1] = 500.0
    lq, hq = KSpaceCrop(4, 12.0).acquire(truth, SPACING, seed=0)
    # Rayleigh where there is no signal: mean sigma sqrt(pi / 2); Gaussian where there is much.
    assert hq[0].mean().item() == pytest.approx(12 * (torch.pi / 2) ** 0.5, rel=0.02)
    assert hq[1].std().item() == pytest.approx(12, rel=0.02)
    # A sixteenth of white noise is left.
    assert lq[1].std().item() == pytest.approx(12 / 4, rel=0.05)
    assert lq[0].mean().item() == pytest.approx(3 * (torch.pi / 2) ** 0.5, rel=0.05)


def test_noise_of_a_magnitude_has_a_mean_that_a_crop_keeps() -> None:
    air = torch.zeros(2, 128, 128)
    lq, hq = KSpaceCrop(4, 12.0, from_magnitude=True).acquire(air, SPACING, seed=0)
    assert lq.mean().item() == pytest.approx(hq.mean().item(), rel=0.01)
    assert torch.equal(hq, KSpaceCrop(4, 12.0).acquire(air, SPACING, seed=0)[1])


def test_acquire_depends_on_the_seed_alone() -> None:
    truth = slices(24, 20)
    crop = KSpaceCrop(4, 12.0)
    first, again, other = (crop.acquire(truth, SPACING, seed) for seed in (5, 5, 6))
    for one, two, three in zip(first, again, other, strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, three)


def test_air_is_masked_in_some_patients() -> None:
    truth = torch.zeros(1, 64, 64)
    truth[0, 16:48, 16:48] = 500.0
    crop = KSpaceCrop(4, 12.0, from_magnitude=True, masked_air=OneOf((0, 0, 0, 1)))
    masked = 0
    for seed in range(200):
        lq, hq = crop.acquire(truth, SPACING, seed)
        _, plain_hq = KSpaceCrop(4, 12.0).acquire(truth, SPACING, seed)
        assert torch.equal(lq, crop.degrade(hq, SPACING, seed))
        if torch.equal(hq, plain_hq):
            continue
        masked += 1
        kept = hq > 0
        assert torch.equal(hq[kept], plain_hq[kept])
        assert kept[0, 13:51, 13:51].all()  # tissue, and three pixels around it
        assert not kept[0, :10].any()
        assert not kept[0, :, 54:].any()
    assert masked == pytest.approx(50, abs=18)  # three standard deviations


def test_bad_input() -> None:
    with pytest.raises(InputError, match="factor"):
        KSpaceCrop(0.5, 1.0)
    with pytest.raises(InputError, match=r"masked_air is 0.5, expected 0, 1, or"):
        KSpaceCrop(4, 1.0, from_magnitude=True, masked_air=0.5)
    with pytest.raises(InputError, match=r"only the magnitude can be masked; type .*=true"):
        KSpaceCrop(4, 1.0, masked_air=OneOf((0, 1)))
    broken = slices(8, 8)
    broken[1, 2, 3] = float("nan")
    with pytest.raises(InputError, match="1 NaN or infinite voxels, the first in slice 1"):
        KSpaceCrop(4, 1.0).degrade(broken, SPACING, 0)
    with pytest.raises(InputError, match=r"\(Z, Y, X\)"):
        KSpaceCrop(4, 1.0).degrade(broken[0], SPACING, 0)
