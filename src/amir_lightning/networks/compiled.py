"""Faster training passes by torch.compile and CUDA graphs; evaluation is not compiled.

Training patches have one shape, so that each part is compiled once. On a GPU, a pass is thousands
of short kernels, which take longer to launch from Python than to run. A recorded pass is launched
as a whole.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from amir_lightning.networks.layers.blocks import Stage

_WARM_UP = 3  # passes before the recording, so that libraries have chosen their algorithms
_MOST_SHAPES = 64  # that one kind of block is compiled for; torch would give up after 8

R = TypeVar("R", bound=tuple[Any, ...])
"""Result of a pass: a named tuple of tensors, tuples of tensors, and None."""


class TrainingPass(Generic[R]):
    """Compiled pass of a network for training images that match the first ones in shape and type.

    All other images, evaluation, and copies of the network use the original pass.

    Args:
        network: Network whose stages of blocks are compiled. Without stages, the whole pass is.
        run: Original pass, of images (B, C, H, W).
        replays: Record passes on a GPU. Each backward pass then has to precede the next forward
            pass, and gradients of several passes cannot be accumulated.
        options: Passed to `torch.compile`.
    """

    def __init__(
        self, network: nn.Module, run: Callable[[Tensor], R], replays: bool, **options: Any
    ) -> None:
        torch._dynamo.reset()  # drop what earlier runs of a sweep compiled
        torch._dynamo.config.recompile_limit = _MOST_SHAPES
        self._network, self._run, self._replays = network, run, replays
        self._stages = [one for one in network.modules() if isinstance(one, Stage)]
        for stage in self._stages:
            stage.compile(**options)
        self._compiled = run if self._stages else torch.compile(run, dynamic=False, **options)
        self._kind: tuple[object, ...] | None = None
        self._recorded: _Recorded[R] | None = None

    def __call__(self, lq: Tensor) -> R:
        """Run the pass on images (B, C, H, W)."""
        if not (self._network.training and torch.is_grad_enabled()):
            return self._run(lq)
        device = lq.device.type
        precision = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
        kind = (lq.shape, lq.dtype, lq.device, precision)
        if self._kind is None:
            self._kind = kind
        if kind != self._kind:
            return self._run(lq)
        if not (self._replays and lq.is_cuda):
            return self._fast(lq)
        if self._recorded is None or self._recorded.places() != self._recorded.recorded_places:
            self._recorded = None  # free its memory first
            self._recorded = _Recorded(self._fast, lq, self._network)
        return self._recorded(lq)

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[[Tensor], R]:
        return copy.deepcopy(self._run, memo)

    def _fast(self, lq: Tensor) -> R:
        for stage in self._stages:
            stage.runs_compiled = True
        try:
            return self._compiled(lq)
        finally:
            for stage in self._stages:
                stage.runs_compiled = False


class _Recorded(Generic[R]):
    """Forward and backward pass as two CUDA graphs.

    The graphs read and write fixed places in memory. Images are copied there, and the results of a
    pass are overwritten by the next one. Recording leaves random generators and running statistics
    unchanged.

    Attributes:
        recorded_places: Result of `places` at the time of the recording.
    """

    def __init__(self, run: Callable[[Tensor], R], lq: Tensor, network: nn.Module) -> None:
        self.lq = lq.detach().clone()
        self.parameters = [one for one in network.parameters() if one.requires_grad]
        self._tensors = [*network.parameters(), *network.buffers()]
        self.recorded_places = self.places()
        precision = torch.autocast(
            "cuda",
            torch.get_autocast_dtype("cuda"),
            torch.is_autocast_enabled("cuda"),
            cache_enabled=False,  # casts of weights have to be part of the recording
        )
        buffers = [(one, one.clone()) for one in network.buffers()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.random.fork_rng([lq.device]), torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                with precision:
                    outputs = _tensors(run(self.lq))
                self._differentiate(outputs, [torch.zeros_like(one) for one in outputs])
                del outputs
            for buffer, before in buffers:
                buffer.copy_(before)
        torch.cuda.current_stream().wait_stream(side)
        self.forward, self.backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # "thread_local", because the thread that pins the next batches goes on meanwhile.
        with precision, torch.cuda.graph(self.forward, capture_error_mode="thread_local"):
            self.result = run(self.lq)
        self.outputs = _tensors(self.result)
        self.cotangents = [torch.zeros_like(one) for one in self.outputs]
        with torch.cuda.graph(
            self.backward, pool=self.forward.pool(), capture_error_mode="thread_local"
        ):
            self.gradients = self._differentiate(self.outputs, self.cotangents)
        # The graphs own their memory; the autograd history of the outputs is not needed any more.
        self.outputs = [one.detach() for one in self.outputs]
        self.result = _with_tensors(self.result, self.outputs)

    def places(self) -> list[int]:
        """Addresses of parameters and buffers; the recording is valid while they do not change."""
        return [one.data_ptr() for one in self._tensors]

    def __call__(self, lq: Tensor) -> R:
        """Replay the pass on images of the recorded shape."""
        return _with_tensors(self.result, _Replay.apply(self, lq, *self.parameters))

    def _differentiate(
        self, outputs: Sequence[Tensor], cotangents: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        chosen = [i for i, one in enumerate(outputs) if one.requires_grad]
        with torch.autocast("cuda", enabled=False):  # trainers do so, too
            return torch.autograd.grad(
                [outputs[i] for i in chosen],
                self.parameters,
                [cotangents[i] for i in chosen],
                allow_unused=True,
            )


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, recorded: _Recorded[Any], lq: Tensor, *_: nn.Parameter
    ) -> tuple[Tensor, ...]:
        ctx.recorded = recorded  # type: ignore[attr-defined]
        recorded.lq.copy_(lq)
        recorded.forward.replay()
        return tuple(one.detach() for one in recorded.outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *given: Tensor) -> tuple[Tensor | None, ...]:
        recorded: _Recorded[Any] = ctx.recorded  # type: ignore[attr-defined]
        for own, cotangent in zip(recorded.cotangents, given, strict=True):
            own.copy_(cotangent)
        recorded.backward.replay()
        return None, None, *(None if one is None else one.detach() for one in recorded.gradients)


def _tensors(result: tuple[Any, ...]) -> list[Tensor]:
    """All tensors of a named tuple, in order."""
    fields = (one if isinstance(one, tuple) else (one,) for one in result)
    return [tensor for field in fields for tensor in field if tensor is not None]


def _with_tensors(result: R, tensors: Sequence[Tensor]) -> R:
    """Put other tensors into a named tuple of the same form, the inverse of `_tensors`."""
    rest = iter(tensors)

    def field(one: Any) -> Any:
        if isinstance(one, tuple):
            return tuple(map(field, one))
        return None if one is None else next(rest)

    return type(result)(*map(field, result))
