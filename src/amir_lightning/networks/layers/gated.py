"""Restormer's feed-forward network, `project(GELU(dw(a)) * dw(b))` with `a, b = expand(x)`.

In training this is the largest part of what a network keeps for its backward pass. Here a and b
alone are kept, and the depthwise convolutions, which are cheap, are computed again. In inference it
is the peak of memory; there a few of the hidden channels are computed at a time.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from amir_lightning.networks.layers import onednn
from amir_lightning.networks.layers.filling import filled, fills

recomputes = True
"""Set to False to let autograd keep every intermediate result, for comparison."""

group_bytes = 2**25
"""In inference hidden channels are computed in groups of about so much memory [bytes]."""

_SMALLEST_GROUP = 64  # fewer channels would leave the CPU's vectors and caches unused


def gated_feed_forward(
    features: Tensor, expansion: Tensor, depthwise: Tensor, projection: Tensor
) -> Tensor:
    """Compute `project(GELU(dw(a)) * dw(b))` with `a, b = expand(features)`, all without bias.

    Args:
        features: (B, C, H, W).
        expansion: 1x1 filters of a, then those of b, (2D, C, 1, 1).
        depthwise: 3x3 filters of a, then those of b, (2D, 1, 3, 3).
        projection: 1x1 filters, (C, D, 1, 1).

    Returns:
        (B, C, H, W).
    """
    if onednn.fuses(features):
        return _in_groups(features, expansion, depthwise, projection)
    if fills(features):
        expansion, depthwise = (
            filled(both.unflatten(0, (2, -1)), 1).flatten(0, 1) for both in (expansion, depthwise)
        )
        projection = filled(projection, 1)
    gate, value = (F.conv2d(features, filters) for filters in expansion.chunk(2))
    # A compiler decides itself what is worth keeping.
    if recomputes and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        result: Tensor = _Recomputed.apply(gate, value, depthwise, projection)
        return result
    return F.conv2d(_product(gate, value, depthwise.chunk(2)), projection)


def _in_groups(
    features: Tensor, expansion: Tensor, depthwise: Tensor, projection: Tensor
) -> Tensor:
    channel_bytes = features[:, 0].numel() * features.element_size()
    size = max(group_bytes // channel_bytes, _SMALLEST_GROUP)
    result = None
    for of_gate, of_value, filters, columns in zip(
        *(half.split(size) for half in expansion.chunk(2)),
        zip(*(half.split(size) for half in depthwise.chunk(2)), strict=True),
        projection.split(size, dim=1),
        strict=True,
    ):
        gate, value = F.conv2d(features, of_gate), F.conv2d(features, of_value)
        product = _product(gate, value, filters)
        del gate, value
        if result is None:
            result = F.conv2d(product, columns)
        else:
            onednn.add_conv(result, product, columns)
    assert result is not None
    return result


def _product(gate: Tensor, value: Tensor, depthwise: Sequence[Tensor]) -> Tensor:
    of_gate, of_value = (filters.to(gate.dtype) for filters in depthwise)
    if onednn.fuses(gate):
        return onednn.depthwise_times(value, of_value, onednn.depthwise_gelu(gate, of_gate))
    return F.gelu(_convolve(gate, of_gate)) * _convolve(value, of_value)


def _convolve(features: Tensor, filters: Tensor) -> Tensor:
    return F.conv2d(features, filters, padding=1, groups=len(filters))


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, gate: Tensor, value: Tensor, depthwise: Tensor, projection: Tensor
    ) -> Tensor:
        ctx.save_for_backward(gate, value, depthwise, projection)
        return F.conv2d(_product(gate, value, depthwise.chunk(2)), projection)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, ...]:
        gate, value, depthwise, projection = ctx.saved_tensors  # type: ignore[attr-defined]
        of_gate, of_value = depthwise.to(gate.dtype).chunk(2)
        convolved, factor = _convolve(gate, of_gate), _convolve(value, of_value)
        activated = F.gelu(convolved)
        to_product, to_projection = _conv_gradients(
            gradient, activated * factor, projection.to(gate.dtype), groups=1
        )
        to_activated = factor.mul_(to_product)
        to_convolved = torch.ops.aten.gelu_backward(to_activated, convolved)
        del convolved, factor, to_activated
        to_gate, to_of_gate = _conv_gradients(to_convolved, gate, of_gate, len(of_gate))
        del to_convolved
        to_factor = activated.mul_(to_product)
        to_value, to_of_value = _conv_gradients(to_factor, value, of_value, len(of_value))
        to_depthwise = torch.cat([to_of_gate, to_of_value]).to(depthwise.dtype)
        return to_gate, to_value, to_depthwise, to_projection.to(projection.dtype)


def _conv_gradients(
    gradient: Tensor, features: Tensor, filters: Tensor, groups: int
) -> tuple[Tensor, Tensor]:
    """Gradients of the features and of the filters of a convolution that keeps the size."""
    side = filters.shape[-1] // 2
    to_features, to_filters, _ = torch.ops.aten.convolution_backward(
        gradient, features, filters, None, [1, 1], [side, side], [1, 1],
        False, [0, 0], groups, [True, True, False],
    )  # fmt: skip
    return to_features, to_filters
