"""DCNN, an eight-layer residual network.

C. Chan et al., "Noise adaptive deep convolutional neural network for whole-body PET denoising",
IEEE NSS/MIC 2018.

Deviation: only the abstract was available. It mentions eight layers and a predicted noise residual;
width, kernels and batch normalisation are those of DnCNN, on which it builds. "Noise adaptive"
means training on several doses; with one dose this is the article's plain network.
"""

from torch import Tensor, nn

from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.networks.validate import one_of, whole


class DCNN(RestorationNetwork):
    """Stack of 3x3 convolutions with batch normalisation and ReLU, plus the input.

    Args:
        in_channels: Channels of the images.
        width: Channels of the hidden layers.
        depth: Convolutions, at least 3.
        batch_norm: Normalise the middle layers; if False, they have biases instead.

    Raises:
        InputError: An argument is out of range.
    """

    def __init__(
        self, in_channels: int = 1, width: int = 64, depth: int = 8, batch_norm: bool = True
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width)
        whole(3, depth=depth)
        one_of("batch_norm", batch_norm, (True, False))
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers.append(nn.Conv2d(width, width, 3, padding=1, bias=not batch_norm))
            layers += [nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, in_channels, 3, padding=1))
        for module in self.layers:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W)."""
        return lq + self.layers(lq)
