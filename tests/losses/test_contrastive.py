from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amir_lightning.losses import MomentumContrast


class Encoded(NamedTuple):
    query: Tensor


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3)
        self.norm = nn.BatchNorm2d(6)

    def forward(self, image: Tensor) -> Encoded:
        return Encoded(self.norm(self.conv(image)).mean(dim=(-2, -1)))


def contrast(queue_size: int = 5) -> tuple[Encoder, MomentumContrast]:
    torch.manual_seed(0)
    encoder = Encoder()
    return encoder, MomentumContrast(encoder, 1, queue_size, momentum=0.9, temperature=0.07)


def test_loss_is_the_negative_log_share_of_the_own_key() -> None:
    _, moco = contrast()
    query, keys = torch.randn(3, 6), F.normalize(torch.randn(3, 6), dim=-1)
    losses = []
    for q, k in zip(query, keys, strict=True):
        unit = q / q.norm()
        own = (unit @ k / 0.07).exp()
        others = sum((unit @ other / 0.07).exp() for other in moco.queue)
        losses.append(-(own / (own + others)).log())
    torch.testing.assert_close(moco(query, keys), torch.stack(losses).mean())


def test_key_encoder_follows_and_learns_nothing_itself() -> None:
    encoder, moco = contrast()
    assert not any(p.requires_grad for p in moco.key_encoder.parameters())
    before = moco.key_encoder.conv.weight.clone()
    with torch.no_grad():
        encoder.conv.weight.add_(1.0)
    moco.follow(encoder)
    torch.testing.assert_close(moco.key_encoder.conv.weight, before + 0.1)


def test_building_it_leaves_no_trace_in_running_statistics() -> None:
    encoder, moco = contrast()
    assert encoder.norm.num_batches_tracked == moco.key_encoder.norm.num_batches_tracked == 0
    assert moco.key_encoder.training


def test_queue_is_first_in_first_out_around_its_end() -> None:
    _, moco = contrast(queue_size=5)
    keys = F.normalize(torch.randn(4, 6), dim=-1)
    last = moco.queue[4].clone()
    moco.enqueue(keys)
    assert torch.equal(moco.queue, torch.cat([keys, last[None]]))
    more = F.normalize(torch.randn(3, 6), dim=-1)
    moco.enqueue(more)
    assert torch.equal(moco.queue, torch.stack([more[1], more[2], keys[2], keys[3], more[0]]))
    assert moco.position == 2


def test_gradient_goes_to_the_query_alone() -> None:
    encoder, moco = contrast()
    image = torch.rand(3, 1, 8, 8)
    keys = moco.keys(torch.rand(3, 1, 8, 8))
    loss = moco(encoder(image).query, keys)
    moco.enqueue(keys)  # in place, after the loss was formed
    loss.backward()
    assert encoder.conv.weight.grad.abs().max() > 0
    assert all(p.grad is None for p in moco.key_encoder.parameters())
