"""Scores of one slice pair, of any array type."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from amir_lightning.errors import InputError
from amir_lightning.metrics.definitions import METRICS
from amir_lightning.tasks import Task, load_task


def paper_scores(
    restored: ArrayLike | Tensor, hq: ArrayLike | Tensor, task: Task | str
) -> dict[str, float]:
    """Score one slice with the paper's definition (`definitions.paper`).

    Args:
        restored: Restored slice, (H, W), (1, H, W) or (1, 1, H, W) [physical units]: a tensor of
            any real type on any device, or anything that numpy reads as an array.
        hq: Label of the same size [physical units].
        task: A task or its name, e.g. ``"ct"``.

    Returns:
        ``psnr`` [dB], infinite for identical slices; ``ssim``; ``rmse`` [physical units]. A label
        that is constant after clipping has no data range: ``psnr`` and ``ssim`` are NaN and
        ``rmse`` is valid.

    Raises:
        InputError: The task is unknown, the sizes differ, an array is not one slice of real
            numbers, or a pixel is NaN or infinite.
    """
    return _scores("paper", restored, hq, task)


def standard_scores(
    restored: ArrayLike | Tensor, hq: ArrayLike | Tensor, task: Task | str
) -> dict[str, float]:
    """Score one slice with the common definition (`definitions.standard`).

    The data range is the width of the task's score range and does not depend on the label: scores
    of different slices can be compared, and a constant label has ordinary scores. SSIM is that of
    torchmetrics, which mirrors the image at its borders. The rest is as in `paper_scores`.
    """
    return _scores("standard", restored, hq, task)


def _scores(
    definition: str, restored: ArrayLike | Tensor, hq: ArrayLike | Tensor, task: Task | str
) -> dict[str, float]:
    task = _task(task) if isinstance(task, str) else task
    x, y = _slice(restored, "restored"), _slice(hq, "HQ")
    if x.shape != y.shape:
        raise InputError(
            f"the restored slice is {_size(x)} pixels and its HQ label is {_size(y)}; "
            "score two slices of the same size"
        )
    scores = METRICS[definition](x, y, task)
    return {name: score.item() for name, score in scores.items()}


_task = lru_cache(load_task)  # reads the task's file once in a loop over slices


def _slice(image: ArrayLike | Tensor, side: str) -> Tensor:
    """Convert an image to (1, 1, H, W) in float64."""
    if isinstance(image, Tensor):
        # numpy has no bfloat16, no gradients and no devices.
        image = image.detach().cpu()
        image = image.to(torch.complex128 if image.is_complex() else torch.float64).numpy()
    try:
        array = np.asarray(image)
        if np.iscomplexobj(array):
            raise TypeError("complex numbers")
        # A copy, because torch shares neither read-only memory maps nor negative strides.
        array = np.array(array, dtype=np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the {side} slice ({type(image).__name__}) is not an array of real numbers ({error}); "
            "pass an array of shape (H, W)"
        ) from error
    if not 2 <= array.ndim <= 4 or set(array.shape[:-2]) - {1} or array.size == 0:
        raise InputError(
            f"the {side} slice has shape {array.shape}; "
            "pass one slice of shape (H, W), (1, H, W) or (1, 1, H, W)"
        )
    broken = np.count_nonzero(~np.isfinite(array))
    if broken:
        raise InputError(
            f"the {side} slice has {broken} NaN or infinite pixels; "
            "replace them before scoring, e.g. with numpy.nan_to_num"
        )
    return torch.from_numpy(array.reshape(1, 1, *array.shape[-2:]))


def _size(image: Tensor) -> str:
    return f"{image.shape[-2]}x{image.shape[-1]}"
