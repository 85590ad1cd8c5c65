import numpy as np
import pytest
import torch

from amir_lightning.degradation import OneOf, Undersampling
from amir_lightning.degradation.undersampling import sampled_lines
from amir_lightning.errors import InputError

SPACING = (3.0, 1.0, 1.0)
FOURFOLD = Undersampling(factor=4, centre=0.32, power=2.0, noise=12.0)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("length", [256, 255, 64, 9])
@pytest.mark.parametrize("factor", [1, 2.5, 4, 8])
def test_number_of_lines_and_the_sampled_centre(length: int, factor: float) -> None:
    mask = sampled_lines(length, factor, 0.32, 2.0, generator())
    kept = max(1, round(length / factor))
    assert int(mask.sum()) == kept
    middle = max(1, round(0.32 * kept))
    first = length // 2 - middle // 2
    assert mask[first : first + middle].all()
    assert mask[length // 2]  # DC


def test_density_falls_towards_the_edge() -> None:
    masks = torch.stack([sampled_lines(256, 4, 0.32, 2.0, generator(i)) for i in range(1500)])
    density = masks.float().mean(0)
    assert (density[118:138] == 1).all()  # round(0.32 * 64) = 20 lines
    # The same chance at the same distance on both sides, and less further out.
    for near, far in ((20, 50), (50, 80), (80, 110)):
        rings = [density[[128 - d, 128 + d]].mean().item() for d in (near, far)]
        assert rings[0] > rings[1] + 0.05
    assert density[:118].sum().item() == pytest.approx(density[138:].sum().item(), rel=0.05)
    flat = torch.stack([sampled_lines(256, 4, 0.32, 0.0, generator(i)) for i in range(1500)])
    outside = flat.float().mean(0)[[*range(118), *range(138, 256)]]
    assert outside.std() < 0.02


def test_lq_is_the_zero_filled_image_of_an_independent_transform() -> None:
    image = torch.rand(2, 40, 33, generator=generator(1)) * 1000
    lq = FOURFOLD.degrade(image, SPACING, seed=5)
    masks = generator(5)
    for number, one in enumerate(image.double().numpy()):
        mask = sampled_lines(40, 4, 0.32, 2.0, masks).numpy()
        rows, columns = np.arange(40), np.arange(33)
        # DFT as matrices, without any library; line k of the mask has the frequency k - 20.
        forward_y = np.exp(-2j * np.pi * np.outer(rows - 20, rows) / 40)
        forward_x = np.exp(-2j * np.pi * np.outer(columns, columns) / 33)
        kspace = forward_y @ one @ forward_x * mask[:, None]
        back = forward_y.conj().T @ kspace @ forward_x.conj() / (40 * 33)
        np.testing.assert_allclose(lq[number].numpy(), np.abs(back), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("factor", [4, 8])
def test_energy_of_white_noise_is_kept_in_proportion(factor: int) -> None:
    noise = torch.randn(8, 128, 128, generator=generator(2))
    lq = Undersampling(factor, 0.32, 2.0, 0.0).degrade(noise, SPACING, 0)
    kept = lq.square().sum() / noise.square().sum()
    assert kept.item() == pytest.approx(1 / factor, rel=0.05)


def test_aliasing_lies_along_the_phase_encoding() -> None:
    point = torch.zeros(1, 64, 64)
    point[0, 30, 20] = 1000.0
    lq = FOURFOLD.degrade(point, SPACING, seed=0)[0]
    assert lq[30, 20] == lq.max()
    assert lq[30, 20].item() == pytest.approx(250, rel=1e-4)  # a quarter of the lines
    elsewhere = lq.clone()
    elsewhere[:, 20] = 0
    assert elsewhere.max() < 1e-2
    assert (lq[:, 20] > 5).sum() > 32


def test_a_factor_of_one_changes_nothing_and_slices_have_their_own_lines() -> None:
    image = torch.rand(2, 32, 24, generator=generator(3)) * 500
    whole = Undersampling(1, 0.32, 2.0, 0.0).degrade(image, SPACING, 0)
    torch.testing.assert_close(whole, image, rtol=1e-4, atol=1e-2)
    twins = FOURFOLD.degrade(image[:1].expand(2, -1, -1).clone(), SPACING, 0)
    assert not torch.allclose(*twins)
    assert torch.equal(FOURFOLD.degrade(image, SPACING, 4), FOURFOLD.degrade(image, SPACING, 4))


def test_noise_of_a_scan_of_a_phantom() -> None:
    lq, hq = FOURFOLD.acquire(torch.full((4, 128, 128), 800.0), SPACING, 0)
    assert hq.std().item() == pytest.approx(12, rel=0.02)
    assert lq.std().item() == pytest.approx(6, rel=0.05)  # a quarter of the variance


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"factor is 0\.5"):
        Undersampling(0.5, 0.3, 2, 0)
    with pytest.raises(InputError, match="factor is OneOf"):
        Undersampling(OneOf((4, 0.5)), 0.3, 2, 0)
    with pytest.raises(InputError, match="centre is 2"):
        Undersampling(4, 2, 2, 0)
