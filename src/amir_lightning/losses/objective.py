"""Training objective, Sec. 2.3, Eq. (5): `L = L_1 + gamma * L_Balance`, and its other terms."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Term(NamedTuple):
    """One term of an objective.

    Attributes:
        weight: Factor of the term in the sum.
        value: Value without that factor, scalar.
    """

    weight: float
    value: Tensor


def total(terms: Mapping[str, Term]) -> Tensor:
    """Sum the terms by their weights, as Eq. (5) does; scalar."""
    return torch.stack([term.weight * term.value for term in terms.values()]).sum()


def charbonnier(restored: Tensor, hq: Tensor) -> Tensor:
    """Mean of `sqrt(difference^2 + 1e-9)`, a smooth L1 that SwinIR uses for denoising."""
    return ((restored - hq).square() + 1e-9).sqrt().mean()


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l1": F.l1_loss,
    "mse": F.mse_loss,
    "charbonnier": charbonnier,
}
"""Distances between images of the same shape, by name."""

OPTIONS = ("distance", "image_weight", "estimate_weight", "balance_weight", "edge_weight")
"""Keyword options of `restoration_terms`, as a loss file names them."""


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
    """Compute the terms of training on image pairs; `total` adds them up.

    Without estimates and edges, these are the two terms of Eq. (5), `L = L_1 + gamma * L_Balance`.

    Args:
        restored: Restored images, (B, C, H, W), normalised.
        hq: High-quality images, (B, C, H, W), normalised.
        estimates: Earlier estimates of the images to supervise as well, each (B, C, H, W).
        balance: Balance loss summed over the spatial routing modules; None without routing.
        distance: Name of a distance in `DISTANCES`, which also names its term.
        image_weight: Factor of the distance of the restored images.
        estimate_weight: Factor of the sum of the distances of the estimates.
        balance_weight: gamma of Eq. (5).
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

    Deviation: Eformer's second loss term compares features of a ResNet-50 trained on photographs,
    whose weights would have to be downloaded. This term serves the same purpose, sharp edges, with
    the filters of its edge branch.

    Args:
        restored: Restored images, (B, C, H, W).
        hq: High-quality images, (B, C, H, W).
    """
    difference = (restored - hq).flatten(0, 1).unsqueeze(1)
    return F.conv2d(difference, _sobel(difference)).abs().mean()


def _sobel(like: Tensor) -> Tensor:
    """Sobel filters along y, x and both diagonals, (4, 1, 3, 3)."""
    vertical = like.new_tensor([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
    diagonal = like.new_tensor([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]])
    return torch.stack([vertical, vertical.T, diagonal, diagonal.flip(-1)]).unsqueeze(1)
