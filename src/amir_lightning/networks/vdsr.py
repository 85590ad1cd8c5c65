"""VDSR, twenty convolutions that predict the residual of an enlarged image.

J. Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016,
Sec. 3. Its adjustable gradient clipping is an option of the training, not of the network.

Deviation: convolutions have biases, as in the authors' network; a popular port has none. All layers
have He's initialisation by the fan-in, where that port uses the fan-out.
"""

from itertools import pairwise

from torch import Tensor, nn

from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.networks.validate import one_of, whole


class VDSR(RestorationNetwork):
    """Stack of 3x3 convolutions with ReLU between them, plus the input.

    Args:
        in_channels: Channels of the images.
        width: Channels of the hidden layers.
        depth: Convolutions, at least 2.
        bias: Give the convolutions biases.

    Raises:
        InputError: An argument is out of range.
    """

    def __init__(
        self, in_channels: int = 1, width: int = 64, depth: int = 20, bias: bool = True
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width)
        whole(2, depth=depth)
        one_of("bias", bias, (True, False))
        channels = [in_channels, *[width] * (depth - 1), in_channels]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            conv = nn.Conv2d(before, after, 3, padding=1, bias=bias)
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
            layers += [conv, nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W)."""
        return lq + self.layers(lq)
