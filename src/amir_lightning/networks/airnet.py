"""AirNet, an all-in-one network that learns degradations by contrast, without task labels.

B. Li et al., "All-In-One Image Restoration for Unknown Corruption", CVPR 2022: the
contrastive-based degradation encoder (CBDE) and the degradation-guided restoration network (DGRN).
Momentum contrast, which compares the queries, is part of the training, not of the network.

Source: layers, widths and strides are those of the released code.

Deviation: the released code runs the whole encoder to restore an image, although the restored image
depends only on its first residual block; `restore` runs only that block. The deformable convolution
is plain PyTorch instead of a compiled operator, with the same formula.
"""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from amir_lightning.networks.layers.deformable import ModulatedDeformConv
from amir_lightning.networks.layers.image_conv import ImageConv2d
from amir_lightning.networks.restoration_network import Report, RestorationNetwork
from amir_lightning.networks.validate import one_of, whole

_SLOPE = 0.1


class AirNet(RestorationNetwork):
    """Degradation encoder, and a restorer that it guides in every block.

    The network predicts the image itself, not a residual. A loss on the image alone gives no
    gradients to the encoder behind its first block; train it on `Report.query` as well.

    Args:
        in_channels: Channels of the images.
        width: Channels of all features at full resolution, in encoder and restorer.
        num_groups: Groups of blocks in the restorer.
        num_blocks: Blocks of each group.
        embedding_size: Length of the encoder's embedding and of its query.
        checkpoint_blocks: Recompute each block in the backward pass of training. A step is slower
            and needs a fraction of the memory; its result is the same.

    Raises:
        InputError: An argument is out of range.
    """

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 64,
        num_groups: int = 5,
        num_blocks: int = 5,
        embedding_size: int = 256,
        checkpoint_blocks: bool = True,
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width, num_groups=num_groups)
        whole(1, num_blocks=num_blocks, embedding_size=embedding_size)
        one_of("checkpoint_blocks", checkpoint_blocks, (True, False))
        self.encoder = DegradationEncoder(in_channels, width, embedding_size)
        self.restorer = GuidedRestorer(
            in_channels, width, num_groups, num_blocks, checkpoint_blocks
        )

    @property
    def query_encoder(self) -> nn.Module:
        """Degradation encoder, whose output has the ``query``."""
        return self.encoder

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W)."""
        return self.restorer(lq, self.encoder.pre(lq))

    def trace(self, lq: Tensor) -> Report:
        """Restore (B, in_channels, H, W) and report embedding and query."""
        features, embedding, query = self.encoder(lq)
        return Report(self.restorer(lq, features), instruction=embedding, query=query)


class Encoding(NamedTuple):
    """Output of the degradation encoder.

    Attributes:
        features: Guide of the restorer, at full resolution, (B, width, H, W).
        embedding: Last features, averaged over the image, (B, embedding_size).
        query: Vector that contrastive learning compares, not normalised, (B, embedding_size).
    """

    features: Tensor
    embedding: Tensor
    query: Tensor


class DegradationEncoder(nn.Module):
    """CBDE: a residual block at full resolution, two of stride 2, average pooling, and an MLP."""

    def __init__(self, in_channels: int, width: int, embedding_size: int) -> None:
        super().__init__()
        self.pre = ResidualBlock(in_channels, width, 1)
        self.body = nn.Sequential(
            ResidualBlock(width, 2 * width, 2), ResidualBlock(2 * width, embedding_size, 2)
        )
        self.mlp = nn.Sequential(
            nn.Linear(embedding_size, embedding_size),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(embedding_size, embedding_size),
        )

    def forward(self, lq: Tensor) -> Encoding:
        """Encode the degradation of (B, C, H, W)."""
        features = self.pre(lq)
        embedding = self.body(features).mean(dim=(-2, -1))
        return Encoding(features, embedding, self.mlp(embedding))


class ResidualBlock(nn.Module):
    """Two convolutions with batch normalisation and a projected shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Transform (B, C, H, W) to (B, C', H / stride, W / stride), sizes rounded up."""
        return F.leaky_relu(self.main(features) + self.shortcut(features), _SLOPE)


class GuidedRestorer(nn.Module):
    """DGRN: groups of degradation-guided blocks between two convolutions of the image."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        num_groups: int,
        num_blocks: int,
        checkpoint_blocks: bool,
    ) -> None:
        super().__init__()
        self.stem = _convolution(in_channels, width)
        self.groups = nn.ModuleList(
            GuidedGroup(width, num_blocks, checkpoint_blocks) for _ in range(num_groups)
        )
        self.merge = _convolution(width, width)
        self.head = ImageConv2d(width, in_channels, 3, padding=1)

    def forward(self, lq: Tensor, guide: Tensor) -> Tensor:
        """Restore (B, C, H, W) under the guide (B, width, H, W)."""
        shallow = features = self.stem(lq)
        for group in self.groups:
            features = group(features, guide)
        return self.head(self.merge(features) + shallow)


class GuidedGroup(nn.Module):
    """DGG: blocks, a convolution and a shortcut around them."""

    def __init__(self, width: int, num_blocks: int, checkpoint_blocks: bool) -> None:
        super().__init__()
        self.checkpoint_blocks = checkpoint_blocks
        self.blocks = nn.ModuleList(GuidedBlock(width) for _ in range(num_blocks))
        self.merge = _convolution(width, width)

    def forward(self, features: Tensor, guide: Tensor) -> Tensor:
        """Transform (B, width, H, W) under a guide of the same shape."""
        shortcut = features
        for block in self.blocks:
            if self.checkpoint_blocks and self.training:
                features = checkpoint(
                    block, features, guide, use_reentrant=False, preserve_rng_state=False
                )
            else:
                features = block(features, guide)
        return self.merge(features) + shortcut


class GuidedBlock(nn.Module):
    """DGB: a guided module before each of two convolutions, and a shortcut around all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.guided1 = GuidedModule(width)
        self.convolution1 = _convolution(width, width)
        self.guided2 = GuidedModule(width)
        self.convolution2 = _convolution(width, width)

    def forward(self, features: Tensor, guide: Tensor) -> Tensor:
        """Transform (B, width, H, W) under a guide of the same shape."""
        inner = F.leaky_relu(self.guided1(features, guide), _SLOPE)
        inner = F.leaky_relu(self.convolution1(inner), _SLOPE)
        inner = F.leaky_relu(self.guided2(inner, guide), _SLOPE)
        return features + self.convolution2(inner)


class GuidedModule(nn.Module):
    """DGM: `x + deformable convolution of x + (x * scale + shift)`, all under the guide.

    The last term is a spatial feature transform, whose scale starts at random values, not near 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.deform = ModulatedDeformConv(width, width, width)
        self.scale = _pointwise_mlp(width)
        self.shift = _pointwise_mlp(width)

    def forward(self, features: Tensor, guide: Tensor) -> Tensor:
        """Transform (B, width, H, W) under a guide of the same shape."""
        transformed = features * self.scale(guide) + self.shift(guide)
        return features + self.deform(features, guide) + transformed


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def _pointwise_mlp(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, width, 1, bias=False),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(width, width, 1, bias=False),
    )
