"""Restore slices that are too large for the memory in overlapping tiles."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amir_lightning.errors import InputError


@dataclass(frozen=True)
class Tiling:
    """Tiles whose overlap is blended by Gaussian weights.

    Attention over channels looks at the whole image. Tiles therefore change all values and not only
    those at the seams; `tile_error` measures by how much.

    Attributes:
        size: Rows and columns of a tile.
        overlap: Overlap of neighbouring tiles, as a fraction of a tile.
    """

    size: tuple[int, int]
    overlap: float

    def count(self, height: int, width: int) -> int:
        """Smallest number of tiles of an image, without overlap."""
        return -(-height // self.size[0]) * -(-width // self.size[1])

    def __call__(self, network: Callable[[Tensor], Tensor], lq: Tensor) -> Tensor:
        """Restore (B, 1, H, W) tile by tile."""
        from monai.inferers import sliding_window_inference

        restored = sliding_window_inference(
            lq, self.size, 1, network, overlap=self.overlap, mode="gaussian", padding_mode="reflect"
        )
        assert isinstance(restored, Tensor)
        return restored


def choose_tiling(
    tile: Sequence[int] | None, overlap: float, max_pixels: int, height: int, width: int
) -> Tiling | None:
    """Choose the tiles for slices of a size; None restores them whole.

    Args:
        tile: Rows and columns; None tiles only slices of more than ``max_pixels``.
        overlap: Overlap of neighbouring tiles, as a fraction of a tile.
        max_pixels: Larger slices are cut into tiles of at most this number of pixels.
        height: Rows of a slice.
        width: Columns of a slice.

    Raises:
        InputError: ``tile`` is not two numbers from 16 on, or the overlap is out of range.
    """
    if not 0 <= overlap < 1:
        raise InputError(
            f"tile_overlap is {overlap}, expected from 0 to below 1; type tile_overlap=0.25"
        )
    if tile is None:
        if height * width <= max_pixels:
            return None
        side = max(64, int(max_pixels**0.5) // 64 * 64)
        return Tiling((min(side, height), min(side, width)), overlap)
    if len(tile) != 2 or min(tile) < 16:
        raise InputError(
            f"tile is {list(tile)}, expected rows and columns from 16 on; type for instance "
            "tile=[256,256]"
        )
    if tile[0] >= height and tile[1] >= width:
        return None
    return Tiling((min(tile[0], height), min(tile[1], width)), overlap)


@torch.inference_mode()
def tile_error(tiling: Tiling, network: nn.Module, lq: Tensor, max_pixels: int) -> float:
    """Measure the mean absolute difference between tiled and whole restoration of a crop.

    Args:
        tiling: The tiles.
        network: The network.
        lq: One normalised slice, (1, 1, H, W).
        max_pixels: The crop has at most this number of pixels.
    """
    height, width = lq.shape[-2:]
    shrink = min(1.0, (max_pixels / (height * width)) ** 0.5)
    rows = max(min(height, tiling.size[0] + 1), int(height * shrink))
    columns = max(min(width, tiling.size[1] + 1), int(width * shrink))
    top, left = (height - rows) // 2, (width - columns) // 2
    crop = lq[..., top : top + rows, left : left + columns]
    return float((tiling(network, crop) - network(crop)).abs().mean())
