"""Adversarial training of AR-GAN: least-squares terms and the spectrum constraint.

Y. Luo et al., "Adaptive rectification based adversarial network with spectrum constraint for
high-quality PET image synthesis", Medical Image Analysis 77, 2022.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def critic_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Least-squares loss of the critic: 1 is the target for HQ images, 0 for restored ones.

    Args:
        real: Score maps of (LQ, HQ) pairs.
        fake: Score maps of (LQ, restored) pairs.
    """
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def generator_loss(fake: Tensor) -> Tensor:
    """Least-squares loss of the network: 1 is the target for restored images."""
    return (fake - 1).square().mean()


def spectral_loss(restored: Tensor, hq: Tensor) -> Tensor:
    """Binary cross-entropy between the radial power spectra of restored and HQ images.

    R. Durall et al., "Watch your up-convolution: CNN based generative deep neural networks are
    failing to reproduce spectral distributions", CVPR 2020.

    Deviation: both profiles are divided by the HQ image's power at frequency zero and clamped to
    [1e-5, 1 - 1e-5]. If each were divided by its own, gradients would explode where the mean of a
    restored image passes zero, as it does in the first steps.

    Args:
        restored: Restored images, (B, C, H, W).
        hq: High-quality images, (B, C, H, W).
    """
    with torch.autocast(restored.device.type, enabled=False):  # the power overflows half precision
        power = hq.float().sum(dim=(-2, -1)).square().clamp_min(1e-12)[..., None]
        found, wanted = (
            (radial_spectrum(image) / power).clamp(1e-5, 1 - 1e-5) for image in (restored, hq)
        )
        return F.binary_cross_entropy(found, wanted)


def radial_spectrum(image: Tensor) -> Tensor:
    """Power spectrum, averaged over rings of equal frequency.

    Args:
        image: (B, C, H, W).

    Returns:
        Mean power at the radii 1 to min(H, W) / 2, (B, C, R).
    """
    height, width = image.shape[-2:]
    side = min(height, width)
    power = torch.fft.fft2(image.float()).abs().square()
    y, x = (torch.fft.fftfreq(n, 1 / side, device=image.device) for n in (height, width))
    radius = torch.hypot(y[:, None], x[None, :]).round().long().flatten()
    rings = side // 2
    inside = radius.clamp(max=rings + 1)
    counts = torch.bincount(inside, minlength=rings + 2)
    sums = power.new_zeros(*image.shape[:2], rings + 2).index_add(-1, inside, power.flatten(2))
    means = sums / counts
    return means[..., 1 : rings + 1]
