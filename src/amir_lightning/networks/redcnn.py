"""RED-CNN, a residual encoder and decoder of unpadded convolutions.

H. Chen et al., "Low-Dose CT with a Residual Encoder-Decoder Convolutional Neural Network", IEEE TMI
36(12), 2017, Sec. II.

Deviation: weights have PyTorch's initialisation. The article's Gaussian of standard deviation 0.01
was chosen for its own training.
"""

from torch import Tensor, nn

from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.networks.validate import one_of, whole


class REDCNN(RestorationNetwork):
    """Five 5x5 convolutions and five transposed ones; skips are added before the ReLU.

    Nothing is padded: the convolutions shrink the image, and the transposed ones restore its size.

    Args:
        in_channels: Channels of the images.
        width: Channels of the hidden layers.
        final_relu: Apply a ReLU to the sum of residual and input, as published; it suits images
            without negative values.

    Raises:
        InputError: An argument is out of range.
    """

    smallest_side = 21  # five unpadded 5x5 convolutions leave one pixel

    def __init__(self, in_channels: int = 1, width: int = 96, final_relu: bool = True) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width)
        one_of("final_relu", final_relu, (True, False))
        self.final_relu = final_relu
        self.encoder = nn.ModuleList(
            nn.Conv2d(width if layer else in_channels, width, 5) for layer in range(5)
        )
        self.decoder = nn.ModuleList(
            nn.ConvTranspose2d(width, width if layer < 4 else in_channels, 5) for layer in range(5)
        )

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W)."""
        maps = [lq]
        for conv in self.encoder:
            maps.append(conv(maps[-1]).relu())
        # The decoder's outputs have the sizes of layers 4, 3, 2, 1 and of the input.
        skips = {0: maps[4], 2: maps[2], 4: lq}
        features = maps[5]
        for layer, conv in enumerate(self.decoder):
            features = conv(features)
            if layer in skips:
                features = features + skips[layer]
            if layer < 4 or self.final_relu:
                features = features.relu()
        return features
