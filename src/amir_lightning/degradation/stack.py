"""Checks and helpers for stacks of axial slices, shared by all degradations."""

import torch
from torch import Tensor

from amir_lightning.errors import InputError

Spacing = tuple[float, float, float]


def check_stack(image: Tensor) -> None:
    """Check that a stack can be degraded.

    Raises:
        InputError: The stack is not float32 of shape (Z, Y, X), is empty, or has NaN or infinite
            voxels.
    """
    if image.ndim != 3 or image.numel() == 0 or image.dtype != torch.float32:
        raise InputError(
            f"the scan is {image.dtype} of shape {tuple(image.shape)}, expected a stack of float32 "
            "slices of shape (Z, Y, X); reorder and convert it first"
        )
    wrong = ~torch.isfinite(image)
    if wrong.any():
        first = int(wrong.flatten(1).any(1).nonzero()[0])
        raise InputError(
            f"the scan has {int(wrong.sum())} NaN or infinite voxels, the first in slice {first}, "
            "expected finite values; repair the file or leave it out"
        )


def square_spacing(spacing_mm: Spacing) -> float:
    """Width of the square pixels of an axial slice [mm].

    Raises:
        InputError: The pixels are not square to within a thousandth.
    """
    _, height, width = spacing_mm
    if abs(height - width) > 1e-3 * width:
        raise InputError(
            f"the pixels of the axial slices are {height:.4g} x {width:.4g} mm, expected square "
            "ones; resample the scan, or leave it out"
        )
    return width


def blocks(num_slices: int, pixels_per_slice: int, budget: int) -> list[slice]:
    """Divide a stack into blocks, to bound the memory of a reconstruction.

    Args:
        num_slices: Number of slices, Z.
        pixels_per_slice: Pixels of a slice, H * W.
        budget: Maximum number of pixels of a block, which has at least one slice.
    """
    step = max(1, budget // pixels_per_slice)
    return [slice(start, min(start + step, num_slices)) for start in range(0, num_slices, step)]
