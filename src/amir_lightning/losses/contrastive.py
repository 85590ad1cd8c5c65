"""Momentum contrast: a loss that recognises vectors of the same slice.

K. He et al., "Momentum contrast for unsupervised visual representation learning", CVPR 2020, as
AirNet uses it (B. Li et al., "All-in-one image restoration for unknown corruption", CVPR 2022).
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MomentumContrast(nn.Module):
    """Slowly updated copy of an encoder, and a queue of its outputs for other slices.

    All of it is state of the training: it is saved in checkpoints, but not in exported weights.

    Args:
        encoder: Maps images to an object whose `query` is (B, D).
        in_channels: Channels of the images.
        queue_size: Keys that each query is compared with.
        momentum: Share of the old key encoder in each update.
        temperature: Divisor of the cosines before the softmax.
    """

    queue: Tensor
    position: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        in_channels: int,
        queue_size: int,
        momentum: float,
        temperature: float,
    ) -> None:
        super().__init__()
        self.momentum, self.temperature = momentum, temperature
        self.key_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.key_encoder.eval()  # probing the output size must not update running statistics
        with torch.no_grad():
            size = self.key_encoder(torch.zeros(1, in_channels, 32, 32)).query.shape[-1]
        self.key_encoder.train()
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, size), dim=-1))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def follow(self, encoder: nn.Module) -> None:
        """Move the key encoder towards the encoder; it keeps its own running statistics."""
        parameters = zip(self.key_encoder.parameters(), encoder.parameters(), strict=True)
        for key, query in parameters:
            key.lerp_(query, 1 - self.momentum)

    @torch.no_grad()
    def keys(self, positive: Tensor) -> Tensor:
        """Encode other crops of the same slices, (B, C, H, W), as unit vectors, (B, D)."""
        return F.normalize(self.key_encoder(positive).query.float(), dim=-1)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Cross-entropy of picking each query's own key from it and the queue, scalar.

        Args:
            query: Vectors of the slices, (B, D).
            keys: Unit vectors of other crops of the same slices, (B, D).
        """
        with torch.autocast(query.device.type, enabled=False):  # cosines / 0.07 need the digits
            query = F.normalize(query.float(), dim=-1)
            own = (query * keys).sum(dim=-1, keepdim=True)
            logits = torch.cat([own, query @ self.queue.clone().T], dim=1) / self.temperature
            return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by new ones."""
        keys = keys[-len(self.queue) :]
        places = (self.position + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[places] = keys
        self.position.copy_((self.position + len(keys)) % len(self.queue))
