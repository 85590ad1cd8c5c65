"""The training objective, Eq. (5): L = L1 + gamma * L_balance."""

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class Loss(NamedTuple):
    """The objective and its two terms, scalars."""

    total: Tensor
    l1: Tensor
    balance: Tensor


def l1_balance(restored: Tensor, hq: Tensor, balance: Tensor | None, balance_weight: float) -> Loss:
    """L1 distance plus the weighted balance loss of the routing, Eq. (5).

    Args:
        restored: Restored images, (B, 1, H, W), normalised.
        hq: High-quality images, (B, 1, H, W), normalised.
        balance: Balance loss summed over the spatial routing modules; zero without routing.
        balance_weight: gamma.
    """
    l1 = F.l1_loss(restored, hq)
    balance = l1.new_zeros(()) if balance is None else balance
    return Loss(total=l1 + balance_weight * balance, l1=l1, balance=balance)
