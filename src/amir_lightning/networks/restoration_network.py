"""Base class of restoration networks: padding to a size that fits, and the report of a pass."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.compiled import RestoringPass, TrainingPass
from amir_lightning.networks.layers.blocks import Stage
from amir_lightning.networks.validate import whole


class Report(NamedTuple):
    """Restored images and intermediate results; gradients flow through every field.

    Fields that a network does not have are None or empty.

    Attributes:
        image: Restored images, (B, C, H, W).
        estimates: Earlier estimates of the images, which training supervises as well, each
            (B, C, H, W).
        balance: Balance loss, summed over the spatial routing modules, scalar. In evaluation the
            gates have no noise, and the value is for monitoring.
        gates: Expert weights of each pixel before encoder levels 1 to 3, each (B, H', W', M). H'
            and W' are the padded height and width, divided by 1, 2 and 4.
        mixture: Weights alpha of the dictionary entries, (B, N).
        instruction: Vector that describes the task or degradation of the image, (B, D).
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
    """Restores images of any size by padding them to a size that the subclass can process.

    A subclass implements `restore`, or `trace` if it reports more than the image. Here each of the
    two calls the other.

    Attributes:
        size_multiple: The subclass receives heights and widths that are multiples of this.
        smallest_side: Smallest height and width of an image in pixels.

    Raises:
        InputError: The subclass implements neither method.
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
        """Module whose output has the ``query`` of contrastive learning; None without one."""
        return None

    @property
    def routing(self) -> Sequence[nn.Module]:
        """Modules that decide how an image passes through the network, by its task."""
        return ()

    @property
    def follows_size(self) -> str | None:
        """Operation whose steps depend on the size of the image, in words; None without one.

        A network with such an operation cannot be exported as one program for all sizes.
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
        """Restore images of any size and report intermediate results, see `Report`.

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
        """Restore images whose size fits and report intermediate results."""
        return Report(self.restore(lq))

    def draw_noise(self, lq: Tensor, generators: Sequence[torch.Generator]) -> None:
        """Draw per-image random numbers for the next training passes; by default there are none.

        Args:
            lq: Low-quality images of these passes, (B, C, H, W).
            generators: One per image, on the device of the network.
        """

    def compile(self, *, replays: bool = False, **options: Any) -> None:
        """Compile `report` for training, in place; parameter names stay. See `TrainingPass`.

        Args:
            replays: Record training passes on a GPU as CUDA graphs and replay them.
            options: Passed to `torch.compile`.
        """
        fast = TrainingPass(self, self.trace, replays, **options)
        self.trace = fast  # type: ignore[method-assign]

    def compile_restoring(self, **options: Any) -> None:
        """Compile `restore` for sizes that come again, in place. See `RestoringPass`.

        Args:
            options: Passed to `torch.compile`.
        """
        fast = RestoringPass(self, self.restore, **options)

        def restore(lq: Tensor) -> Tensor:
            with self.as_written():
                return fast(lq)

        self.restore_by(restore)

    def restore_by(self, program: Callable[[Tensor], Tensor]) -> None:
        """Restore by a program of another engine, in place; reports hold its image and no more.

        Args:
            program: Maps images whose sides are multiples of `size_multiple` to restored ones.
        """
        self.restore = lambda lq: program(lq)  # type: ignore[method-assign]
        self.trace = lambda lq: Report(program(lq))  # type: ignore[method-assign]

    @contextlib.contextmanager
    def as_written(self) -> Iterator[None]:
        """Return a context in which nothing is compiled, replayed or run by another engine."""
        own = vars(self)
        names = [name for name in ("restore", "trace") if name in own]
        replaced: dict[str, Any] = {name: own.pop(name) for name in names}
        try:
            yield
        finally:
            own.update(replaced)

    def recompute(self, levels: int) -> None:
        """Turn on activation checkpointing for the finest levels, to trade time for memory.

        The backward pass computes their activations again; results are the same.

        Args:
            levels: Number of resolution levels, counted from the finest; 0 for none.

        Raises:
            InputError: It is not a whole number, or the network has no levels of blocks.
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
        """Pad images at the bottom and right to multiples of `size_multiple`.

        The image is reflected, or its last pixels are repeated where it is too small for that.
        Images that fit are returned unchanged.

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
        """Cut the padding off; `lq` has the size before `pad`."""
        return restored[..., : lq.shape[-2], : lq.shape[-1]]


def _extend(image: Tensor, amounts: tuple[int, int, int, int], side: int) -> Tensor:
    amount = max(amounts)
    if amount == 0:
        return image
    return F.pad(image, amounts, mode="reflect" if amount < side else "replicate")
