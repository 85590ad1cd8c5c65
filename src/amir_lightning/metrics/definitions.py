"""PSNR, SSIM and RMSE of a batch of slices in physical units, under two named definitions.

Both clip restored and HQ to the task's ``value_range`` and then to its ``score_range``, compute in
float64 and give one score per slice; they share the RMSE and differ in two points:

============  ==============================  ==========================
definition    data range R                    borders of the SSIM
============  ==============================  ==========================
``paper``     max - min of each label slice   zeros outside the image
``standard``  width of ``score_range``        mirrored, as torchmetrics
============  ==============================  ==========================

The tables of AMIR (Sec. 3.1) use ``paper``. Its range depends on the label, so that its scores only
compare methods on the same slices.

SSIM (Wang et al. 2004): 11x11 Gaussian window of sigma 1.5, population variances, C1 = (0.01 R)^2,
C2 = (0.03 R)^2, mean over all pixels. It changes if all intensities are shifted; both definitions
take the values as they are, signed HU for CT.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from amir_lightning.errors import InputError
from amir_lightning.tasks import Task

Definition = Callable[[Tensor, Tensor, Task], dict[str, Tensor]]

_RADIUS = 5
_SIGMA = 1.5


@torch.no_grad()
def paper(restored: Tensor, hq: Tensor, task: Task) -> dict[str, Tensor]:
    """Score slices as the paper does, with the range of each label slice and zero-padded SSIM.

    A constant label has no range: its PSNR and SSIM are NaN, also for a perfect restoration. A
    non-finite pixel makes all three scores of its slice NaN.

    Args:
        restored: Restored slices, (B, 1, H, W), any floating type [physical units].
        hq: Labels, (B, 1, H, W) [physical units].
        task: Task with the value range and the score range.

    Returns:
        ``psnr`` [dB], ``ssim`` and ``rmse`` [physical units], each (B,), float64.

    Raises:
        InputError: The shapes differ or are not (B, 1, H, W).
    """
    x, y = _clipped(restored, hq, task)
    data_range = y.amax(dim=(1, 2, 3)) - y.amin(dim=(1, 2, 3))
    # PSNR and SSIM are undefined for a range of zero; a range of NaN makes both NaN.
    data_range = data_range.masked_fill(data_range == 0, math.nan)
    return {**_errors(x, y, data_range), "ssim": _zero_padded_ssim(x, y, data_range)}


@torch.no_grad()
def standard(restored: Tensor, hq: Tensor, task: Task) -> dict[str, Tensor]:
    """Score slices the common way: one fixed data range per task, SSIM of torchmetrics.

    Arguments, returned scores and errors are those of `paper`, with two differences: a constant
    label has ordinary scores, and slices need at least 6x6 pixels to be mirrored. The SSIM of
    torchmetrics takes a second for a 512x512 slice in float64; in float32, its error was 0.002 on
    signed HU.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure  # slow import

    x, y = _clipped(restored, hq, task)
    if min(x.shape[-2:]) <= _RADIUS:
        raise InputError(
            f"slices are {x.shape[-2]}x{x.shape[-1]} pixels, but the standard SSIM mirrors "
            f"{_RADIUS} of them and needs one more; score larger slices or use the paper's scores"
        )
    data_range = task.score_range[1] - task.score_range[0]
    ssim = structural_similarity_index_measure(
        x, y, sigma=_SIGMA, data_range=data_range, reduction="none"
    )
    assert isinstance(ssim, Tensor)  # for the type checker
    return {**_errors(x, y, x.new_tensor(data_range)), "ssim": ssim.reshape(-1)}


METRICS: dict[str, Definition] = {"paper": paper, "standard": standard}
"""Definitions by their name in configurations and captions of tables."""


def _clipped(restored: Tensor, hq: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Convert both sides to float64 and clip to the value range, then to the score range."""
    if restored.shape != hq.shape or hq.ndim != 4 or hq.shape[1] != 1:
        raise InputError(
            f"restored is {tuple(restored.shape)} and HQ is {tuple(hq.shape)}; "
            "scoring expects two equal shapes (B, 1, H, W)"
        )
    restored, hq = (_float64(image) for image in (restored, hq))
    # Clipping would make an infinite pixel valid and hide that the network overflowed.
    broken = ~(restored - hq).isfinite().all(dim=(1, 2, 3), keepdim=True)
    for low, high in (task.value_range, task.score_range):
        restored, hq = restored.clamp(low, high), hq.clamp(low, high)
    return restored.masked_fill(broken, math.nan), hq.masked_fill(broken, math.nan)


def _float64(image: Tensor) -> Tensor:
    # Apple's GPUs have no float64.
    return (image.cpu() if image.device.type == "mps" else image).to(torch.float64)


def _errors(x: Tensor, y: Tensor, data_range: Tensor) -> dict[str, Tensor]:
    mse = (x - y).square().mean(dim=(1, 2, 3))
    return {"psnr": 10 * torch.log10(data_range.square() / mse), "rmse": mse.sqrt()}


def _zero_padded_ssim(x: Tensor, y: Tensor, data_range: Tensor) -> Tensor:
    """Mean structural similarity of each slice, (B,)."""
    c1, c2 = ((k * data_range.view(-1, 1, 1, 1)).square() for k in (0.01, 0.03))
    # The formula has the two variances only as their sum: four filtered images, not five.
    moments = _blur(torch.cat([x, y, x * x + y * y, x * y], dim=1))
    mean_x, mean_y, squares, product = moments.split(1, dim=1)
    means = mean_x * mean_y
    mean_squares = mean_x.square() + mean_y.square()
    luminance = (2 * means + c1) / (mean_squares + c1)
    structure = (2 * (product - means) + c2) / (squares - mean_squares + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def _blur(images: Tensor) -> Tensor:
    """Blur (B, C, H, W) with the Gaussian window, along columns and then rows, zeros outside.

    Sums of shifted images are ten times faster on a CPU than a float64 convolution, which has no
    fast kernel.
    """
    weights = [math.exp(-0.5 * (tap / _SIGMA) ** 2) for tap in range(_RADIUS + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    for dim, padding in ((-2, (0, 0, _RADIUS, _RADIUS)), (-1, (_RADIUS, _RADIUS, 0, 0))):
        size = images.shape[dim]
        padded = F.pad(images, padding)
        images = padded.narrow(dim, _RADIUS, size) * (weights[0] / total)
        for tap in range(1, _RADIUS + 1):
            before = padded.narrow(dim, _RADIUS - tap, size)
            after = padded.narrow(dim, _RADIUS + tap, size)
            images.add_(before + after, alpha=weights[tap] / total)
    return images
