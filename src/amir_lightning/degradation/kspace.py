"""MRI super-resolution: keep only the centre of k-space (paper, Sec. 3.1)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from amir_lightning.degradation.parameters import Parameter, possible, value_of
from amir_lightning.degradation.stack import Spacing, check_stack
from amir_lightning.errors import InputError


def crop_kspace(image: Tensor, factor: float) -> Tensor:
    """Keep the centre of k-space, fill the rest with zeros and take the magnitude.

    Of n lines along an axis, round(n / factor) are kept, at least one. They are centred: kept // 2
    lines lie before the DC line, the others after it. A factor of 4 keeps 64 of 256 lines along
    each axis, which is 6.25 % of k-space.

    Args:
        image: Slices, real or complex, (..., H, W) [a.u.].
        factor: Down-sampling factor per axis.

    Returns:
        Magnitude image on the original grid, (..., H, W) [a.u.].
    """
    return low_pass(image, factor).abs()


def low_pass(image: Tensor, factor: float) -> Tensor:
    """Complex image of `crop_kspace` before its magnitude, (..., H, W); a linear projection."""
    return to_image(to_kspace(image) * _centre(image.shape[-2], image.shape[-1], factor))


def to_kspace(image: Tensor) -> Tensor:
    """Discrete Fourier transform of slices with the DC line in the middle, (..., H, W)."""
    return torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1))


def to_image(kspace: Tensor) -> Tensor:
    """Complex image of a k-space, (..., H, W); inverts `to_kspace`."""
    return torch.fft.ifft2(torch.fft.ifftshift(kspace, dim=(-2, -1)))


def receiver_noise(shape: torch.Size, noise: float, generator: torch.Generator) -> Tensor:
    """Draw complex white noise with a standard deviation of `noise` per channel."""
    channels = torch.randn(2, *shape, generator=generator) * noise
    return torch.complex(channels[0], channels[1])


def _kept_by_mask(truth: Tensor, noise: float) -> Tensor:
    """Where a mask leaves the image as it is: within 3 pixels of tissue, (Z, Y, X) of 0 and 1.

    Tissue is where the mean of 5 x 5 pixels is above the noise.
    """
    mean = F.avg_pool2d(truth[:, None], 5, stride=1, padding=2)
    return F.max_pool2d((mean > noise).to(truth), 7, stride=1, padding=3)[:, 0]


def _centre(height: int, width: int, factor: float) -> Tensor:
    return _kept_lines(height, factor)[:, None] & _kept_lines(width, factor)


def _kept_lines(length: int, factor: float) -> Tensor:
    kept = max(1, round(length / factor))
    first = length // 2 - kept // 2
    index = torch.arange(length)
    return (index >= first) & (index < first + kept)


@dataclass(frozen=True)
class KSpaceCrop:
    """`Degradation` of MRI super-resolution.

    Attributes:
        factor: Down-sampling factor per axis.
        noise: Standard deviation of the receiver noise per channel (real and imaginary) [a.u.];
            used by `acquire` only, because a real scan already contains noise; may be drawn for
            each patient.
        from_magnitude: Whether `acquire` takes the k-space of LQ from the magnitude of HQ, as the
            paper does and `degrade` has to; otherwise from the signal with its phase.
        masked_air: 1 if `acquire` sets the magnitude to 0 in air, as many scanners do, 0 if not;
            may be drawn for each patient.
    """

    factor: float
    noise: Parameter
    from_magnitude: bool = False
    masked_air: Parameter = 0

    def __post_init__(self) -> None:
        if self.factor < 1 or min(possible(self.noise)) < 0:
            raise InputError(
                f"factor is {self.factor} and noise is {self.noise}, expected a factor of at least "
                "1 and a noise of at least 0; type for instance tasks.<task>.degradation.factor=4"
            )
        masked = set(possible(self.masked_air))
        if not masked <= {0, 1}:
            raise InputError(
                f"masked_air is {self.masked_air}, expected 0, 1, or OneOf these two; type "
                "+tasks.<task>.degradation.masked_air=1"
            )
        if 1 in masked and not self.from_magnitude:
            raise InputError(
                f"masked_air is {self.masked_air}, but only the magnitude can be masked; type "
                "+tasks.<task>.degradation.from_magnitude=true"
            )

    def degrade(self, hq: Tensor, spacing_mm: Spacing, seed: int) -> Tensor:
        """Crop the k-space of each slice; no noise is added."""
        del spacing_mm, seed
        check_stack(hq)
        return crop_kspace(hq, self.factor)

    def samples(self, shape: tuple[int, int, int], seed: int) -> Tensor:
        """Keep the centre of the k-space of every slice."""
        del seed
        return _centre(shape[1], shape[2], self.factor)[None]

    def acquire(self, truth: Tensor, spacing_mm: Spacing, seed: int) -> tuple[Tensor, Tensor]:
        """Add complex white noise; HQ is the magnitude (Rician), LQ has its k-space cropped."""
        del spacing_mm
        check_stack(truth)
        generator = torch.Generator().manual_seed(seed)
        noise = value_of(self.noise, "noise", seed)
        signal = truth + receiver_noise(truth.shape, noise, generator)
        hq = signal.abs()
        if value_of(self.masked_air, "masked_air", seed):
            hq *= _kept_by_mask(truth, noise)
        return crop_kspace(hq if self.from_magnitude else signal, self.factor), hq
