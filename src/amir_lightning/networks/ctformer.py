"""CTformer, a transformer without convolutions on tokens of dilated and rolled neighbourhoods.

D. Wang et al., "CTformer: Convolution-free Token2Token Dilated Vision Transformer for Low-dose CT
Denoising", Physics in Medicine & Biology 2023. The network sees tiles of 64x64 pixels; slices are
restored by the paper's overlapped inference.

Source: layers and sizes are those of the released code.

Deviation: the class token and the head of 1000 classes of the release, which nothing uses, are left
out. That leaves 1.38 of its 1.45 M parameters. AMIR's training patches of 128x128 are cut into four
tiles. The side of a tile can be changed; the sizes of the token grids follow from it.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from monai.networks.blocks.mlp import MLPBlock
from monai.networks.blocks.selfattention import SABlock
from torch import Tensor, nn

from amir_lightning.networks.layers.weight_init import small_normal
from amir_lightning.networks.precision import widen, without_autocast
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.networks.validate import at_least, divides, drop_probability, multiple_of, whole


class CTformer(RestorationNetwork):
    """Token2Token encoder, transformer blocks and mirrored decoder that predict the noise.

    Images are cut into tiles. In training mode, tiles lie side by side; the last row and column of
    each, which no token covers, come back unchanged. In evaluation mode, the image gets a border of
    zeros, tiles lie half a tile apart, and the central quarter of the area of each is kept.

    Args:
        in_channels: Channels of the images.
        width: Channels C of a token.
        depth: Transformer blocks.
        heads: Attention heads of a transformer block, a divisor of the width.
        mlp_ratio: Hidden units of the MLP in a transformer block per channel, rounded down.
        dropout: Probability that a value is dropped in training.
        tile: Side S of a tile in pixels, at least 20 and a multiple of 4.
        tiles_at_once: Tiles that are processed together; bounds the memory for large slices.

    Raises:
        InputError: An argument is out of range, or heads do not divide the width.
    """

    position: Tensor
    """Position encoding of the tokens of the smallest grid, (T, C)."""

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 64,
        depth: int = 1,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        dropout: float = 0.1,
        tile: int = 64,
        tiles_at_once: int = 64,
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width, heads=heads, tiles_at_once=tiles_at_once)
        whole(0, depth=depth)
        whole(20, tile=tile)
        at_least(1, mlp_ratio=mlp_ratio)
        multiple_of(4, tile=tile)
        drop_probability(dropout=dropout)
        divides("heads", heads, width, of="a token")
        self.tile = tile
        self.tiles_at_once = tiles_at_once
        self.pixels = Neighbourhoods(tile, 7, stride=2)
        self.dilated = Neighbourhoods(self.pixels.grid, 3, dilation=2, shift=2)
        self.dense = Neighbourhoods(self.dilated.grid, 3, shift=2)

        self.encode_pixels = Performer(49 * in_channels, width, dropout)
        self.encode_dilated = Performer(9 * width, width, dropout)
        self.encode_dense = nn.Linear(9 * width, width)
        self.register_buffer("position", sinusoids(self.dense.grid**2, width), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(
            *(TransformerBlock(width, heads, mlp_ratio, dropout) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.decode_dense = nn.Linear(width, 9 * width)
        self.decode_dilated = Performer(width, 9 * width, dropout)
        self.decode_pixels = Performer(width, 49 * in_channels, dropout)
        small_normal(self)

    @property
    def size_multiple(self) -> int:  # type: ignore[override]
        """Side of a tile in training mode, half of it in evaluation mode.

        A property, because Lightning ends a validation without calling `train`.
        """
        return self.tile if self.training else self.tile // 2

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W), H and W multiples of `size_multiple`."""
        margin = 0 if self.training else self.tile // 4
        kept = self.tile - 2 * margin
        bordered = F.pad(lq, (margin, margin, margin, margin))
        tiles = bordered.unfold(2, self.tile, kept).unfold(3, self.tile, kept)
        rows, columns = tiles.shape[2:4]
        tiles = rearrange(tiles, "b c rows columns h w -> (b rows columns) c h w")
        if torch.compiler.is_exporting():  # a program for every size cannot have such a loop
            noise = self.predict_noise(tiles)
        else:
            chunks = tiles.split(self.tiles_at_once)
            noise = torch.cat([self.predict_noise(chunk) for chunk in chunks])
        return lq - rearrange(
            noise[..., margin : margin + kept, margin : margin + kept],
            "(b rows columns) c h w -> b c (rows h) (columns w)",
            rows=rows,
            columns=columns,
        )

    def predict_noise(self, tiles: Tensor) -> Tensor:
        """Predict the noise of tiles, (B, in_channels, S, S)."""
        pixels = self.encode_pixels(self.pixels.split(tiles))
        dilated = self.encode_dilated(self.dilated.split(self.dilated.to_map(pixels)))
        tokens = self.encode_dense(self.dense.split(self.dense.to_map(dilated)))
        tokens = self.norm(self.blocks(self.dropout(tokens + self.position)))
        dilated = dilated + to_tokens(self.dense.merge(self.decode_dense(tokens)))
        pixels = pixels + to_tokens(self.dilated.merge(self.decode_dilated(dilated)))
        return self.pixels.merge(self.decode_pixels(pixels))


