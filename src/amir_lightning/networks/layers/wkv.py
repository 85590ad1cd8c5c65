"""Bidirectional WKV, the linear attention of Restore-RWKV.

Each channel takes a weighted mean of its values v over all T pixels of a scan,

    y_t = (sum_{i != t} exp(k_i - (|t - i| - 1) w) v_i + exp(k_t + u) v_t) / (the same without v).

The cost is linear in T, because the pixels are cut into chunks. Inside a chunk, the weights are one
small matrix per channel. The pixels before and behind a chunk enter as two weighted means with the
logarithms of their total weights, which an associative scan over the chunks computes.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from amir_lightning.networks.precision import widen, without_autocast

_CHUNK = 16  # pixels of a chunk; larger chunks mean larger matrices and a shorter scan
_GROUP = 2**17  # values that are mixed at a time in inference
_NOTHING = -1e30  # logarithm of a zero weight; finite, so that differences are finite, too
_LARGEST = 50.0  # exponent; a sum of products of two such factors does not overflow
_LEAST = 1e-30  # smallest divisor, in case all weights of a sum underflow


def bidirectional_wkv(decay: Tensor, bonus: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Mix the values of each channel along the pixels, in float32 at least.

    The result is exact for any keys and for decays of either sign, because every sum is scaled by
    its largest term.

    Args:
        decay: w, (C,); with a negative one, far pixels weigh more than near ones.
        bonus: u, (C,).
        key: k, (B, C, T).
        value: v, (B, C, T).

    Returns:
        y, (B, C, T).
    """
    with without_autocast(value):
        inputs = tuple(widen(one) for one in (decay, bonus, key, value))
        if torch.is_grad_enabled():
            return _mix(*inputs)
        # The intermediate results of a few channels stay in the caches of a CPU.
        size = max(1, _GROUP // (value.shape[0] * value.shape[-1]))
        channels = (one.split(size, dim=1 if one.ndim > 2 else 0) for one in inputs)
        return torch.cat([_mix(*group) for group in zip(*channels, strict=True)], dim=1)


def _mix(decay: Tensor, bonus: Tensor, key: Tensor, value: Tensor) -> Tensor:
    pixels = value.shape[-1]
    chunks = -(-pixels // _CHUNK)
    length = -(-pixels // chunks)
    missing = chunks * length - pixels
    key = F.pad(key, (0, missing), value=_NOTHING).unflatten(-1, (chunks, length))
    value = F.pad(value, (0, missing)).unflatten(-1, (chunks, length))

    # The exponents of a chunk span `length - 1` decays. An offset centres them at zero, which
    # cancels in the ratio. If the span exceeds the range of floats, the smallest weights underflow.
    reach = (length - 1) * decay.detach()
    offset = torch.maximum(-reach / 2, (-reach).clamp_min(0) - _LARGEST)
    offset = torch.maximum(offset, bonus.detach() - _LARGEST)[:, None]
    place = torch.arange(length, device=value.device)
    distance = (place[:, None] - place).abs()
    within = -(distance - 1) * decay[:, None, None]
    within = torch.where(distance == 0, bonus[:, None, None], within) - offset[..., None]
    from_start = (-place * decay[:, None] - offset).exp()  # (C, L)
    from_end = from_start.flip(-1)

    scale = key.detach().amax(dim=-1)  # (B, C, N)
    weight = (key - scale[..., None]).exp()
    sums = torch.cat([weight * value, weight], dim=2)  # (B, C, 2 N, L)
    matrix = within.exp()  # symmetric
    if chunks > 1:
        # Two more columns: all pixels before the chunk, and all pixels behind it.
        ends = sums @ torch.stack([from_end, from_start], dim=-1)
        before, behind = _around(ends.unflatten(2, (2, chunks)), scale + offset, length * decay)
        most = torch.stack([scale, before.log.detach(), behind.log.detach()]).amax(dim=0)
        own = (scale - most).exp().repeat(1, 1, 2)[..., None]
        sums = torch.cat([sums * own, before.weighed(most), behind.weighed(most)], dim=-1)
        matrix = torch.cat([matrix, from_start[:, None], from_end[:, None]], dim=1)
    mixed = (sums @ matrix).unflatten(2, (2, chunks))
    summed, total = mixed.unbind(2)
    mean = summed / total.clamp_min(_LEAST)
    return mean.flatten(-2)[..., :pixels]


class _Mean(NamedTuple):
    """Weighted means of values, with the logarithms of their total weights."""

    log: Tensor
    mean: Tensor

    def weighed(self, most: Tensor) -> Tensor:
        """Weighted sums, then total weights, both divided by `exp(most)`, (B, C, 2 N, 1)."""
        weight = (self.log - most).exp()
        return torch.cat([weight * self.mean, weight], dim=2)[..., None]


def _around(ends: Tensor, scale: Tensor, decay: Tensor) -> tuple[_Mean, _Mean]:
    """Means over all pixels before each chunk and over all pixels behind it.

    Their weights are those seen from the first and from the last pixel of the chunk.

    Args:
        ends: Weighted sum and total weight of each chunk, seen from the first pixel behind it and
            from the last pixel before it, (B, C, 2, N, 2).
        scale: Logarithm of the factor that they were divided by, (B, C, N).
        decay: Decay over the length of a chunk, (C,).
    """
    summed, weight = ends.unbind(2)
    weight = weight.clamp_min(_LEAST)
    mean, log = summed / weight, weight.log() + scale[..., None]
    # The means over pixels behind are the same scan in the opposite direction.
    mean, log = (torch.stack([one[..., 0], one[..., 1].flip(-1)]) for one in (mean, log))
    chunks, step = mean.shape[-1], 1
    while step < chunks:  # each round doubles the number of chunks that a mean covers
        far_mean, far = _later(mean, step, 0.0), _later(log, step, _NOTHING)
        far = far - step * decay[:, None]
        mean = mean + (far - log).sigmoid() * (far_mean - mean)
        log = torch.logaddexp(log, far)
        step *= 2
    mean, log = _later(mean, 1, 0.0), _later(log, 1, _NOTHING)
    return _Mean(log[0], mean[0]), _Mean(log[1].flip(-1), mean[1].flip(-1))


def _later(row: Tensor, step: int, first: float) -> Tensor:
    """Move a row by some places towards its end and fill the start with a value."""
    return F.pad(row[..., :-step], (step, 0), value=first)
