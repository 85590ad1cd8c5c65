"""Padding of hidden channels with zeros to multiples of eight, for the matrix units of a GPU.

Hidden layers of the paper have 111, 223, 446 and 893 channels. A GPU copies such tensors to padded
ones before each product, and back after it. Filters that are padded beforehand avoid these copies.
Results and gradients are the same, and parameters keep their shapes.
"""

import torch.nn.functional as F
from torch import Tensor

_MULTIPLE = 8


def fills(features: Tensor) -> bool:
    """Tell whether hidden channels are padded for these features."""
    return features.is_cuda  # a CPU gains nothing


def filled(weight: Tensor, dim: int) -> Tensor:
    """Pad an axis with zeros to the next multiple of eight."""
    missing = -weight.shape[dim] % _MULTIPLE
    after = weight.ndim - 1 - dim % weight.ndim
    return F.pad(weight, [0, 0] * after + [0, missing]) if missing else weight
