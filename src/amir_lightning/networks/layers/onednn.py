"""Convolutions that do one more thing while their result is still in the cache of the CPU.

oneDNN applies an activation or a product as a convolution writes its output. PyTorch reaches
it through the operators that its own compiler uses. Where they do not exist, or a gradient is
wanted, callers compute the plain formula that stands beside each call.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_EXISTS = torch.backends.mkldnn.is_available() and hasattr(
    torch.ops.mkldnn, "_convolution_pointwise"
)

enabled = True
"""Set to False to compute the plain formulas everywhere, for comparison."""


def fuses(features: Tensor) -> bool:
    """Whether fused convolutions can take the place of plain ones here."""
    return (
        enabled
        and _EXISTS
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


def conv_gelu(features: Tensor, filters: Tensor, conv: nn.Conv2d) -> Tensor:
    """`GELU(conv(features))` with some of the filters of a convolution without bias."""
    return torch.ops.mkldnn._convolution_pointwise(
        features, filters, None, *_geometry(filters, conv), "gelu", [], "none"
    )


def conv_times(features: Tensor, filters: Tensor, conv: nn.Conv2d, factor: Tensor) -> Tensor:
    """`conv(features) * factor` with some of the filters of a convolution without bias."""
    return torch.ops.mkldnn._convolution_pointwise.binary(
        features, factor, filters, None, *_geometry(filters, conv), "mul", None, None, [], None
    )


def _geometry(
    filters: Tensor, conv: nn.Conv2d
) -> tuple[Sequence[int], Sequence[int], Sequence[int], int]:
    padding = [side for side in conv.padding if isinstance(side, int)]
    depthwise = conv.groups == conv.in_channels > 1
    return padding, conv.stride, conv.dilation, len(filters) if depthwise else 1
