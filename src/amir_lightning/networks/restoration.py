"""A restoration network for images of any size.

The one place that pads an image to the size that a network can process and crops the result back.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amir_lightning.errors import InputError

SMALLEST_SIDE = 9
"""Pixels; two unpadded 3x3 convolutions of stride 3 leave one pixel of it."""


class RestorationNetwork(nn.Module):
    """LQ image to restored image; a subclass writes `restore` for sizes that fit.

    Attributes:
        size_multiple: Height and width that `restore` receives are multiples of this.
    """

    size_multiple: ClassVar[int] = 1

    def forward(self, lq: Tensor) -> Tensor:
        """Restore images of any size.

        Args:
            lq: Low-quality images, (B, C, H, W), H and W at least 9.

        Returns:
            Restored images, (B, C, H, W).

        Raises:
            InputError: H or W is below 9.
        """
        return self.crop(self.restore(self.pad(lq)), lq)

    def restore(self, lq: Tensor) -> Tensor:
        """Restore images whose height and width are multiples of `size_multiple`."""
        raise NotImplementedError

    def compile(self, *args: object, **kwargs: object) -> None:
        """Compile `restore`, in place; names of parameters stay as they are.

        Args:
            args: Passed to `torch.compile`.
            kwargs: Passed to `torch.compile`.
        """
        self.restore = torch.compile(self.restore, *args, **kwargs)  # type: ignore

    def pad(self, lq: Tensor) -> Tensor:
        """Extend an image at the bottom and right to the next multiple; one that fits is returned.

        The border is reflected, or replicated where the image is too small to be reflected so far.

        Raises:
            InputError: Height or width is below 9.
        """
        if lq.ndim != 4:
            raise InputError(f"the image has shape {tuple(lq.shape)}, expected (B, C, H, W)")
        height, width = lq.shape[-2:]
        if height < SMALLEST_SIDE or width < SMALLEST_SIDE:
            raise InputError(
                f"the image is {height}x{width} pixels, expected at least "
                f"{SMALLEST_SIDE}x{SMALLEST_SIDE}; give a larger image"
            )
        lq = _extend(lq, (0, 0, 0, -height % self.size_multiple), height)
        return _extend(lq, (0, -width % self.size_multiple, 0, 0), width)

    @staticmethod
    def crop(restored: Tensor, lq: Tensor) -> Tensor:
        """Cut the padding off, to the size of the image before `pad`."""
        return restored[..., : lq.shape[-2], : lq.shape[-1]]


def _extend(image: Tensor, amounts: tuple[int, int, int, int], side: int) -> Tensor:
    amount = max(amounts)
    if amount == 0:
        return image
    return F.pad(image, amounts, mode="reflect" if amount < side else "replicate")
