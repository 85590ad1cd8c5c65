"""Parallel-beam projector for stacks of slices: line integrals, adjoint, FBP and OSEM.

The views are at the angles (k + 1/2) 180°/V. By mirroring the slice across its axes and diagonals,
every view becomes one between 0° and 45°, so matrices are needed for a quarter of the views only.

Letters: S slices, H height, W width, V views, D detector bins, N side of the padded square.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from amir_lightning.degradation.footprint import pixels_from_rays, rays_from_pixels
from amir_lightning.errors import InputError

Kernel = Literal["ramp", "hann"]

CACHE_BYTES = 256 * 2**20
"""A projector keeps its matrices between calls if all of them fit into this many bytes."""

_MIN_EXPECTED = 1e-6  # counts; avoids 0 / 0 in OSEM for bins without expected counts


class ParallelBeam:
    """Linear projector A from slices to sinograms over 180°.

    Rectangular slices are zero-padded to squares internally. The detector covers the diagonal, so
    no projection is truncated.

    Args:
        size: Number of pixels per side, or (H, W).
        num_views: Number of views V, a multiple of four.
        spacing_mm: Width of the square pixels [mm].

    Raises:
        InputError: `num_views` is not a positive multiple of four.
    """

    def __init__(
        self, size: int | tuple[int, int], num_views: int, spacing_mm: float = 1.0
    ) -> None:
        if num_views < 4 or num_views % 4:
            raise InputError(
                f"num_views is {num_views}, expected a positive multiple of 4; "
                f"type num_views={max(4, 4 * math.ceil(num_views / 4))}"
            )
        self.size = (size, size) if isinstance(size, int) else size
        self.num_views = num_views
        self.spacing_mm = spacing_mm
        self._side = max(self.size)
        reach = math.ceil((self._side - 1) / math.sqrt(2)) + 1
        self.num_bins = 2 * reach + 1
        nonzeros = 3 * self._side**2 + 4 * self._side * self.num_bins
        self._keeps_matrices = num_views // 4 * nonzeros * 8 <= CACHE_BYTES
        self._rays: dict[int, Tensor] = {}
        self._pixels: dict[int, Tensor] = {}

    def forward(self, image: Tensor) -> Tensor:
        """Compute line integrals, averaged over the width of each bin.

        Args:
            image: Slices, (S, H, W) [1/mm].

        Returns:
            Sinograms A x, (S, V, D).
        """
        packed = self._pack(image)
        turned = self._workspace(packed.shape[2])
        return self._to_sinogram(self._project(packed, range(self.num_views // 4), turned))

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """Unfiltered back-projection A' y, with the weights of `forward`.

        Args:
            sinogram: Sinograms y, (S, V, D).

        Returns:
            Slices, (S, H, W).
        """
        turned = self._workspace(sinogram.shape[0])
        bins = self._from_sinogram(sinogram)
        return self._unpack(self._backproject(bins, range(self.num_views // 4), turned))

    def fbp(self, sinogram: Tensor, kernel: Kernel = "ramp") -> Tensor:
        """Filtered back-projection (Kak and Slaney, 1988, Sec. 3.3).

        Args:
            sinogram: Line integrals, (S, V, D).
            kernel: "ramp" up to the Nyquist frequency, or "hann" for a ramp apodised by a Hann
                window.

        Returns:
            Slices in the units of the input of `forward`, (S, H, W) [1/mm].
        """
        length = 2 ** math.ceil(math.log2(2 * self.num_bins))  # no wrap-around
        response = _ramp(length) / self.spacing_mm
        if kernel == "hann":
            response *= 0.5 + 0.5 * torch.cos(torch.linspace(0, math.pi, response.numel()))
        filtered = torch.fft.irfft(torch.fft.rfft(sinogram, length) * response, length)
        filtered = filtered[..., : self.num_bins]
        # The adjoint includes a factor of the bin width, which an average over views must not have.
        return self.adjoint(filtered) * (math.pi / self.num_views / self.spacing_mm)

    def osem(
        self,
        counts: Tensor,
        iterations: int,
        subsets: int,
        background: Tensor | None = None,
    ) -> Tensor:
        """Ordered-subsets expectation maximisation (Hudson and Larkin, 1994).

        The iteration starts from an image of ones and stays non-negative.

        Args:
            counts: Measured counts, (S, V, D).
            iterations: Number of passes through all views.
            subsets: Number of interleaved subsets of views, a divisor of V / 4.
            background: Expected counts that do not come from the image, such as scatter and
                randoms, broadcastable to (S, V, D); None means no background.

        Returns:
            Slices x in the model A x + background of the expected counts, (S, H, W).

        Raises:
            InputError: `subsets` does not divide V / 4.
        """
        quarter = self.num_views // 4
        if subsets < 1 or quarter % subsets:
            raise InputError(
                f"subsets is {subsets} with {self.num_views} views, expected a divisor of {quarter}"
            )
        groups = [range(first, quarter, subsets) for first in range(subsets)]
        measured = self._from_sinogram(counts)
        known = None if background is None else self._from_sinogram(background.expand_as(counts))
        ones = torch.ones(len(groups[0]), self.num_bins, 4)
        sensitivity = [self._backproject(ones, views, self._workspace(1)) for views in groups]
        estimate = self._pack(torch.ones(counts.shape[0], *self.size))
        turned = self._workspace(counts.shape[0])
        for _ in range(iterations):
            for views, seen in zip(groups, sensitivity, strict=True):
                subset = slice(views.start, None, subsets)
                expected = self._project(estimate, views, turned)
                if known is not None:
                    expected += known[subset]
                ratio = measured[subset] / expected.clamp_min_(_MIN_EXPECTED)
                estimate *= self._backproject(ratio, views, turned).div_(seen)
        return self._unpack(estimate)

    def _workspace(self, num_slices: int) -> Tensor:
        # One buffer for a whole reconstruction: allocating memory costs more than the products.
        return torch.empty(self._side, self._side, 4, num_slices)

    def _project(self, packed: Tensor, views: range, turned: Tensor) -> Tensor:
        """Project along some views below 45° and their mirror images.

        Four mirrored copies of the slice are stacked, so that the views at θ, 90° - θ, 90° + θ
        and 180° - θ all become the view at θ.

        Args:
            packed: Slices, (N, N, S).
            views: Indices of the views below 45°.
            turned: Workspace, (N, N, 4, S).

        Returns:
            Projections, (views, D, 4 S).
        """
        swapped = packed.transpose(0, 1)
        torch.stack([packed, swapped, swapped.flip(0), packed.flip(1)], dim=2, out=turned)
        columns = turned.flatten(2).flatten(0, 1)
        bins = packed.new_empty(len(views), self.num_bins, columns.shape[1])
        for row, view in zip(bins, views, strict=True):
            torch.mm(self._matrix(view, self._rays, rays_from_pixels), columns, out=row)
        return bins

    def _backproject(self, bins: Tensor, views: range, turned: Tensor) -> Tensor:
        """Adjoint of `_project`: (views, D, 4 S) to (N, N, S), a view of the workspace."""
        columns = turned.zero_().flatten(2).flatten(0, 1)
        for row, view in zip(bins, views, strict=True):
            columns.addmm_(self._matrix(view, self._pixels, pixels_from_rays), row)
        same, swapped, rotated, mirrored = turned.unbind(2)
        same += swapped.transpose(0, 1)
        same += rotated.flip(0).transpose(0, 1)
        same += mirrored.flip(1)
        return same

    def _matrix(
        self, view: int, kept: dict[int, Tensor], build: Callable[[int, int, float], Tensor]
    ) -> Tensor:
        if view in kept:
            return kept[view]
        angle = (view + 0.5) * math.pi / self.num_views
        matrix = build(self._side, self.num_bins, angle)
        matrix.values().mul_(self.spacing_mm)
        if self._keeps_matrices:
            kept[view] = matrix
        return matrix

    def _pack(self, image: Tensor) -> Tensor:
        """Pad (S, H, W) to squares and make S the last axis: (N, N, S)."""
        height, width = self.size
        top, left = (self._side - height) // 2, (self._side - width) // 2
        packed = image.new_zeros(self._side, self._side, image.shape[0])
        packed[top : top + height, left : left + width] = image.permute(1, 2, 0)
        return packed

    def _unpack(self, packed: Tensor) -> Tensor:
        """Crop (N, N, S) to the image and make S the first axis: (S, H, W)."""
        height, width = self.size
        top, left = (self._side - height) // 2, (self._side - width) // 2
        return packed[top : top + height, left : left + width].permute(2, 0, 1).contiguous()

    def _to_sinogram(self, bins: Tensor) -> Tensor:
        """Reorder projections (V / 4, D, 4 S) by angle into sinograms (S, V, D)."""
        near_0, near_90, past_90, near_180 = bins.unflatten(2, (4, -1)).unbind(2)
        ordered = torch.cat([near_0, near_90.flip(0), past_90, near_180.flip(0)])
        return ordered.permute(2, 0, 1).contiguous()

    def _from_sinogram(self, sinogram: Tensor) -> Tensor:
        """Inverse of `_to_sinogram`."""
        near_0, near_90, past_90, near_180 = sinogram.permute(1, 2, 0).chunk(4)
        return torch.cat([near_0, near_90.flip(0), past_90, near_180.flip(0)], dim=2)


@lru_cache(maxsize=2)
def parallel_beam(size: tuple[int, int], num_views: int, spacing_mm: float) -> ParallelBeam:
    """Projector with its cached matrices, shared by all scans of equal geometry."""
    return ParallelBeam(size, num_views, spacing_mm)


def _ramp(length: int) -> Tensor:
    """Frequency response of the band-limited ramp for unit bins (Kak and Slaney, Eq. 3.61).

    It is sampled in space and not in frequency, which preserves the mean of the image.
    """
    distance = torch.arange(length, dtype=torch.float64)
    distance = torch.minimum(distance, length - distance)
    taps = torch.where(distance % 2 == 1, -1 / (math.pi * distance) ** 2, 0.0)
    taps[0] = 0.25
    return torch.fft.rfft(taps).real.float()
