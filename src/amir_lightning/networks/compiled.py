"""Faster passes by torch.compile and CUDA graphs.

Parts are compiled for one shape of images, that of training patches or one that is restored again.
On a GPU, a pass is thousands of short kernels, which take longer to launch from Python than to run.
A recorded pass is launched as a whole.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from amir_lightning.networks.layers.blocks import Stage

_WARM_UP = 3  # passes before the recording, so that libraries have chosen their algorithms
_MOST_SHAPES = 64  # that one kind of block is compiled for; torch would give up after 8
_OPEN = 2  # shapes whose recorded restoring is in memory at a time

R = TypeVar("R", bound=tuple[Any, ...])
"""Result of a pass: a named tuple of tensors, tuples of tensors, and None."""
T = TypeVar("T")


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
        self._network, self._run, self._replays = network, run, replays
        self._fast = _compiled(network, run, **options)
        self._kind: tuple[object, ...] | None = None
        self._recorded: _Recorded[R] | None = None

    def __call__(self, lq: Tensor) -> R:
        """Run the pass on images (B, C, H, W)."""
        if not (self._network.training and torch.is_grad_enabled()):
            return self._run(lq)
        kind = _kind(lq)
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


class RestoringPass:
    """Compiled pass that restores images of shapes that come again, recorded on a GPU.

    The first images of a shape use the original pass.

    Args:
        network: Network, whose filters become channels-last, as its features are.
        run: Original pass, of images (B, C, H, W).
        options: Passed to `torch.compile`.
    """

    def __init__(self, network: nn.Module, run: Callable[[Tensor], Tensor], **options: Any) -> None:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch lacks it
        self._tensors = [*network.parameters(), *network.buffers()]
        self._run = run
        self._fast = _compiled(network, run, **options)
        self._recorded: dict[tuple[object, ...], _RecordedRestoring | None] = {}

    def __call__(self, lq: Tensor) -> Tensor:
        """Restore images (B, C, H, W) whose size fits."""
        kind = (*_kind(lq), *_addresses(self._tensors))
        if kind not in self._recorded:
            self._recorded[kind] = None
            return self._run(lq)
        if not lq.is_cuda:
            return self._fast(lq)
        recorded = self._recorded[kind]
        if recorded is None:
            used = [one for one, other in self._recorded.items() if other is not None]
            for one in used[: len(used) - _OPEN + 1]:
                self._recorded[one] = None  # free its memory first
            recorded = self._recorded[kind] = _RecordedRestoring(self._fast, lq)
        return recorded(lq)


class _RecordedRestoring:
    """Restoring of images of one shape as a CUDA graph, which reads and writes fixed places."""

    def __init__(self, run: Callable[[Tensor], Tensor], lq: Tensor) -> None:
        with torch.inference_mode(False):
            self.lq = torch.empty_like(lq)  # may be written outside of inference mode, too
        self.lq.copy_(lq)
        with _beside(lq.device), _precision():
            for _ in range(_WARM_UP):
                run(self.lq)
        self.graph = torch.cuda.CUDAGraph()
        with _precision(), torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.restored = run(self.lq)

    def __call__(self, lq: Tensor) -> Tensor:
        self.lq.copy_(lq)
        self.graph.replay()
        return self.restored.clone()


def _compiled(
    network: nn.Module, run: Callable[[Tensor], T], **options: Any
) -> Callable[[Tensor], T]:
    """Compile the stages of a network, or the whole pass of one without stages."""
    torch._dynamo.reset()  # drop what earlier runs of a sweep compiled
    torch._dynamo.config.recompile_limit = _MOST_SHAPES
    stages = [one for one in network.modules() if isinstance(one, Stage)]
    for stage in stages:
        stage.compile(**options)
    whole = run if stages else torch.compile(run, dynamic=False, **options)

    def fast(lq: Tensor) -> T:
        for stage in stages:
            stage.runs_compiled = True
        try:
            return whole(lq)
        finally:
            for stage in stages:
                stage.runs_compiled = False

    return fast


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
        precision = _precision()
        buffers = [(one, one.clone()) for one in network.buffers()]
        with _beside(lq.device):
            for _ in range(_WARM_UP):
                with precision:
                    outputs = _tensors(run(self.lq))
                self._differentiate(outputs, [torch.zeros_like(one) for one in outputs])
                del outputs
            for buffer, before in buffers:
                buffer.copy_(before)
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
        return _addresses(self._tensors)

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


def _kind(lq: Tensor) -> tuple[object, ...]:
    """What a compiled pass depends on: shape, type and device of the images, and the precision."""
    device = lq.device.type
    precision = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    return lq.shape, lq.dtype, lq.device, precision


def _addresses(tensors: Sequence[Tensor]) -> list[int]:
    return [one.data_ptr() for one in tensors]


def _precision() -> torch.autocast:
    """The present autocast on a GPU, with casts of weights as a part of each pass."""
    return torch.autocast(
        "cuda",
        torch.get_autocast_dtype("cuda"),
        torch.is_autocast_enabled("cuda"),
        cache_enabled=False,
    )


@contextlib.contextmanager
def _beside(device: torch.device) -> Iterator[None]:
    """Return a context of a stream of its own, which leaves random generators unchanged."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.random.fork_rng([device]), torch.cuda.stream(side):
        yield
    torch.cuda.current_stream().wait_stream(side)


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
