"""Overlapping windows of an image, and the cells into which their borders cut it.

Attention between channels needs sums over the pixels of each window; a pixel in several windows
takes the mean of their results. The sum of a window is put together from sums over its cells, so
that each pixel is processed once, however the windows overlap.
"""

import itertools
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor


class Windows:
    """Square windows at even steps; the last ones end at the border of the image.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        side: Side of a window in pixels; None for one window, the whole image.
    """

    def __init__(self, height: int, width: int, side: int | None) -> None:
        self._height = height
        if side is None or (height <= side and width <= side):
            self._cells = [((0, height), (0, width))]
            self._members = [[0]]
            return
        spans = [_spans(size, side) for size in (height, width)]
        cuts = [sorted(set(itertools.chain.from_iterable(one))) for one in spans]
        self._cells = list(
            itertools.product(itertools.pairwise(cuts[0]), itertools.pairwise(cuts[1]))
        )
        self._columns = len(cuts[1]) - 1
        self._members = [
            [
                number
                for number, cell in enumerate(self._cells)
                if all(a <= c and d <= b for (a, b), (c, d) in zip(window, cell, strict=True))
            ]
            for window in itertools.product(*spans)
        ]

    def cells(self, tokens: Tensor) -> list[Tensor]:
        """Split (B, H W, C) into the pixels of each cell, (B, h w, C)."""
        if len(self._cells) == 1:
            return [tokens]
        image = rearrange(tokens, "b (h w) c -> b h w c", h=self._height)
        return [image[:, a:b, c:d].flatten(1, 2) for (a, b), (c, d) in self._cells]

    def sums(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Sum values of the cells over the cells of each window."""
        return [_total([values[cell] for cell in members]) for members in self._members]

    def means(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Average values of the windows over the windows that cover each cell."""
        around: list[list[Tensor]] = [[] for _ in self._cells]
        for members, value in zip(self._members, values, strict=True):
            for cell in members:
                around[cell].append(value)
        return [_total(covering) / len(covering) for covering in around]

    def apply(self, mixtures: Sequence[Tensor], tokens: Tensor) -> Tensor:
        """Multiply the channels of each cell by its matrix, (B, H W, C) to (B, C, H, W)."""
        mixed = [
            cell @ mixture.to(cell.dtype)
            for cell, mixture in zip(self.cells(tokens), mixtures, strict=True)
        ]
        if len(mixed) == 1:
            return rearrange(mixed[0], "b (h w) c -> b c h w", h=self._height)
        rows = [
            torch.cat(
                [
                    rearrange(tokens, "b (h w) c -> b h w c", h=b - a)
                    for tokens, ((a, b), _) in zip(mixed[i:j], self._cells[i:j], strict=True)
                ],
                dim=2,
            )
            for i, j in itertools.pairwise(range(0, len(mixed) + 1, self._columns))
        ]
        return torch.cat(rows, dim=1).permute(0, 3, 1, 2)


def _spans(size: int, side: int) -> list[tuple[int, int]]:
    """Start and end of each window along an axis, in pixels; the end is excluded."""
    if size <= side:
        return [(0, size)]
    count = -(-size // side)
    step = -(-(size - side) // (count - 1))
    starts = [min(i * step, size - side) for i in range(count)]
    return [(start, start + side) for start in starts]


def _total(values: Sequence[Tensor]) -> Tensor:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total
