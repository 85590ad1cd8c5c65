"""Self-attention in shifted windows, the building block of Swin Transformers.

Z. Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021,
Sec. 3.2. Attention and feed-forward network are MONAI's. MONAI's block is not used: where the grid
is not larger than a window, it shrinks the window and drops the shift. Here such a grid is padded
and shifted like any other, so that images of all sizes are processed alike.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.blocks.mlp import MLPBlock
from monai.networks.layers.drop_path import DropPath
from monai.networks.nets.swin_unetr import (
    WindowAttention,
    compute_mask,
    window_partition,
    window_reverse,
)
from torch import Tensor, nn

from amir_lightning.networks.validate import at_least, divides, drop_probability, whole


class SwinBlock(nn.Module):
    """`x + DropPath(W-MSA(LN(x)))`, then `x + DropPath(MLP(LN(x)))`.

    W-MSA is multi-head attention between the tokens of a window, with a learned bias for each
    relative position. After the normalisation, the grid is padded with zeros at the bottom and
    right to whole windows; attention includes the padded tokens.

    Args:
        channels: Channels C of a token.
        heads: Attention heads, a divisor of the channels.
        window_size: Side of a window, in tokens.
        shifted: Move the windows by half their side, to the bottom and right.
        mlp_ratio: Hidden units of the MLP per channel, rounded down.
        qkv_bias: Give the projection to query, key and value a bias.
        drop_path: Probability that a residual branch is skipped for an image while training.

    Raises:
        InputError: heads do not divide channels.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        window_size: int,
        shifted: bool,
        mlp_ratio: float,
        qkv_bias: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        divides("heads", heads, channels, of="a Swin block")
        self.window = (window_size, window_size)
        self.shift = window_size // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(channels)
        self.attention = window_attention(channels, heads, self.window, qkv_bias)
        self.norm2 = nn.LayerNorm(channels)
        self.feed_forward = MLPBlock(channels, int(channels * mlp_ratio), dropout_mode="swin")
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Transform tokens.

        Args:
            tokens: Tokens on their grid, (B, H, W, C).
            mask: Added to the attention logits of shifted windows, (windows, T, T), where T is the
                number of tokens of a window.

        Returns:
            Tokens, (B, H, W, C).
        """
        tokens = tokens + self.drop_path(self._attend(self.norm1(tokens), mask))
        return tokens + self.drop_path(self.feed_forward(self.norm2(tokens)))

    def _attend(self, tokens: Tensor, mask: Tensor) -> Tensor:
        batch, height, width, _ = tokens.shape
        rows, columns = window_grid(tokens, self.window[0])
        grid = (batch, rows * self.window[0], columns * self.window[0])
        tokens = F.pad(tokens, (0, 0, 0, grid[2] - width, 0, grid[1] - height))
        if self.shift:
            tokens = tokens.roll((-self.shift, -self.shift), dims=(1, 2))
        windows = window_partition(tokens, self.window)
        windows = self.attention(windows, mask if self.shift else None)
        tokens = window_reverse(windows, self.window, grid)
        if self.shift:
            tokens = tokens.roll((self.shift, self.shift), dims=(1, 2))
        return tokens[:, :height, :width]


class SwinStage(nn.Module):
    """Swin blocks with plain and shifted windows in turn.

    The shift is cyclic: windows at the end of the grid hold tokens of opposite borders, and a mask
    keeps these apart. The mask of a window depends only on whether it is in the last row and in the
    last column, so that four masks serve every image size.

    Args:
        channels: Channels C of a token.
        heads: Attention heads, a divisor of the channels.
        window_size: Side of a window in tokens, at least 2.
        mlp_ratio: Hidden units of the MLP per channel, rounded down.
        qkv_bias: Give the projection to query, key and value a bias.
        drop_paths: Probability of each block that a residual branch is skipped while training.

    Raises:
        InputError: An argument is out of range, or heads do not divide channels.
    """

    masks: Tensor
    """Masks, indexed by whether a window is in the last row and column, (2, 2, T, T)."""

    def __init__(
        self,
        channels: int,
        heads: int,
        window_size: int,
        mlp_ratio: float,
        qkv_bias: bool,
        drop_paths: Sequence[float],
    ) -> None:
        super().__init__()
        whole(2, window_size=window_size)
        at_least(1, mlp_ratio=mlp_ratio)
        self.window_size = window_size
        self.blocks = nn.ModuleList(
            SwinBlock(channels, heads, window_size, index % 2 == 1, mlp_ratio, qkv_bias, drop_path)
            for index, drop_path in enumerate(drop_paths)
        )
        window, shift = (window_size,) * 2, (window_size // 2,) * 2
        masks = compute_mask((2 * window_size, 2 * window_size), window, shift, device=None)
        self.register_buffer("masks", masks.unflatten(0, (2, 2)), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens on their grid, (B, H, W, C)."""
        rows, columns = window_grid(tokens, self.window_size)
        last_row = (torch.arange(rows, device=tokens.device) == rows - 1).long()
        last_column = (torch.arange(columns, device=tokens.device) == columns - 1).long()
        mask = self.masks.index_select(0, last_row).index_select(1, last_column).flatten(0, 1)
        for block in self.blocks:
            tokens = block(tokens, mask)
        return tokens


def window_attention(
    channels: int, heads: int, window: tuple[int, int], qkv_bias: bool
) -> WindowAttention:
    """Make MONAI's attention between the tokens of a window."""
    attention = WindowAttention(channels, heads, window, qkv_bias)
    # The index follows from the window size and need not be in checkpoints.
    index = attention.get_buffer("relative_position_index")
    attention.register_buffer("relative_position_index", index, persistent=False)
    return attention


def window_grid(tokens: Tensor, window_size: int) -> tuple[int, int]:
    """Count the rows and columns of windows that cover tokens (B, H, W, C)."""
    rows, columns = ((side + window_size - 1) // window_size for side in tokens.shape[1:3])
    return rows, columns


def drop_path_rates(drop_path: float, blocks: int) -> list[float]:
    """Probabilities that grow linearly over the blocks, from 0 at the first to `drop_path`.

    Raises:
        InputError: drop_path is not a number from 0 to below 1.
    """
    drop_probability(drop_path=drop_path)
    return [drop_path * index / max(blocks - 1, 1) for index in range(blocks)]
