"""The last convolution of networks that predict the image whole."""

from torch import Tensor, nn

from amir_lightning.networks.precision import widen, without_autocast


class ImageConv2d(nn.Conv2d):
    """A convolution outside of autocast, whose output is an image and not a residual.

    bfloat16 would round the image itself to 8 bits: steps of 4 to 8 HU in the soft tissue of a CT.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Make an image, float32 at least, from (B, C, H, W)."""
        with without_autocast(features):
            return super().forward(widen(features))
