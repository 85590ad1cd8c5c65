"""First and last convolution of a network, which read and compute an image."""

from torch import Tensor, nn

from amir_lightning.networks.precision import widen, without_autocast


class ImageConv2d(nn.Conv2d):
    """Convolution of an image, or to an image, that ignores autocast.

    bfloat16 would round an image to 8 bits: steps of 4 to 8 HU in the soft tissue of a CT. Where
    the network predicts a residual, it would round the features, whose differences are small.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Convolve (B, C, H, W), in float32 at least."""
        with without_autocast(features):
            return super().forward(widen(features))
