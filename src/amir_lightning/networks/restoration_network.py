"""A restoration network for images of any size, and what it reports beside the image.

The one place that pads an image to the size that a network can process and crops the result back.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.compiled import TrainingPass
from amir_lightning.networks.layers.blocks import Stage
from amir_lightning.networks.validate import whole


class Report(NamedTuple):
    """A restored image and how the network came to it; gradients flow through every field.

    What a network does not have is None or empty.

    Attributes:
        image: Restored images, (B, C, H, W).
        estimates: Earlier estimates of the same image that training supervises, too, each
            (B, C, H, W).
        balance: Balance loss, summed over the spatial routing modules, scalar. In evaluation it is
            that of the gates without noise, for monitoring.
        gates: Expert weights of each pixel before encoder levels 1 to 3, each (B, H', W', M), with
            H' and W' the padded size over 1, 2 and 4.
        mixture: Weights alpha of the dictionary entries, (B, N).
        instruction: What the network read of the task from the image, (B, D).
        query: Vector that contrastive learning compares, not normalised, (B, D).
    """

    image: Tensor
    estimates: tuple[Tensor, ...] = ()
    balance: Tensor | None = None
    gates: tuple[Tensor, ...] = ()
    mixture: Tensor | None = None
    instruction: Tensor | None = None
    query: Tensor | None = None


class RestorationNetwork(nn.Module):
    """LQ image to restored image, for sizes that fit; this class makes every size fit.

    A subclass writes `restore`, or `trace` if it has more to report than the image.

    Attributes:
        size_multiple: Height and width that a subclass receives are multiples of this.
        smallest_side: Height and width of an image have at least so many pixels.

    Raises:
        InputError: The subclass writes neither method; here each is defined by the other.
    """

    size_multiple: int = 1
    smallest_side: int = 9

    def __init__(self) -> None:
        super().__init__()
        own, base = type(self), RestorationNetwork
        if own.restore is base.restore and own.trace is base.trace:
            raise InputError(
                f"{own.__module__}.{own.__qualname__} does not say how it restores an image; "
                "write its method restore(self, lq), from (B, C, H, W) to the same shape, "
                "or trace(self, lq), which returns a Report"
            )

    @property
    def query_encoder(self) -> nn.Module | None:
        """The part whose output contrastive learning compares, as ``query``; None without one."""
        return None

    @property
    def follows_size(self) -> str | None:
        """What it does in other steps for other sizes of an image; None if it does nothing so.

        Such a network cannot be written down as one program for all sizes.
        """
        return None

    def forward(self, lq: Tensor) -> Tensor:
        """Restore images of any size.

        Args:
            lq: Low-quality images, (B, C, H, W), H and W at least `smallest_side`.

        Returns:
            Restored images, (B, C, H, W).

        Raises:
            InputError: H or W is below `smallest_side`.
        """
        return self._crop(self.restore(self.pad(lq)), lq)

    def report(self, lq: Tensor) -> Report:
        """Restore images of any size and report how, see `Report`.

        Args:
            lq: Low-quality images, (B, C, H, W), H and W at least `smallest_side`.

        Raises:
            InputError: H or W is below `smallest_side`.
        """
        report = self.trace(self.pad(lq))
        return report._replace(
            image=self._crop(report.image, lq),
            estimates=tuple(self._crop(estimate, lq) for estimate in report.estimates),
        )

    def restore(self, lq: Tensor) -> Tensor:
        """Restore images whose height and width are multiples of `size_multiple`."""
        return self.trace(lq).image

    def trace(self, lq: Tensor) -> Report:
        """Restore images that fit, with by-products."""
        return Report(self.restore(lq))

    def draw_noise(self, lq: Tensor, generators: Sequence[torch.Generator]) -> None:
        """Draw what training passes need of each image's own; nothing, unless a subclass says so.

        Args:
            lq: Low-quality images of these passes, (B, C, H, W).
            generators: One of each image, on the device of the network.
        """

    def compile(self, *, replays: bool = False, **options: Any) -> None:
        """Make `report` fast in training, in place; names of parameters stay. See `TrainingPass`.

        Args:
            replays: Whether training passes on a GPU are recorded and replayed.
            options: Passed to `torch.compile`.
        """
        fast = TrainingPass(self, self.trace, replays, **options)
        self.trace = fast  # type: ignore[method-assign]

    @contextlib.contextmanager
    def as_written(self) -> Iterator[None]:
        """A context in which nothing is compiled or replayed."""
        fast = vars(self).pop("trace", None)
        try:
            yield
        finally:
            if fast is not None:
                self.trace = fast  # type: ignore[method-assign]

    def recompute(self, levels: int) -> None:
        """Trade time for memory in training: activation checkpointing of the finest levels.

        Their activations are computed again in the backward pass; results are the same.

        Args:
            levels: Levels of resolution, from the finest; 0 for none.

        Raises:
            InputError: The number is none, or the network has no such levels.
        """
        whole(0, recompute=levels)
        stages = [module for module in self.modules() if isinstance(module, Stage)]
        if levels and not stages:
            raise InputError(
                f"recompute={levels} is unknown to {type(self).__name__}, which has no levels of "
                "blocks as Restormer; leave that option out"
            )
        for stage in stages:
            stage.recomputed = stage.level <= levels

    def pad(self, lq: Tensor) -> Tensor:
        """Extend an image at the bottom and right to the next multiple; one that fits is returned.

        The border is reflected, or replicated where the image is too small to be reflected so far.

        Raises:
            InputError: Height or width is below `smallest_side`.
        """
        if lq.ndim != 4:
            raise InputError(f"the image has shape {tuple(lq.shape)}, expected (B, C, H, W)")
        height, width = lq.shape[-2:]
        if min(height, width) < self.smallest_side:
            raise InputError(
                f"the image is {height}x{width} pixels, expected at least "
                f"{self.smallest_side}x{self.smallest_side} for {type(self).__name__}; "
                "give a larger image, or train on larger patches (data.patch_size)"
            )
        lq = _extend(lq, (0, 0, 0, -height % self.size_multiple), height)
        return _extend(lq, (0, -width % self.size_multiple, 0, 0), width)

    @staticmethod
    def _crop(restored: Tensor, lq: Tensor) -> Tensor:
        """Cut the padding off, to the size of the image before `pad`."""
        return restored[..., : lq.shape[-2], : lq.shape[-1]]


def _extend(image: Tensor, amounts: tuple[int, int, int, int], side: int) -> Tensor:
    amount = max(amounts)
    if amount == 0:
        return image
    return F.pad(image, amounts, mode="reflect" if amount < side else "replicate")
