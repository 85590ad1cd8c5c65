"""MRI motion correction: the head moves a few times while the lines of k-space are measured.

Source: P. M. Johnson and M. Drangova, Magn Reson Med 82, 2019 (rigid motion simulated in k-space);
W. F. Eddy et al., Magn Reson Med 36, 1996 (rotation by three shears in Fourier space, which neither
blurs nor loses energy).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from amir_lightning.degradation.kspace import receiver_noise, to_image, to_kspace
from amir_lightning.degradation.parameters import Parameter, possible, value_of
from amir_lightning.degradation.stack import Spacing, check_stack, square_spacing
from amir_lightning.errors import InputError


def shift(kspace: Tensor, rows: float, columns: float) -> Tensor:
    """Move an image along its axes, by a phase ramp over its k-space, (..., H, W).

    Args:
        kspace: k-space with the DC line in the middle.
        rows: Distance towards larger row numbers [pixels].
        columns: Distance towards larger column numbers [pixels].
    """
    turns = rows * _frequencies(kspace.shape[-2])[:, None]
    turns = turns + columns * _frequencies(kspace.shape[-1])
    return kspace * torch.exp(-2j * math.pi * turns)


def rotate(image: Tensor, degrees: float) -> Tensor:
    """Turn an image around its middle by three shears, each exact in Fourier space, (..., H, W).

    Args:
        image: Slices, real or complex; what leaves one side comes in at the other.
        degrees: Small angle; positive turns anticlockwise, with the first row above.
    """
    angle = math.radians(degrees)
    for axis, slope in (
        (-1, math.tan(angle / 2)),
        (-2, -math.sin(angle)),
        (-1, math.tan(angle / 2)),
    ):
        image = _shear(image, axis, slope)
    return image


def _shear(image: Tensor, axis: int, slope: float) -> Tensor:
    """Move each line along `axis` by `slope` times its distance from the middle."""
    other = -3 - axis
    length = image.shape[other]
    distance = slope * (torch.arange(length) - (length - 1) / 2)
    turns = torch.fft.fftfreq(image.shape[axis])[:, None] * distance
    ramp = torch.exp(-2j * math.pi * (turns if axis == -2 else turns.T))
    return torch.fft.ifft(torch.fft.fft(image, dim=axis) * ramp, dim=axis)


def _frequencies(length: int) -> Tensor:
    """Cycles per pixel of each line, the DC line in the middle."""
    return torch.fft.fftshift(torch.fft.fftfreq(length))


@dataclass(frozen=True)
class Motion:
    """`Degradation` of MRI motion correction: rigid motion in the plane between lines of k-space.

    The lines are measured from top to bottom. At each event the head moves to a new pose, in which
    it stays until the next. The pose at the DC line is that of HQ, so that LQ and HQ lie on each
    other. Each slice moves by itself, as slices do that are measured one after another.

    Attributes:
        events: Number of events in a slice; may be drawn for each patient.
        shift_mm: Distance of each event, in a random direction [mm]; may be drawn for each patient.
        degrees: Angle of each event, to a random side; may be drawn for each patient.
        noise: Standard deviation of the receiver noise per channel [a.u.]; used by `acquire` only;
            may be drawn for each patient.
    """

    events: Parameter
    shift_mm: Parameter
    degrees: Parameter
    noise: Parameter

    def __post_init__(self) -> None:
        for key in ("events", "shift_mm", "degrees", "noise"):
            if min(possible(getattr(self, key))) < 0:
                raise InputError(
                    f"{key} is {getattr(self, key)}, expected at least 0; type for instance "
                    f"tasks.<task>.degradation.{key}=1"
                )
        if max(possible(self.degrees)) > 45:
            raise InputError(
                f"degrees is {self.degrees}, expected at most 45; type for instance "
                "tasks.<task>.degradation.degrees=2"
            )

    def degrade(self, hq: Tensor, spacing_mm: Spacing, seed: int) -> Tensor:
        """Move each slice while its k-space is filled; no noise is added."""
        check_stack(hq)
        return self._moved(hq, spacing_mm, seed, torch.Generator().manual_seed(seed)).abs()

    def acquire(self, truth: Tensor, spacing_mm: Spacing, seed: int) -> tuple[Tensor, Tensor]:
        """HQ lies still, LQ moves; both have the same noise, which does not move."""
        check_stack(truth)
        generator = torch.Generator().manual_seed(seed)
        moved = self._moved(truth, spacing_mm, seed, generator)
        noise = receiver_noise(truth.shape, value_of(self.noise, "noise", seed), generator)
        return (moved + noise).abs(), (truth + noise).abs()

    def _moved(
        self, image: Tensor, spacing_mm: Spacing, seed: int, generator: torch.Generator
    ) -> Tensor:
        pixels = value_of(self.shift_mm, "shift_mm", seed) / square_spacing(spacing_mm)
        degrees = value_of(self.degrees, "degrees", seed)
        lines = image.shape[1]
        events = min(round(value_of(self.events, "events", seed)), lines - 1)
        moved = torch.empty(image.shape, dtype=torch.complex64)
        for row, one in zip(moved, image, strict=True):
            starts = (1 + torch.randperm(lines - 1, generator=generator)[:events]).sort().values
            poses = self._poses(events, pixels, degrees, generator)
            row.copy_(moving(one, starts.tolist(), poses))
        return moved

    def _poses(
        self, events: int, pixels: float, degrees: float, generator: torch.Generator
    ) -> Tensor:
        """Draw rows, columns [pixels] and angle [degrees] before and after each event."""
        direction = 2 * math.pi * torch.rand(events, generator=generator)
        side = torch.where(torch.rand(events, generator=generator) < 0.5, -1.0, 1.0)
        steps = [pixels * direction.cos(), pixels * direction.sin(), degrees * side]
        return torch.cat([torch.zeros(1, 3), torch.stack(steps, 1).cumsum(0)])


def moving(image: Tensor, starts: list[int], poses: Tensor) -> Tensor:
    """Image of a slice whose pose changes between lines of k-space.

    Args:
        image: The slice at rest, real or complex, (H, W).
        starts: First line after each event, increasing.
        poses: Rows, columns [pixels] and angle [degrees] before the first and after each event,
            (events + 1, 3); they count from the pose at the DC line.

    Returns:
        Complex image, (H, W).
    """
    lines = len(image)
    bounds = [0, *starts, lines]
    at_centre = sum(start <= lines // 2 for start in starts)
    kspace = torch.empty(image.shape, dtype=torch.complex64)
    for first, end, pose in zip(bounds[:-1], bounds[1:], poses - poses[at_centre], strict=True):
        rows, columns, degrees = pose.tolist()
        turned = rotate(image, degrees) if degrees else image
        kspace[first:end] = shift(to_kspace(turned), rows, columns)[first:end]
    return to_image(kspace)
