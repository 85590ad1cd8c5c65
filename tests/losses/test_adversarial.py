import numpy as np
import pytest
import torch

from amir_lightning.losses import critic_loss, generator_loss, spectral_loss
from amir_lightning.losses.adversarial import radial_spectrum


def test_least_squares() -> None:
    real, fake = torch.tensor([0.5, 1.0]), torch.tensor([0.0, 0.4])
    assert float(critic_loss(real, fake)) == pytest.approx(0.5 * (0.25 / 2 + 0.16 / 2))
    assert float(generator_loss(fake)) == pytest.approx((1 + 0.36) / 2)


@pytest.mark.parametrize("size", [(16, 16), (12, 20)])
def test_radial_spectrum_is_a_mean_over_rings(size: tuple[int, int]) -> None:
    image = torch.rand(1, 1, *size)
    power = np.abs(np.fft.fft2(image[0, 0].numpy().astype(np.float64))) ** 2
    side = min(size)
    expected = []
    for ring in range(1, side // 2 + 1):
        values = []
        for i in range(size[0]):
            for j in range(size[1]):
                fy = (i if i <= (size[0] - 1) // 2 else i - size[0]) / size[0] * side
                fx = (j if j <= (size[1] - 1) // 2 else j - size[1]) / size[1] * side
                # float32 of torch decides the ties at half radii; there are none in these sizes
                if round(float(np.hypot(fy, fx))) == ring:
                    values.append(power[i, j])
        expected.append(np.mean(values))
    np.testing.assert_allclose(radial_spectrum(image)[0, 0].numpy(), expected, rtol=1e-4)


def test_spectral_loss_is_smallest_for_equal_spectra_and_sees_a_blur() -> None:
    torch.manual_seed(0)
    hq = torch.rand(2, 1, 16, 16)
    blurred = torch.nn.functional.avg_pool2d(hq, 3, stride=1, padding=1)
    restored = blurred.clone().requires_grad_()
    loss = spectral_loss(restored, hq)
    assert loss > spectral_loss(hq, hq)
    loss.backward()
    assert restored.grad is not None
    assert restored.grad.abs().max() > 0
    assert torch.isfinite(restored.grad).all()
    # What a spectrum cannot see: a shift by whole pixels around the border.
    torch.testing.assert_close(spectral_loss(hq.roll(3, -1), hq), spectral_loss(hq, hq))


def test_gradient_is_tame_where_the_mean_of_an_image_is_zero() -> None:
    torch.manual_seed(0)
    hq = torch.rand(1, 1, 16, 16)
    noise = 0.1 * torch.randn(1, 1, 16, 16)
    norms = []
    for offset in (0.0, 1e-3, 0.5):
        restored = (noise - noise.mean() + offset).requires_grad_()
        spectral_loss(restored, hq).backward()
        norms.append(float(restored.grad.norm()))
    assert max(norms) < 2 * norms[-1]


def test_a_black_image_gives_a_finite_loss() -> None:
    assert torch.isfinite(spectral_loss(torch.zeros(1, 1, 16, 16), torch.rand(1, 1, 16, 16)))
