import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from amir_lightning.networks.layers.deformable import ModulatedDeformConv, modulated_deform_conv


def draw(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64)


def between_pixels(image: Tensor, y: float, x: float) -> Tensor:
    """Bilinear value of each channel of (C, H, W) where pixels outside are zero."""
    value = torch.zeros(len(image), dtype=image.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                value += (1 - abs(y - row)) * (1 - abs(x - column)) * image[:, row, column]
    return value


def by_loops(features: Tensor, offsets: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    batch, _, height, width = features.shape
    taps = weight.shape[-1]
    output = torch.zeros(batch, len(weight), height, width, dtype=features.dtype)
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                for tap in range(taps**2):
                    row, column = divmod(tap, taps)
                    dy, dx = offsets[b, 2 * tap, y, x], offsets[b, 2 * tap + 1, y, x]
                    there = between_pixels(
                        features[b],
                        float(y + row - taps // 2 + dy),
                        float(x + column - taps // 2 + dx),
                    )
                    output[b, :, y, x] += mask[b, tap, y, x] * (weight[:, :, row, column] @ there)
    return output


@pytest.mark.parametrize(("taps", "size"), [(3, (5, 7)), (5, (3, 4)), (3, (1, 4))])
def test_equals_loops_over_pixels_and_taps(taps: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    features, weight = draw(2, 3, *size), draw(4, 3, taps, taps)
    offsets = draw(2, 2 * taps**2, *size, scale=3.0)
    mask = draw(2, taps**2, *size)
    torch.testing.assert_close(
        modulated_deform_conv(features, offsets, mask, weight),
        by_loops(features, offsets, mask, weight),
        rtol=1e-10,
        atol=1e-10,
    )


def test_gradients_are_those_of_the_function() -> None:
    torch.manual_seed(0)
    arguments = (draw(1, 2, 3, 2), draw(1, 18, 3, 2, scale=1.5), draw(1, 9, 3, 2), draw(2, 2, 3, 3))
    assert torch.autograd.gradcheck(
        modulated_deform_conv, tuple(argument.requires_grad_() for argument in arguments)
    )


def test_starts_as_half_of_a_convolution() -> None:
    torch.manual_seed(0)
    layer = ModulatedDeformConv(3, 5, 2).double()
    features = draw(2, 3, 6, 9)
    plain = F.conv2d(features, layer.weight, padding=1)
    torch.testing.assert_close(layer(features, draw(2, 2, 6, 9)), plain / 2)
    assert layer.weight.abs().max() <= 27**-0.5


def test_offsets_are_dy_dx_pairs_and_masks_come_last() -> None:
    torch.manual_seed(0)
    layer = ModulatedDeformConv(3, 3, 2).double()
    with torch.no_grad():
        layer.sampling.bias[:18] = torch.tensor([1.0, -2.0]).repeat(9)
        layer.sampling.bias[18:] = 100.0
    features = draw(1, 3, 6, 9)
    moved = F.pad(features, (3, -1, 0, 2))  # to [y + 1, x - 2], with the border of 1
    torch.testing.assert_close(layer(features, draw(1, 2, 6, 9)), F.conv2d(moved, layer.weight))


def test_positions_stay_exact_under_autocast() -> None:
    features = torch.zeros(1, 1, 1, 601)
    features[..., 500] = 1.0
    weight = torch.zeros(1, 1, 3, 3)
    weight[..., 1, 1] = 1.0
    offsets, mask = torch.zeros(1, 18, 1, 601), torch.ones(1, 9, 1, 601)
    with torch.autocast("cpu", torch.bfloat16):
        halves = (one.bfloat16() for one in (features, offsets, mask))
        restored = modulated_deform_conv(*halves, weight)
    torch.testing.assert_close(restored.float(), features, rtol=0, atol=1e-3)


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_evaluation_samples_one_row_of_the_kernel_at_a_time() -> None:
    layer = ModulatedDeformConv(16, 16, 8)
    features = torch.rand(1, 16, 12, 12)
    with torch.no_grad(), Largest() as largest:
        layer(features, torch.rand(1, 8, 12, 12))
    assert largest.elements == 3 * features.numel()
