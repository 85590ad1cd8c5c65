"""TAT's loss with learned weights of the images; images with small errors get larger weights.

Z. Yang et al., "TAT: Task-Adaptive Transformer for All-in-One Medical Image Restoration", MICCAI
2025. As in the released code, the weight of an image depends on its errors, not on its task.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ErrorBalance(nn.Module):
    """Distance with learned weights per image, trained with the network but not part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = nn.Linear(3, 16)
        self.norm = nn.LayerNorm(16)
        self.expand = nn.Linear(16, 256)
        self.project = nn.Linear(256, 16)
        self.exit = nn.Linear(16, 1)
        nn.init.zeros_(self.exit.weight)  # all images start with the same weight
        nn.init.ones_(self.exit.bias)

    def estimate(self, errors: Tensor) -> Tensor:
        """Estimate w of each image, (B,), from its three mean errors, (B, 3)."""
        hidden = self.entry(errors)
        hidden = hidden + self.project(F.gelu(self.expand(self.norm(hidden))))
        return self.exit(hidden).squeeze(-1)

    def forward(self, restored: Tensor, lq: Tensor, hq: Tensor) -> Tensor:
        """Mean over the images of `L1 / (2 w^2) + log(1 + w^2) / 2`, scalar; all (B, C, H, W)."""
        with torch.autocast(restored.device.type, enabled=False):  # for squares of small numbers

            def distance(one: Tensor, other: Tensor) -> Tensor:
                return (one - other).abs().flatten(1).mean(dim=1)

            restored, lq, hq = restored.float(), lq.float(), hq.float()
            own = distance(restored, hq)
            errors = [distance(lq, hq), distance(lq, restored), own]
            square = self.estimate(torch.stack(errors, dim=1).detach()).square()
            return (own / (2 * (square + 1e-8)) + square.log1p() / 2).mean()
