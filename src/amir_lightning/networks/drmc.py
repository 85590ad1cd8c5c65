"""DRMC, residual blocks whose attention and MLP are mixtures of experts, weighted per image.

Z. Yang et al., "DRMC: A Generalist Model with Dynamic Routing for Multi-Center PET Image
Synthesis", MICCAI 2023.

Source: layers and sizes are those of the released code in its 2D form, with its six blocks.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from amir_lightning.networks.layers.blocks import LayerNorm
from amir_lightning.networks.layers.image_conv import ImageConv2d
from amir_lightning.networks.precision import widen, without_autocast
from amir_lightning.networks.restoration_network import RestorationNetwork
from amir_lightning.networks.validate import at_least, divides, whole


class DRMC(RestorationNetwork):
    """Blocks at full resolution; each router updates a routing state h, which the next one reads.

    Expert weights are outputs of a ReLU. With random biases, as released, about two in five experts
    start with weight 0 for every image and learn nothing until the routing state changes. With a
    positive `router_bias`, all experts learn from the start.

    Args:
        in_channels: Channels of the images.
        width: Channels C of the features.
        num_blocks: Blocks, each with two expert banks.
        num_experts: Experts M of a bank.
        heads: Attention heads of an expert, a divisor of the width.
        mlp_ratio: Hidden channels of an MLP expert per channel, rounded down.
        state_size: Length S of the routing state.
        router_bias: Initial biases of the expert weights; None for random ones, as released.

    Raises:
        InputError: An argument is out of range, or heads do not divide the width.
    """

    def __init__(
        self,
        in_channels: int = 1,
        width: int = 64,
        num_blocks: int = 6,
        num_experts: int = 3,
        heads: int = 16,
        mlp_ratio: float = 2.0,
        state_size: int = 16,
        router_bias: float | None = None,
    ) -> None:
        super().__init__()
        whole(1, in_channels=in_channels, width=width, num_blocks=num_blocks, heads=heads)
        whole(1, num_experts=num_experts, state_size=state_size)
        at_least(1, mlp_ratio=mlp_ratio)
        divides("heads", heads, width, of="the features")
        self.stem = ImageConv2d(in_channels, width, 3, padding=1)
        self.state = nn.Parameter(torch.ones(state_size))
        self.blocks = nn.ModuleList(
            RoutedBlock(width, num_experts, heads, int(width * mlp_ratio), state_size)
            for _ in range(num_blocks)
        )
        self.head = nn.Conv2d(width, in_channels, 3, padding=1)
        if router_bias is not None:
            at_least(0, router_bias=router_bias)
            for module in self.modules():
                if isinstance(module, Router):
                    nn.init.constant_(module.weigh.bias, router_bias)

    @property
    def routing(self) -> list[nn.Module]:
        """Routers of all blocks."""
        return [one for one in self.modules() if isinstance(one, Router)]

    def restore(self, lq: Tensor) -> Tensor:
        """Restore (B, in_channels, H, W)."""
        # Channels-last: layer normalisation needs no copy.
        features = self.stem(lq).contiguous(memory_format=torch.channels_last)
        # repeat, not expand: torch's FLOP counter fails at views of parameters in inference.
        state = self.state.repeat(lq.shape[0], 1)
        for block in self.blocks:
            features, state = block(features, state)
        return lq + self.head(features)


class RoutedBlock(nn.Module):
    """`y = beta * x + attention bank(LN(x))`, then `gamma * y + MLP bank(LN(y))`."""

    def __init__(
        self, channels: int, num_experts: int, heads: int, hidden: int, state_size: int
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(channels)
        self.attention = ExpertBank(
            lambda: AttentionExpert(channels, heads), channels, num_experts, state_size
        )
        self.beta = nn.Parameter(torch.ones(channels, 1, 1))
        self.norm2 = LayerNorm(channels)
        self.mlp = ExpertBank(
            lambda: MLPExpert(channels, hidden), channels, num_experts, state_size
        )
        self.gamma = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Transform features (B, C, H, W) and routing state (B, S)."""
        mixed, state = self.attention(self.norm1(features), state)
        features = mixed + self.beta * features
        mixed, state = self.mlp(self.norm2(features), state)
        return mixed + self.gamma * features, state


class ExpertBank(nn.Module):
    """Sum of all experts, weighted per image by a router.

    Args:
        expert: Builds one expert.
        channels: Channels C of the features.
        num_experts: Experts M.
        state_size: Length S of the routing state.
    """

    def __init__(
        self, expert: Callable[[], nn.Module], channels: int, num_experts: int, state_size: int
    ) -> None:
        super().__init__()
        self.router = Router(channels, num_experts, state_size)
        self.experts = nn.ModuleList(expert() for _ in range(num_experts))

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Transform features (B, C, H, W) and routing state (B, S)."""
        weights, state = self.router(features, state)
        mixed = torch.zeros_like(features)
        for weight, expert in zip(weights.unbind(dim=1), self.experts, strict=True):
            mixed = mixed + weight[:, None, None, None] * expert(features)
        return mixed, state


class Router(nn.Module):
    """New state `h = GELU(FC([GAP(x), h]))` and expert weights `ReLU(FC(h))`."""

    def __init__(self, channels: int, num_experts: int, state_size: int) -> None:
        super().__init__()
        self.renew = nn.Linear(channels + state_size, state_size)
        self.weigh = nn.Linear(state_size, num_experts)

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Compute weights (B, M) and the new state (B, S) from features (B, C, H, W)."""
        with without_autocast(features):
            pooled = widen(features.mean(dim=(-2, -1)))
            state = F.gelu(self.renew(torch.cat([pooled, state], dim=-1)))
            return F.relu(self.weigh(state)), state


class AttentionExpert(nn.Module):
    """Attention between the channels of a head, then a depthwise convolution and a projection."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.project_in = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Mix the channels of (B, C, H, W)."""
        query, key, value = rearrange(
            self.project_in(features),
            "b (qkv head c) h w -> qkv b head c (h w)",
            qkv=3,
            head=self.heads,
        )
        with without_autocast(features):  # float16 would overflow in sums over all pixels
            query, key = widen(query), widen(key)
            norms = _norm(query) * _norm(key).transpose(-2, -1)
            cosine = query @ key.transpose(-2, -1) / norms
            attention = (cosine * self.temperature).softmax(dim=-1)
        mixed = rearrange(
            attention.to(value.dtype) @ value,
            "b head c (h w) -> b (head c) h w",
            h=features.shape[-2],
        )
        return self.project_out(self.depthwise(mixed))


def _norm(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp_min(1e-12)


class MLPExpert(nn.Sequential):
    """MLP on each pixel."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__(nn.Conv2d(channels, hidden, 1), nn.GELU(), nn.Conv2d(hidden, channels, 1))
