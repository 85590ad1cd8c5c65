"""Restormer's feed-forward network, `project(GELU(dw(a)) * dw(b))` with `a, b = expand(x)`.

It dominates the memory of a network. In training, only a and b are kept for the backward pass,
which computes the cheap depthwise convolutions again. In inference, a few hidden channels are
computed at a time.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from amir_lightning.networks.layers import onednn
from amir_lightning.networks.layers.channel_padding import filled, fills
from amir_lightning.networks.layers.depthwise import (
    conv_gradients,
    depthwise_gradients,
)
from amir_lightning.networks.layers.depthwise import depthwise as convolve

_GROUP_BYTES = 2**25  # memory of a group of hidden channels that inference computes at a time
_SMALLEST_GROUP = 64  # fewer channels would leave the CPU's vectors and caches unused


def gated_feed_forward(
    features: Tensor, expansion: Tensor, depthwise: Tensor, projection: Tensor
) -> Tensor:
    """Compute `project(GELU(dw(a)) * dw(b))` with `a, b = expand(features)`, all without bias.

    Args:
        features: (B, C, H, W).
        expansion: 1x1 filters of a, then those of b, (2D, C, 1, 1).
        depthwise: 3x3 filters of a, then those of b, (2D, 1, 3, 3), or (B, 2D, 1, 3, 3) per image.
        projection: 1x1 filters, (C, D, 1, 1).

    Returns:
        (B, C, H, W).
    """
    if depthwise.ndim == 5 and (len(depthwise) == 1 or onednn.fuses(features)):
        each = [
            gated_feed_forward(image, expansion, filters, projection)
            for image, filters in zip(features.split(1), depthwise, strict=True)
        ]
        return each[0] if len(each) == 1 else torch.cat(each)
    if onednn.fuses(features):
        return _in_groups(features, expansion, depthwise, projection)
    if fills(features):
        expansion, depthwise = (
            filled(both.unflatten(-4, (2, -1)), -4).flatten(-5, -4)
            for both in (expansion, depthwise)
        )
        projection = filled(projection, 1)
    gate, value = (F.conv2d(features, filters) for filters in expansion.chunk(2))
    # torch.compile decides itself which results are worth keeping.
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        result: Tensor = _Recomputed.apply(gate, value, depthwise, projection)
        return result
    return F.conv2d(_product(gate, value, depthwise.chunk(2, dim=-4)), projection)


def _in_groups(
    features: Tensor, expansion: Tensor, depthwise: Tensor, projection: Tensor
) -> Tensor:
    channel_bytes = features[:, 0].numel() * features.element_size()
    size = max(_GROUP_BYTES // channel_bytes, _SMALLEST_GROUP)
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
    if onednn.fuses(gate) and of_gate.ndim == 5:
        each = zip(gate.split(1), value.split(1), of_gate, of_value, strict=True)
        return torch.cat([_product(a, b, filters) for a, b, *filters in each])
    if onednn.fuses(gate):
        return onednn.depthwise_times(value, of_value, onednn.depthwise_gelu(gate, of_gate))
    return F.gelu(convolve(gate, of_gate)) * convolve(value, of_value)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, gate: Tensor, value: Tensor, depthwise: Tensor, projection: Tensor
    ) -> Tensor:
        ctx.save_for_backward(gate, value, depthwise, projection)
        return F.conv2d(_product(gate, value, depthwise.chunk(2, dim=-4)), projection)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, ...]:
        gate, value, depthwise, projection = ctx.saved_tensors  # type: ignore[attr-defined]
        of_gate, of_value = depthwise.to(gate.dtype).chunk(2, dim=-4)
        convolved, factor = convolve(gate, of_gate), convolve(value, of_value)
        activated = F.gelu(convolved)
        to_product, to_projection = conv_gradients(
            gradient, activated * factor, projection.to(gate.dtype), groups=1
        )
        to_activated = factor.mul_(to_product)
        to_convolved = torch.ops.aten.gelu_backward(to_activated, convolved)
        del convolved, factor, to_activated
        to_gate, to_of_gate = depthwise_gradients(to_convolved, gate, of_gate)
        del to_convolved
        to_factor = activated.mul_(to_product)
        to_value, to_of_value = depthwise_gradients(to_factor, value, of_value)
        to_depthwise = torch.cat([to_of_gate, to_of_value], dim=-4).to(depthwise.dtype)
        return to_gate, to_value, to_depthwise, to_projection.to(projection.dtype)
