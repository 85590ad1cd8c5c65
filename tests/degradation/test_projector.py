import numpy as np
import pytest
import torch
from skimage.data import shepp_logan_phantom
from skimage.transform import iradon, radon, resize
from torch import Tensor

from amir_lightning.degradation.projector import Kernel, ParallelBeam
from amir_lightning.errors import InputError


def disc(
    size: int, centre: tuple[float, float] = (0.0, 0.0), radius: float = 20.0
) -> tuple[Tensor, Tensor]:
    axis = torch.arange(size) - (size - 1) / 2
    distance = torch.hypot(axis[:, None] - centre[0], axis - centre[1])
    # A soft edge one pixel wide, close to the area that the disc covers in a pixel.
    return (radius + 0.5 - distance).clamp(0, 1)[None], distance


@pytest.mark.parametrize(
    ("size", "num_views", "spacing_mm"), [(17, 8, 1.3), ((33, 20), 12, 0.7), ((20, 33), 32, 2.0)]
)
def test_adjoint(size: int | tuple[int, int], num_views: int, spacing_mm: float) -> None:
    beam = ParallelBeam(size, num_views, spacing_mm)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, *beam.size, generator=generator)
    y = torch.randn(3, num_views, beam.num_bins, generator=generator)
    left = (beam.forward(x).double() * y).sum()
    right = (x.double() * beam.adjoint(y)).sum()
    scale = beam.forward(x).norm() * y.norm()
    assert abs(left - right) < 1e-6 * scale


def test_every_view_holds_the_whole_mass() -> None:
    image = torch.rand(2, 24, 24, generator=torch.Generator().manual_seed(0))
    beam = ParallelBeam(24, 16, 1.5)
    sums = beam.forward(image).sum(2) * beam.spacing_mm
    mass = image.sum((1, 2)) * beam.spacing_mm**2
    torch.testing.assert_close(sums, mass[:, None].expand(2, 16))


def test_line_integrals_of_a_disc_are_its_chords() -> None:
    beam = ParallelBeam(96, 24, 0.5)
    image, _ = disc(96, (6.0, -9.0), 25.0)
    angle = (torch.arange(24) + 0.5) * torch.pi / 24
    centre = -9.0 * angle.cos() + 6.0 * angle.sin()
    position = torch.arange(beam.num_bins) - beam.num_bins // 2
    chord = 2 * (25.0**2 - (position - centre[:, None]) ** 2).clamp(min=0).sqrt() * 0.5
    error = beam.forward(image)[0] - chord
    assert error.norm() < 0.015 * chord.norm()


def test_agrees_with_scikit_image() -> None:
    size, num_views = 127, 64  # odd: the axis of scikit-image is the pixel size // 2
    image = resize(shepp_logan_phantom(), (size, size), anti_aliasing=True).astype(np.float32)
    image *= np.hypot(*np.ogrid[-63:64, -63:64]) < 62
    degrees = (np.arange(num_views) + 0.5) * 180 / num_views
    beam = ParallelBeam(size, num_views)
    sinogram = beam.forward(torch.from_numpy(image)[None])
    middle = beam.num_bins // 2
    # Its y axis points up, which mirrors the slice.
    ours = sinogram[0, :, middle - 63 : middle + 64].numpy()
    theirs = radon(image[::-1], degrees, circle=True).T
    assert np.linalg.norm(ours - theirs) < 0.02 * np.linalg.norm(theirs)

    ours = beam.fbp(sinogram)[0].numpy()
    theirs = iradon(theirs.T, degrees, filter_name="ramp", circle=True)[::-1]
    inside = np.hypot(*np.ogrid[-63:64, -63:64]) < 60
    assert np.linalg.norm((ours - theirs)[inside]) < 0.1 * np.linalg.norm(theirs[inside])


@pytest.mark.parametrize("kernel", ["ramp", "hann"])
@pytest.mark.parametrize("spacing_mm", [0.7, 3.0])
def test_fbp_is_quantitative(kernel: Kernel, spacing_mm: float) -> None:
    image, distance = disc(96, (4.0, -7.0), 28.0)
    beam = ParallelBeam(96, 144, spacing_mm)
    restored = beam.fbp(beam.forward(image), kernel)[0]
    assert restored[distance < 24].mean() == pytest.approx(1, abs=0.01)
    assert restored[distance > 33].mean() == pytest.approx(0, abs=0.01)
    assert restored[distance < 24].std() < 0.02


def test_slices_do_not_mix() -> None:
    beam = ParallelBeam((20, 24), 8)
    stack = torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(beam.forward(stack)[1:2], beam.forward(stack[1:2]))
    one = beam.fbp(beam.forward(stack))[2:]
    torch.testing.assert_close(one, beam.fbp(beam.forward(stack[2:])))


@pytest.mark.parametrize("background", [None, 2.0])
def test_osem_recovers_a_disc_and_its_counts(background: float | None) -> None:
    image, distance = disc(48, (3.0, -4.0), 14.0)
    beam = ParallelBeam(48, 48, 2.0)
    extra = None if background is None else torch.full((1, 48, beam.num_bins), background)
    counts = beam.forward(image * 5) + (0.0 if extra is None else extra)
    estimate = beam.osem(counts, 8, 6, extra)
    assert estimate.min() >= 0
    assert estimate[0][distance < 11].mean() == pytest.approx(5, rel=0.02)
    assert estimate[0][distance > 18].mean() < 0.05
    expected = beam.forward(estimate) + (0.0 if extra is None else extra)
    assert expected.sum().item() == pytest.approx(counts.sum().item(), rel=1e-3)


def test_osem_of_one_subset_keeps_the_counts_exactly() -> None:
    beam = ParallelBeam((20, 16), 16)
    generator = torch.Generator().manual_seed(0)
    activity = torch.rand(2, 20, 16, generator=generator) * 4
    counts = torch.poisson(beam.forward(activity), generator=generator)
    estimate = beam.osem(counts, 1, 1)
    torch.testing.assert_close(
        beam.forward(estimate).sum((1, 2)), counts.sum((1, 2)), rtol=1e-5, atol=0
    )


def test_osem_of_nothing_is_nothing() -> None:
    beam = ParallelBeam(12, 16)
    estimate = beam.osem(torch.zeros(1, 16, beam.num_bins), 2, 4)
    assert torch.equal(estimate, torch.zeros(1, 12, 12))


def test_impossible_views_and_subsets() -> None:
    with pytest.raises(InputError, match="num_views=772"):
        ParallelBeam(512, 770)
    with pytest.raises(InputError, match="divisor of 4"):
        ParallelBeam(12, 16).osem(torch.zeros(1, 16, 21), 1, 3)
