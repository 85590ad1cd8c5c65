"""Deep auto-context CNN, three small networks that refine each other's estimate.

L. Xiang et al., "Deep auto-context convolutional neural networks for standard-dose PET image
estimation from low-dose PET/MRI", Neurocomputing 267, 2017.

Source: the abstract, public notes on the article, and one public re-implementation; the article
itself was not read. Three networks of four convolutions and the sum of their losses are from the
notes, 3x3 kernels with 64 filters are from the re-implementation.

Deviation: the article's second input, a T1 MRI, does not exist here. Convolutions are padded with
zeros, where the article lets patches shrink. Estimates pass through no final activation.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from amir_lightning.networks.layers.image_conv import ImageConv2d
from amir_lightning.networks.restoration_network import Report, RestorationNetwork
from amir_lightning.networks.validate import odd_numbers, whole


class AutoContextCNN(RestorationNetwork):
    """Chain of networks; each sees the image and the estimate of the one before.

    Args:
        in_channels: Channels of the images.
        width: Channels of the hidden layers.
        kernel_size: Side of all kernels, an odd number.
        stages: Networks in the chain.

    Raises:
        InputError: An argument is out of range.
    """

    def __init__(
        self, in_channels: int = 1, width: int = 64, kernel_size: int = 3, stages: int = 3
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width, stages=stages)
        odd_numbers("kernel_size", [kernel_size], 1)

        def stage(inputs: int) -> nn.Sequential:
            channels = [inputs, width, width, width]
            layers: list[nn.Module] = []
            for before, after in pairwise(channels):
                conv = nn.Conv2d(before, after, kernel_size, padding=kernel_size // 2)
                layers += [conv, nn.ReLU()]
            last = ImageConv2d(width, in_channels, kernel_size, padding=kernel_size // 2)
            return nn.Sequential(*layers, last)

        self.stages = nn.ModuleList(
            stage(2 * in_channels if number else in_channels) for number in range(stages)
        )

    def trace(self, lq: Tensor) -> Report:
        """Restore (B, in_channels, H, W) and report the estimates of the earlier stages."""
        estimates: list[Tensor] = []
        for stage in self.stages:
            estimates.append(stage(torch.cat([*estimates[-1:], lq], dim=1)))
        return Report(estimates[-1], estimates=tuple(estimates[:-1]))