@dataclass(frozen=True)
class Neighbourhoods:
    """Square neighbourhoods of a map as tokens, and back.

    Attributes:
        side: Height and width S of the map.
        kernel: Height and width of a neighbourhood, in elements.
        stride: Distance between neighbourhoods.
        dilation: Distance between the elements of a neighbourhood.
        shift: Elements by which the map is rolled to the bottom and right before it is split.
    """

    side: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    shift: int = 0

    @property
    def grid(self) -> int:
        """Height and width of the grid of tokens."""
        return (self.side - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def to_map(self, tokens: Tensor) -> Tensor:
        """Arrange tokens (B, S * S, C) as a map (B, C, S, S)."""
        return rearrange(tokens, "b (h w) c -> b c h w", h=self.side)

    def split(self, features: Tensor) -> Tensor:
        """Turn a map (B, C, S, S) into tokens (B, T, C * kernel * kernel)."""
        rolled = features.roll((self.shift, self.shift), dims=(2, 3))
        columns = F.unfold(rolled, self.kernel, dilation=self.dilation, stride=self.stride)
        return columns.transpose(1, 2)

    def merge(self, tokens: Tensor) -> Tensor:
        """Turn tokens into a map; overlapping neighbourhoods are added, not averaged."""
        features = F.fold(
            tokens.transpose(1, 2),
            (self.side, self.side),
            self.kernel,
            dilation=self.dilation,
            stride=self.stride,
        )
        return features.roll((-self.shift, -self.shift), dims=(2, 3))


def to_tokens(features: Tensor) -> Tensor:
    """Turn each pixel of a map (B, C, H, W) into a token, (B, H * W, C)."""
    return features.flatten(2).transpose(1, 2)


class Performer(nn.Module):
    """Single-head attention of linear cost by random features, then `x + MLP(LN(x))`.

    Keys and queries x become `exp(w x - |x|^2 / 2) / sqrt(M)` for M fixed random orthogonal vectors
    w. The inner product of two such features approximates `exp(key query)`. Because the width
    changes, the residual connection adds the value instead of the input.

    Args:
        channels: Channels of the tokens that come in.
        width: Channels C of the tokens that come out.
        dropout: Probability that a value is dropped in training.
    """

    random_features: Tensor
    """Vectors w, (M, C); drawn once and saved with the weights."""

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.project_in = nn.Linear(channels, 3 * width)
        self.project_out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.Dropout(dropout)
        )
        size = max(1, width // 2)
        vectors = nn.init.orthogonal_(torch.empty(size, width), gain=math.sqrt(size))
        self.register_buffer("random_features", vectors)

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn tokens (B, T, channels) into (B, T, C)."""
        key, query, value = self.project_in(self.norm1(tokens)).chunk(3, dim=-1)
        with without_autocast(tokens):  # exponentials, and sums over all tokens
            key, query = self._positive(key), self._positive(query)
            mixed = query @ (key.transpose(1, 2) @ widen(value))
            total = query @ key.sum(dim=1).unsqueeze(-1)
            mixed = mixed / (total + 1e-8)
        tokens = value + self.dropout(self.project_out(mixed.to(value.dtype)))
        return tokens + self.feed_forward(self.norm2(tokens))

    def _positive(self, tokens: Tensor) -> Tensor:
        tokens, vectors = widen(tokens), widen(self.random_features)
        half_norm = tokens.square().sum(dim=-1, keepdim=True) / 2
        return (F.linear(tokens, vectors) - half_norm).exp() / math.sqrt(len(vectors))


class TransformerBlock(nn.Module):
    """`x + MHSA(LN(x))`, then `x + MLP(LN(x))`."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        # MONAI's own dropout would also be applied to the attention weights.
        self.attention = SABlock(width, heads, use_flash_attention=True)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = MLPBlock(width, int(width * mlp_ratio), dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (B, T, C)."""
        tokens = tokens + self.dropout(self.attention(self.norm1(tokens)))
        return tokens + self.feed_forward(self.norm2(tokens))


def sinusoids(tokens: int, width: int) -> Tensor:
    """Position encoding: sines and cosines of the token number at falling frequencies, (T, C)."""
    frequencies = 10000.0 ** (-2 * (torch.arange(width) // 2) / width)
    angles = torch.arange(tokens)[:, None] * frequencies
    return torch.where(torch.arange(width) % 2 == 0, angles.sin(), angles.cos())
