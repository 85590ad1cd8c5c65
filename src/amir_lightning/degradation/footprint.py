"""Projection and back-projection weights of one parallel-beam view as sparse matrices.

A square pixel casts a trapezoidal shadow on a detector whose bins are as wide as the pixel. Its
weight in a bin is the fraction of the shadow that falls into the bin. The weights of a pixel sum to
one in every view, so no mass is lost. They avoid the moiré patterns of point sampling
(area-weighted strips, cf. Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988,
Sec. 7.1).

Products with a sparse matrix are fast along its rows. Therefore both the matrix and its transpose
are built, from the same weights.
"""

import math
import warnings

import torch
from torch import Tensor


def rays_from_pixels(side: int, num_bins: int, angle: float) -> Tensor:
    """Matrix (D, N * N) from pixels to the bins of a view between 0° and 45° [pixel widths].

    The shadows of neighbouring pixels of a row are cos(angle) apart, so a ray touches at most four.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    shift = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) * sin
    row = torch.arange(0, side**2, side, dtype=torch.int32)
    slots = torch.arange(4, dtype=torch.int32)[:, None, None]
    columns, weights = [], []
    for ray in (torch.arange(num_bins, dtype=torch.float64) - num_bins // 2).split(_chunk(side)):
        centre = (ray[:, None] - shift) / cos + (side - 1) / 2
        # The offset of 3 * side makes the numbers positive, for which a cast rounds down.
        first = (centre - (1 + cos + sin) / (2 * cos) + 3 * side).int() - (3 * side - 1)
        offset = ((centre - first).float() - slots) * cos
        column = first + slots
        inside = (column >= 0) & (column < side)
        weights.append((_share(offset, cos, sin) * inside).permute(1, 2, 0).flatten(1))
        columns.append((column.clamp_(0, side - 1) + row).permute(1, 2, 0).flatten(1))
    return _csr(torch.cat(columns), torch.cat(weights), side**2)


def pixels_from_rays(side: int, num_bins: int, angle: float) -> Tensor:
    """Matrix (N * N, D) from the bins of a view to pixels: transpose of `rays_from_pixels`.

    A shadow is at most sqrt(2) bins wide, so it touches at most three bins.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    axis = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    slots = torch.arange(-1, 2, dtype=torch.int32)[:, None, None]
    columns, weights = [], []
    for rows in axis.split(_chunk(side)):
        shadow = rows[:, None] * sin + axis * cos + num_bins // 2
        nearest = (shadow + 0.5).int()
        offset = (nearest - shadow).float() + slots
        weights.append(_share(offset, cos, sin).permute(1, 2, 0).flatten(0, 1))
        columns.append((nearest + slots).permute(1, 2, 0).flatten(0, 1))
    return _csr(torch.cat(columns), torch.cat(weights), num_bins)


def _chunk(side: int) -> int:
    # Number of rows at a time. Temporaries stay in the CPU cache and below 32768 elements; for
    # larger ones torch would use threads, which cost more than they save here.
    return max(1, 32768 // (4 * side))


def _share(offset: Tensor, cos: float, sin: float) -> Tensor:
    """Fraction of a pixel's shadow in the bin that is `offset` bin widths from its centre."""

    def below(position: Tensor) -> Tensor:
        # Integral of the trapezoid with a flat top of cos - sin and a base of cos + sin.
        distance = position.abs().clamp_max((cos + sin) / 2)
        slope = (distance - (cos - sin) / 2).clamp_min(0)
        return (distance / cos - slope**2 / (2 * cos * sin)) * position.sign()

    return below(offset + 0.5) - below(offset - 0.5)


def _csr(columns: Tensor, weights: Tensor, num_columns: int) -> Tensor:
    """Sparse matrix from the column indices and weights of its rows, (rows, weights per row)."""
    rows, per_row = weights.shape
    start = torch.arange(0, rows * per_row + 1, per_row, dtype=torch.int32)
    with warnings.catch_warnings():
        # torch warns once per process that sparse CSR tensors are a beta feature.
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            start,
            columns.flatten(),
            weights.flatten(),
            (rows, num_columns),
            check_invariants=False,
        )
