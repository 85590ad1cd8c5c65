"""Training passes made fast by torch.compile and CUDA graphs; evaluation runs as written.

Patches of training have one shape, so that each part is compiled once. On a GPU a pass is thousands
of short kernels, which Python takes longer to launch than the GPU to run: a pass that was recorded
is launched as a whole.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from amir_lightning.networks.layers.blocks import Stage

_WARM_UP = 3  # passes before the recording, in which libraries choose their algorithms
_MOST_SHAPES = 64  # of one kind of block; torch would give up after 8

R = TypeVar("R", bound=tuple[Any, ...])
"""A named tuple of tensors, of tuples of tensors, and of None: what a pass returns."""


class TrainingPass(Generic[R]):
    """A network's pass, fast for training images like the first ones, as written for all others.

    A copy of the network runs as written.

    Args:
        network: Its blocks are compiled, or all of the pass where it has no stages of blocks.
        run: The pass as written, of images (B, C, H, W).
        replays: Whether passes on a GPU are recorded. Then each backward pass comes before the next
            forward pass, and gradients are not added to those of another pass.
        options: Passed to `torch.compile`.
    """

    def __init__(
        self, network: nn.Module, run: Callable[[Tensor], R], replays: bool, **options: Any
    ) -> None:
        torch._dynamo.reset()  # what the runs before this one in a sweep compiled
        torch._dynamo.config.recompile_limit = _MOST_SHAPES
        self._network, self._run, self._replays = network, run, replays
        self._stages = [one for one in network.modules() if isinstance(one, Stage)]
        for stage in self._stages:
            stage.compile(**options)
        self._compiled = run if self._stages else torch.compile(run, dynamic=False, **options)
        self._kind: tuple[object, ...] | None = None
        self._recorded: _Recorded[R] | None = None

    def __call__(self, lq: Tensor) -> R:
        """Run it on images (B, C, H, W)."""
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
            self._recorded = None  # its memory first
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
    """A pass and its backward pass as two CUDA graphs.

    They read and write fixed places in memory: images are copied to one, and what a pass returns is
    overwritten by the next one. Nothing of the recording is felt outside: random generators and
    running statistics are where they were.

    Attributes:
        recorded_places: What `places` was.
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
            cache_enabled=False,  # the cast of a weight belongs into the recording
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
        # The thread that pins the next batches goes on meanwhile, and is no part of a recording.
        with precision, torch.cuda.graph(self.forward, capture_error_mode="thread_local"):
            self.result = run(self.lq)
        self.outputs = _tensors(self.result)
        self.cotangents = [torch.zeros_like(one) for one in self.outputs]
        with torch.cuda.graph(
            self.backward, pool=self.forward.pool(), capture_error_mode="thread_local"
        ):
            self.gradients = self._differentiate(self.outputs, self.cotangents)
        # What was recorded keeps its memory; autograd may forget how it came about.
        self.outputs = [one.detach() for one in self.outputs]
        self.result = _with_tensors(self.result, self.outputs)

    def places(self) -> list[int]:
        """Where parameters and buffers lie: a recording holds while they stay there."""
        return [one.data_ptr() for one in self._tensors]

    def __call__(self, lq: Tensor) -> R:
        """Replay the pass on other images of the same shape."""
        return _with_tensors(self.result, _Replay.apply(self, lq, *self.parameters))

    def _differentiate(
        self, outputs: Sequence[Tensor], cotangents: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        chosen = [i for i, one in enumerate(outputs) if one.requires_grad]
        with torch.autocast("cuda", enabled=False):  # as trainers do; gates are kept in float32
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
    """A named tuple of the same form with other tensors, the inverse of `_tensors`."""
    rest = iter(tensors)

    def field(one: Any) -> Any:
        if isinstance(one, tuple):
            return tuple(map(field, one))
        return None if one is None else next(rest)

    return type(result)(*map(field, result))
