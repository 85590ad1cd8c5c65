"""How far a restored image is from HQ, and the paper's objective, Eq. (5): L1 + gamma * balance."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Term(NamedTuple):
    """One term of an objective.

    Attributes:
        weight: Its factor in the sum.
        value: The term without its weight, scalar.
    """

    weight: float
    value: Tensor


def total(terms: Mapping[str, Term]) -> Tensor:
    """Weighted sum of the terms, scalar."""
    return torch.stack([term.weight * term.value for term in terms.values()]).sum()


def charbonnier(restored: Tensor, hq: Tensor) -> Tensor:
    """Mean of `sqrt(difference^2 + 1e-9)`, the smooth L1 that SwinIR trains denoising with."""
    return ((restored - hq).square() + 1e-9).sqrt().mean()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "mse": F.mse_loss,
    "charbonnier": charbonnier,
}
"""Distances between images of the same shape, by name."""


def restoration_terms(
    restored: Tensor,
    hq: Tensor,
    estimates: Sequence[Tensor] = (),
    balance: Tensor | None = None,
    *,
    distance: str = "l1",
    image_weight: float = 1.0,
    estimate_weight: float = 1.0,
    balance_weight: float = 0.0,
    edge_weight: float = 0.0,
) -> dict[str, Term]:
    """The terms of a network's training on pairs, Eq. (5) by default.

    Args:
        restored: Restored images, (B, C, H, W), normalised.
        hq: High-quality images, (B, C, H, W), normalised.
        estimates: Earlier estimates of the image that are supervised, too, each (B, C, H, W).
        balance: Balance loss summed over the spatial routing modules; None without routing.
        distance: Name of the distance, see `DISTANCES`; also the name of its term.
        image_weight: Factor of the distance of the restored image.
        estimate_weight: Factor of the summed distance of the estimates.
        balance_weight: gamma.
        edge_weight: Factor of `edge_distance`; 0 leaves it out.
    """
    measure = DISTANCES[distance]
    terms = {distance: Term(image_weight, measure(restored, hq))}
    if estimates:
        distances = torch.stack([measure(estimate, hq) for estimate in estimates])
        terms["estimates"] = Term(estimate_weight, distances.sum())
    if balance is not None:
        terms["balance"] = Term(balance_weight, balance)
    if edge_weight:
        terms["edge"] = Term(edge_weight, edge_distance(restored, hq))
    return terms


def edge_distance(restored: Tensor, hq: Tensor) -> Tensor:
    """L1 distance between the responses to the four Sobel filters of Eformer, scalar.

    Deviation: Eformer's own second term compares features of a ResNet-50 that was trained on
    photographs, which cannot be had without a download; this term asks for the same, sharp edges,
    with the filters of its edge branch.

    Args:
        restored: Restored images, (B, C, H, W).
        hq: High-quality images, (B, C, H, W).
    """
    difference = (restored - hq).flatten(0, 1).unsqueeze(1)
    return F.conv2d(difference, _sobel(difference)).abs().mean()


def _sobel(like: Tensor) -> Tensor:
    """Gradients along y, x and both diagonals, (4, 1, 3, 3)."""
    vertical = like.new_tensor([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
    diagonal = like.new_tensor([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]])
    return torch.stack([vertical, vertical.T, diagonal, diagonal.flip(-1)]).unsqueeze(1)
