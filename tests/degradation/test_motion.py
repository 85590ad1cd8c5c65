import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from amir_lightning.degradation import Motion
from amir_lightning.degradation.motion import moving, rotate
from amir_lightning.errors import InputError

SPACING = (3.0, 2.0, 2.0)
TWICE = Motion(events=2, shift_mm=4.0, degrees=2.0, noise=10.0)


def head(height: int = 64, width: int = 56) -> Tensor:
    """A smooth head with an off-centre spot, which a rotation moves."""
    y = torch.arange(height) - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    image = 500 * torch.exp(-((y[:, None] / 10) ** 2 + (x / 8) ** 2))
    return image + 300 * torch.exp(-((y[:, None] - 8) ** 2 + (x + 6) ** 2) / 8)


@pytest.mark.parametrize("degrees", [-8.0, 3.0, 15.0])
def test_shears_rotate_as_interpolation_does(degrees: float) -> None:
    image = head()
    turned = rotate(image, degrees).real
    expected = ndimage.rotate(image.double().numpy(), degrees, reshape=False, order=5)
    np.testing.assert_allclose(turned.numpy(), expected, atol=1.0)
    assert turned.square().sum().item() == pytest.approx(image.square().sum().item(), rel=1e-4)
    torch.testing.assert_close(
        rotate(rotate(image, degrees), -degrees).real, image, atol=0.1, rtol=0
    )


def test_lines_come_from_the_pose_they_are_measured_in() -> None:
    """Whole pixels: poses by rolling the image, each line from the FFT of its own pose."""
    image = head().double().numpy()
    poses = torch.tensor([[0.0, 0, 0], [3, -2, 0], [-1, 5, 0]])
    starts = [10, 40]  # the DC line is 32: the second pose is that of HQ
    found = moving(torch.from_numpy(image), starts, poses)
    kspace = np.empty(image.shape, complex)
    for first, end, pose in ((0, 10, (-3, 2)), (10, 40, (0, 0)), (40, 64, (-4, 7))):
        rolled = np.roll(image, pose, axis=(0, 1))
        kspace[first:end] = np.fft.fftshift(np.fft.fft2(rolled))[first:end]
    expected = np.fft.ifft2(np.fft.ifftshift(kspace))
    np.testing.assert_allclose(found.numpy(), expected, atol=0.05)


def test_point_spread_of_one_shift() -> None:
    """A point that jumps by d columns becomes two points, with the sums of their own lines."""
    point = torch.zeros(64, 64)
    point[20, 30] = 1.0
    image = moving(point, [48], torch.tensor([[0.0, 0, 0], [0, 7, 0]])).abs()
    assert image[20, 30].item() == pytest.approx(48 / 64, abs=1e-4)
    assert image[20, 37].item() == pytest.approx(16 / 64, abs=1e-4)
    assert image[:, [30, 37]].square().sum().item() == pytest.approx(
        image.square().sum().item(), rel=1e-4
    )


def test_the_amplitude_is_as_stated() -> None:
    poses = torch.cat(
        [TWICE._poses(3, 4.0, 2.0, torch.Generator().manual_seed(i)).diff(dim=0) for i in range(99)]
    )
    torch.testing.assert_close(poses[:, :2].norm(dim=1), torch.full((297,), 4.0))
    assert set(poses[:, 2].round(decimals=4).tolist()) == {-2.0, 2.0}
    assert poses[:, :2].mean(0).norm() < 0.6  # in no direction more than in others


def test_without_events_or_amplitude_nothing_changes() -> None:
    scan = head()[None].repeat(2, 1, 1)
    for still in (Motion(0, 4, 2, 0), Motion(3, 0, 0, 0)):
        torch.testing.assert_close(still.degrade(scan, SPACING, 0), scan, atol=0.01, rtol=0)


def test_lq_lies_on_hq() -> None:
    """The centre of k-space, most of the energy, is measured in the pose of HQ."""
    scan = head()[None].repeat(24, 1, 1)
    lq = TWICE.degrade(scan, SPACING, seed=1)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(56.0), indexing="ij")

    def middle(image: Tensor) -> Tensor:
        power = image.square()
        return torch.stack([(power * rows).sum(), (power * columns).sum()]) / power.sum()

    apart = torch.stack([(middle(one) - middle(scan[0])).norm() for one in lq])
    assert apart.mean() < 0.5  # two events of two pixels
    assert (lq - scan).abs().amax((1, 2)).median() > 5
    assert lq.square().sum().item() == pytest.approx(scan.square().sum().item(), rel=0.02)


def test_slices_move_by_themselves_and_noise_stays() -> None:
    truth = head()[None].repeat(2, 1, 1)
    first, again, other = (TWICE.acquire(truth, SPACING, seed) for seed in (5, 5, 6))
    for one, two, three in zip(first, again, other, strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, three)
    assert not torch.allclose(*TWICE.degrade(truth, SPACING, 0))
    lq, hq = Motion(0, 4, 2, 10.0).acquire(truth, SPACING, 0)
    torch.testing.assert_close(lq, hq, atol=0.01, rtol=0)
    air = TWICE.acquire(torch.zeros(2, 64, 56), SPACING, 0)
    for image in air:
        assert image.mean().item() == pytest.approx(10 * (torch.pi / 2) ** 0.5, rel=0.03)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="shift_mm is -1"):
        Motion(1, -1, 0, 0)
    with pytest.raises(InputError, match="degrees is 90"):
        Motion(1, 1, 90, 0)
    with pytest.raises(InputError, match="square"):
        TWICE.degrade(head()[None], (3.0, 2.0, 1.0), 0)
