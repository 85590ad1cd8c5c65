"""AR-GAN: a U-Net, a second network that rectifies its estimate, and the critic of the training.

Y. Luo et al., "Adaptive rectification based adversarial network with spectrum constraint for
high-quality PET image synthesis", Medical Image Analysis 2022. No official code is public.

Source: two public re-implementations; the article itself was not read, and no code was copied.
Both have the U-Net of seven halvings, the same layers in the rectification network, and
R = P * tanh(AR-Net(P)). One of them quotes the 4x4 kernels of the U-Net from the article; the
widths of the rectification network are from the same one.

Deviation: widths, activations and initial weights are not documented. U-Net and critic take those
of pix2pix (P. Isola et al., CVPR 2017). Where the two re-implementations differ, the choice here
is: the rectified image has no sigmoid, the critic judges that image, and its scores are unbounded.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.precision import widen, without_autocast
from amir_lightning.networks.restoration_network import Report, RestorationNetwork
from amir_lightning.networks.validate import whole


class ARGAN(RestorationNetwork):
    """Sum of a preliminary image P and its estimated residual R = P * tanh(AR-Net(P)).

    Args:
        in_channels: Channels of the images.
        width: Channels of the first level of the U-Net; they double per level, up to 8 times.
        num_downs: Halvings in the U-Net, at least 2.
        rectifier_width: Channels of the first level of the rectification network.

    Raises:
        InputError: An argument is out of range.
    """

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 64,
        num_downs: int = 7,
        rectifier_width: int = 64,
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width, rectifier_width=rectifier_width)
        whole(2, num_downs=num_downs)  # the rectification network halves twice
        self.size_multiple = 2**num_downs
        self.predict = PreNet(in_channels, width, num_downs)
        self.rectify = RectificationNetwork(in_channels, rectifier_width)
        initialise(self)

    def trace(self, lq: Tensor) -> Report:
        """Restore (B, in_channels, H, W), H and W multiples of `size_multiple`.

        Returns:
            Report with the rectified image; the preliminary one is its only estimate.
        """
        preliminary = self.predict(lq)
        residual = preliminary * self.rectify(preliminary).tanh()
        return Report(preliminary + residual, (preliminary,))


class PreNet(nn.Module):
    """U-Net of strided 4x4 convolutions.

    The first and last layer have no batch normalisation. Neither has the smallest map, which may be
    a single pixel.

    Args:
        in_channels: Channels of the images.
        width: Channels of the first level; they double per level, up to 8 times.
        num_downs: Halvings.
    """

    def __init__(self, in_channels: int, width: int, num_downs: int) -> None:
        super().__init__()
        widths = [in_channels, *(width * min(2**level, 8) for level in range(num_downs))]
        self.downs = nn.ModuleList()
        self.ups = nn.ModuleList()  # in the order of execution, the deepest first
        for level, (outer, inner) in enumerate(pairwise(widths)):
            first, last = level == 0, level == num_downs - 1
            self.downs.append(
                nn.Sequential(
                    nn.Identity() if first else nn.LeakyReLU(0.2),
                    nn.Conv2d(outer, inner, 4, stride=2, padding=1, bias=first or last),
                    nn.Identity() if first or last else nn.BatchNorm2d(inner),
                )
            )
            if not first:
                with_skip = inner if last else 2 * inner
                conv = nn.ConvTranspose2d(with_skip, outer, 4, stride=2, padding=1, bias=False)
                self.ups.insert(0, nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(outer)))
        self.head = nn.ConvTranspose2d(2 * width, in_channels, 4, stride=2, padding=1)

    def forward(self, lq: Tensor) -> Tensor:
        """Predict images (B, in_channels, H, W), H and W multiples of `2 ** num_downs`."""
        skips = [lq]
        for down in self.downs:
            skips.append(down(skips[-1]))
        features = skips.pop()
        for up in self.ups:
            features = torch.cat([skips.pop(), up(features)], dim=1)
        # The image is not a residual of the input: bfloat16 would round it to 8 bits.
        with without_autocast(features):
            return self.head(widen(features).relu())


class RectificationNetwork(nn.Sequential):
    """AR-Net, encoder and decoder of 3x3 convolutions without skips and without the final tanh.

    Args:
        in_channels: Channels of the images.
        width: Channels of the first level.
    """

    def __init__(self, in_channels: int, width: int) -> None:
        def block(channels: int, width: int, activation: nn.Module) -> list[nn.Module]:
            return [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), activation]

        def encode(channels: int, width: int) -> list[nn.Module]:
            return block(channels, width, nn.LeakyReLU(0.2))

        def decode(channels: int, width: int) -> list[nn.Module]:
            return block(channels, width, nn.ReLU())

        super().__init__(
            *encode(in_channels, width),
            nn.MaxPool2d(2),
            *encode(width, 2 * width),
            nn.MaxPool2d(2),
            *encode(2 * width, 4 * width),
            *encode(4 * width, 8 * width),
            *decode(8 * width, 4 * width),
            nn.ConvTranspose2d(4 * width, 4 * width, 2, stride=2, bias=False),
            *decode(4 * width, 2 * width),
            nn.ConvTranspose2d(2 * width, 2 * width, 2, stride=2, bias=False),
            *decode(2 * width, width),
            nn.Conv2d(width, in_channels, 3, padding=1),
        )


class Discriminator(nn.Module):
    """AdvNet, the critic: scores each 70x70 patch of an image, given its LQ image.

    Args:
        in_channels: Channels of the images.
        width: Channels of the first layer.

    Raises:
        InputError: An argument is out of range.
    """

    smallest_side = 24
    """Smallest height and width of an image in pixels, which gives a score map of one pixel."""

    def __init__(self, in_channels: int = 1, width: int = 64) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width)

        def block(channels: int, stride: int) -> Iterator[nn.Module]:
            yield nn.Conv2d(channels, 2 * channels, 4, stride, padding=1, bias=False)
            yield nn.BatchNorm2d(2 * channels)
            yield nn.LeakyReLU(0.2)

        self.layers = nn.Sequential(
            nn.Conv2d(2 * in_channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            *block(width, 2),
            *block(2 * width, 2),
            *block(4 * width, 1),
            nn.Conv2d(8 * width, 1, 4, padding=1),
        )
        initialise(self)

    def forward(self, lq: Tensor, image: Tensor) -> Tensor:
        """Score HQ or restored images.

        Args:
            lq: Low-quality images, (B, in_channels, H, W), H and W at least `smallest_side`.
            image: Images to judge, (B, in_channels, H, W).

        Returns:
            Unbounded scores, (B, 1, H', W'), with H' = H // 8 - 2 and W' = W // 8 - 2.

        Raises:
            InputError: H or W is below `smallest_side`.
        """
        height, width = lq.shape[-2:]
        if min(height, width) < self.smallest_side:
            raise InputError(
                f"the critic of AR-GAN is given {height}x{width} pixels, expected at least "
                f"{self.smallest_side}x{self.smallest_side}; train on larger patches "
                f"(data.patch_size={self.smallest_side})"
            )
        return self.layers(torch.cat([lq, image], dim=1))


def initialise(network: nn.Module) -> None:
    """Initialise as pix2pix: weights N(0, 0.02^2), scales N(1, 0.02^2), biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            mean = 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0
            nn.init.normal_(module.weight, mean, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
