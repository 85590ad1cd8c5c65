"""SRCNN, three convolutions that map an enlarged image to a sharp one.

C. Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", IEEE TPAMI 38(2), 2016,
Sec. 3. With kernels 9-3-5 it is also the network of H. Chen et al., "Low-dose CT denoising with
convolutional neural network", ISBI 2017.

Source: the articles; the numbers of the CT network are from a public benchmark of low-dose CT.

Deviation: the AMIR paper does not state the kernels of its SRCNN; 9-5-5 is the best network of the
article. Convolutions are padded with zeros, where the article lets the image shrink. Weights have
PyTorch's initialisation; the much smaller one of the article was chosen for slow SGD.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from amir_lightning.networks.layers.image_conv import ImageConv2d
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.networks.validate import odd_numbers, whole, whole_numbers


class SRCNN(RestorationNetwork):
    """Patch extraction, non-linear mapping and reconstruction; predicts the image, no residual.

    Args:
        in_channels: Channels of the images.
        kernel_sizes: Sides of the three kernels, odd numbers.
        widths: Channels after the first and the second convolution.

    Raises:
        InputError: An argument is out of range.
    """

    def __init__(
        self,
        in_channels: int = 1,
        kernel_sizes: Sequence[int] = (9, 5, 5),
        widths: Sequence[int] = (64, 32),
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels)
        first, second, third = odd_numbers("kernel_sizes", kernel_sizes, 3)
        extracted, mapped = whole_numbers("widths", widths, 2)
        self.extract = nn.Conv2d(in_channels, extracted, first, padding=first // 2)
        self.map = nn.Conv2d(extracted, mapped, second, padding=second // 2)
        self.reconstruct = ImageConv2d(mapped, in_channels, third, padding=third // 2)

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W)."""
        return self.reconstruct(self.map(self.extract(lq).relu()).relu())
