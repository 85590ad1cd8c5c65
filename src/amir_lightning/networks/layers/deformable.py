"""Modulated deformable convolution: learned offsets move the taps of the kernel.

X. Zhu et al., "Deformable ConvNets v2: More Deformable, Better Results", CVPR 2019, Eq. (1), with
one group of offsets. It uses `grid_sample` and runs on every device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amir_lightning.networks.precision import widen

_KERNEL = 3


class ModulatedDeformConv(nn.Module):
    """Deformable 3x3 convolution without bias, guided by a second feature map.

    A plain 3x3 convolution of features and guide predicts offsets and masks. It starts at zero,
    which gives offsets 0 and masks 1/2: half of a plain convolution.

    Args:
        in_channels: Channels C of the features.
        out_channels: Channels C' of the output.
        guide_channels: Channels G of the guide.
    """

    def __init__(self, in_channels: int, out_channels: int, guide_channels: int) -> None:
        super().__init__()
        bound = (in_channels * _KERNEL**2) ** -0.5
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels, _KERNEL, _KERNEL).uniform_(-bound, bound)
        )
        self.sampling = nn.Conv2d(in_channels + guide_channels, 3 * _KERNEL**2, 3, padding=1)
        for parameter in self.sampling.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor, guide: Tensor) -> Tensor:
        """Convolve (B, C, H, W) under the guide (B, G, H, W), to (B, C', H, W)."""
        sampling = self.sampling(torch.cat([features, guide], dim=1))
        offsets, mask = sampling.split([2 * _KERNEL**2, _KERNEL**2], dim=1)
        return modulated_deform_conv(features, offsets, mask.sigmoid(), self.weight)


def modulated_deform_conv(
    features: Tensor, offsets: Tensor, mask: Tensor, weight: Tensor
) -> Tensor:
    """Sum `weight_k * mask_k(p) * features(p + p_k + offset_k(p))` over the K*K taps k.

    Features are interpolated linearly between pixels and are zero outside of the image. One row of
    the kernel is processed at a time, so that no tensor is larger than K copies of the features.

    Args:
        features: (B, C, H, W).
        offsets: (dy, dx) of each tap in pixels, taps row by row, (B, 2*K*K, H, W).
        mask: Weight of each tap, (B, K*K, H, W).
        weight: (C', C, K, K), K odd.

    Returns:
        (B, C', H, W).
    """
    taps, (height, width) = weight.shape[-1], features.shape[-2:]
    # In half precision, positions would be wrong by whole pixels.
    image, shifts = widen(features), widen(offsets).unflatten(1, (taps, taps, 2))
    masks = mask.unflatten(1, (taps, 1, taps))
    rows, columns, across = (
        torch.arange(n, dtype=image.dtype, device=image.device) for n in (height, width, taps)
    )

    def convolve(row: int) -> Tensor:
        y = rows[:, None] + (row - taps // 2) + shifts[:, row, :, 0]
        x = columns + (across - taps // 2)[:, None, None] + shifts[:, row, :, 1]
        # Without aligned corners, the formula also holds for a side of one pixel.
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
        sampled = F.grid_sample(image, grid.flatten(1, 2), align_corners=False)
        sampled = sampled.unflatten(2, (taps, height)) * masks[:, row]
        kernel = weight[:, :, row].flatten(1)[..., None, None]
        return F.conv2d(sampled.flatten(1, 2).to(features.dtype), kernel)

    output = convolve(0)
    for row in range(1, taps):
        output = output + convolve(row)
    return output
