"""Depthwise convolutions with filters that are shared by all images or differ per image."""

import torch
import torch.nn.functional as F
from torch import Tensor


def depthwise(features: Tensor, filters: Tensor) -> Tensor:
    """Convolve each channel; the size stays.

    Args:
        features: (B, C, H, W).
        filters: (C, 1, K, K) for all images, or (B, C, 1, K, K) per image.

    Returns:
        (B, C, H, W).
    """
    if filters.ndim == 5 and not features.is_cuda:  # one by one, images stay channels-last
        each = [depthwise(*one) for one in zip(features.split(1), filters, strict=True)]
        return each[0] if len(each) == 1 else torch.cat(each)
    folded, filters = _fold(features, filters)
    convolved = F.conv2d(folded, filters, padding=filters.shape[-1] // 2, groups=len(filters))
    return convolved.view(features.shape) if convolved.shape != features.shape else convolved


def depthwise_gradients(
    gradient: Tensor, features: Tensor, filters: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of features and filters from the gradient of the result."""
    if filters.ndim == 5 and not features.is_cuda:
        each = [
            depthwise_gradients(*one)
            for one in zip(gradient.split(1), features.split(1), filters, strict=True)
        ]
        to_features, to_filters = zip(*each, strict=True)
        return torch.cat(to_features), torch.stack(to_filters)
    folded, flat = _fold(features, filters)
    found = conv_gradients(gradient.reshape(folded.shape), folded, flat, groups=len(flat))
    return found[0].view(features.shape), found[1].view(filters.shape)


def conv_gradients(
    gradient: Tensor, features: Tensor, filters: Tensor, groups: int
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of features and filters of a convolution that keeps the size."""
    side = filters.shape[-1] // 2
    to_features, to_filters, _ = torch.ops.aten.convolution_backward(
        gradient, features, filters, None, [1, 1], [side, side], [1, 1],
        False, [0, 0], groups, [True, True, False],
    )  # fmt: skip
    return to_features, to_filters


def _fold(features: Tensor, filters: Tensor) -> tuple[Tensor, Tensor]:
    """Turn images with per-image filters into the channels of one image."""
    if filters.ndim == 4:
        return features, filters
    return features.reshape(1, -1, *features.shape[-2:]), filters.flatten(0, 1)
