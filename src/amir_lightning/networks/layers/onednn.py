"""Convolutions fused with an activation or a product, by oneDNN on a CPU.

The second operation is applied while the output of the convolution is still in the cache. PyTorch
offers this through operators that its own compiler uses. Where they do not exist, or where a
gradient is needed, callers compute the plain formula instead.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_EXISTS = torch.backends.mkldnn.is_available() and hasattr(
    torch.ops.mkldnn, "_convolution_pointwise"
)


def fuses(features: Tensor) -> bool:
    """Tell whether fused convolutions can replace plain ones for these features."""
    return (
        _EXISTS
        and not torch.is_grad_enabled()
        and type(features) is Tensor  # a fake tensor is counted, not computed
        and features.device.type == "cpu"
        and features.dtype in (torch.float32, torch.bfloat16)
        # Plain convolutions of float16 run on any CPU, fused ones on few.
        and not (
            torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.float16
        )
        and not torch.compiler.is_compiling()
    )


def conv_gelu(features: Tensor, filters: Tensor, bias: Tensor) -> Tensor:
    """`GELU(conv(features))`, a 1x1 convolution; filters (D, C, 1, 1), bias (D,)."""
    if not fuses(features):
        return F.gelu(F.conv2d(features, filters, bias))
    filters, bias = filters.to(features.dtype), bias.to(features.dtype)
    return torch.ops.mkldnn._convolution_pointwise(
        features, filters, bias, [0, 0], [1, 1], [1, 1], 1, "gelu", [], "none"
    )


def add_conv(result: Tensor, features: Tensor, filters: Tensor) -> None:
    """Add `conv(features)` to a result in place, a 1x1 convolution; filters (D, C, 1, 1)."""
    torch.ops.mkldnn._convolution_pointwise_.binary(
        result, features, filters.to(features.dtype).contiguous(), None,
        [0, 0], [1, 1], [1, 1], 1, "add", 1.0, None, [], None,
    )  # fmt: skip


def depthwise_gelu(features: Tensor, filters: Tensor) -> Tensor:
    """`GELU(dw(features))`, a 3x3 depthwise convolution without bias; filters (C, 1, 3, 3)."""
    return torch.ops.mkldnn._convolution_pointwise(
        features, filters, None, [1, 1], [1, 1], [1, 1], len(filters), "gelu", [], "none"
    )


def depthwise_times(features: Tensor, filters: Tensor, factor: Tensor) -> Tensor:
    """`dw(features) * factor`, a 3x3 depthwise convolution without bias; filters (C, 1, 3, 3)."""
    return torch.ops.mkldnn._convolution_pointwise.binary(
        features, factor, filters, None, [1, 1], [1, 1], [1, 1], len(filters),
        "mul", None, None, [], None,
    )  # fmt: skip
