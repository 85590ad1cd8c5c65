"""SwinIR, residual groups of shifted-window attention at full resolution.

J. Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCV Workshops 2021, Sec. 3.
LQ images already have their final size, so that this is the model for denoising grey images, which
adds the input to the output.

Deviation: the AMIR paper does not state the size of its SwinIR. The defaults are the released
grey-denoising model, the only one for one channel at full size.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from amir_lightning.networks.layers.swin import SwinStage, drop_path_rates
from amir_lightning.networks.layers.weight_init import small_normal
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.networks.validate import whole


class SwinIR(RestorationNetwork):
    """Shallow features, residual Swin Transformer groups, and a head that predicts a residual.

    Args:
        in_channels: Channels of the images.
        width: Channels C of the features.
        groups: Residual groups.
        depth: Swin blocks of a group, with plain and shifted windows in turn.
        heads: Attention heads, a divisor of the width.
        window_size: Side of an attention window in pixels, at least 2.
        mlp_ratio: Hidden units of the MLP per channel, rounded down.
        drop_path: Probability that a residual branch of the last block is skipped while training;
            it grows linearly from 0 at the first block.

    Raises:
        InputError: An argument is out of range, or heads do not divide the width.
    """

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 180,
        groups: int = 6,
        depth: int = 6,
        heads: int = 6,
        window_size: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width, groups=groups, depth=depth, heads=heads)
        rates = drop_path_rates(drop_path, groups * depth)
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.stem_norm = nn.LayerNorm(width)
        self.groups = nn.Sequential(
            *(
                ResidualGroup(width, heads, window_size, mlp_ratio, rates[first : first + depth])
                for first in range(0, groups * depth, depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Conv2d(width, in_channels, 3, padding=1)
        self.size_multiple = window_size
        small_normal(self)

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W), H and W multiples of the window size."""
        shallow = self.stem(lq)
        tokens = self.norm(self.groups(self.stem_norm(shallow.permute(0, 2, 3, 1))))
        return lq + self.head(shallow + self.conv(tokens.permute(0, 3, 1, 2)))


class ResidualGroup(nn.Module):
    """Residual Swin Transformer group (RSTB): Swin blocks and a convolution, plus the input."""

    def __init__(
        self,
        channels: int,
        heads: int,
        window_size: int,
        mlp_ratio: float,
        drop_paths: Sequence[float],
    ) -> None:
        super().__init__()
        self.swin = SwinStage(channels, heads, window_size, mlp_ratio, True, drop_paths)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens on their grid, (B, H, W, C)."""
        features = self.swin(tokens).permute(0, 3, 1, 2)
        return tokens + self.conv(features).permute(0, 2, 3, 1)
