from itertools import product

import pytest
import torch
import torch.nn.functional as F
from by_hand import parameters
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks import Eformer
from amir_lightning.networks.eformer import LeWinBlock, SobelEdges

SMALL = {"width": 8, "depth": 1, "window_size": 4, "edge_channels": 4}


def test_counts_are_those_of_the_sheet() -> None:
    with torch.device("meta"):
        network = Eformer()
        assert parameters(network) == 1_137_333
        assert parameters(network.sobel) == 64
        assert parameters(Eformer(levels=3)) == 4_494_701
        assert parameters(Eformer(levels=4)) == 17_655_485
        assert parameters(Eformer(width=16, levels=3)) == 1_196_365
        counts = [parameters(LeWinBlock(32 * n, n, 8, 4.0)) for n in (1, 2, 4)]
        assert counts == [14_209, 52_994, 204_292]
    assert network.size_multiple == 32


@pytest.mark.parametrize("size", [(9, 9), (37, 53), (16, 48)])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_size_is_kept(size: tuple[int, int], levels: int) -> None:
    lq = torch.rand(2, 3, *size)
    assert Eformer(3, levels=levels, **SMALL)(lq).shape == lq.shape


def test_output_is_the_input_minus_the_head() -> None:
    network = Eformer(**SMALL)
    nn.init.zeros_(network.head.weight)
    nn.init.constant_(network.head.bias, 0.25)
    lq = torch.rand(1, 1, 16, 16)
    assert torch.equal(network(lq), lq - 0.25)


def test_weights_start_like_those_of_uformer() -> None:
    torch.manual_seed(0)
    for name, module in Eformer().named_modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05), name
            assert not module.bias.any()


def test_checkpoint_holds_trained_values_alone() -> None:
    network = Eformer(**SMALL)
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


def test_edges_are_slopes_in_four_directions() -> None:
    sobel = SobelEdges(2, 8).double()
    down, right = (ramp.double() for ramp in torch.meshgrid(*[torch.arange(7)] * 2, indexing="ij"))

    def slopes(image: Tensor) -> Tensor:
        """Responses inside the border, which are the same everywhere."""
        inner = sobel(torch.stack([torch.zeros_like(image), image])[None])[0, :, 1:-1, 1:-1]
        assert torch.equal(inner, inner[:, :1, :1].expand_as(inner))
        return inner[:, 0, 0]

    # A slope along an axis is 1 * (1 + 2 + 1) over two pixels, one along a diagonal 2 * 2 + 4 * 1.
    expected = {"down": [8, 0, -6, 6], "right": [0, 8, 6, 6], "flat": [0, 0, 0, 0]}
    found = {"down": slopes(down), "right": slopes(right), "flat": slopes(torch.ones_like(down))}
    for name, response in found.items():
        assert response.tolist() == 2 * expected[name], name
    assert sorted(sobel.kernels[2, 0].flatten().tolist()) == [-2, -1, -1, 0, 0, 0, 1, 1, 2]
    assert torch.equal(sobel.kernels, -sobel.kernels.flip(-1, -2))

    with torch.no_grad():
        sobel.factor.copy_(torch.arange(8).view(8, 1, 1, 1))
        sobel.bias.copy_(10 * torch.arange(8))
    assert slopes(right).tolist() == [0, 18, 32, 48, 40, 90, 96, 112]


def test_block_is_attention_in_windows_and_a_local_mlp() -> None:
    torch.manual_seed(0)
    channels, heads, side = 6, 2, 2
    block = LeWinBlock(channels, heads, side, 1.5).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    features = torch.randn(1, channels, 4, 6, dtype=torch.float64)
    pixels = features[0].permute(1, 2, 0)

    def norm(x: Tensor, one: nn.LayerNorm) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return one.weight * centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() + (
            one.bias
        )

    attention = block.attention
    qkv = norm(pixels, block.norm1) @ attention.qkv.weight.T + attention.qkv.bias
    query, key, value = (part.unflatten(-1, (heads, -1)) for part in qkv.chunk(3, dim=-1))
    mixed = torch.zeros_like(pixels).unflatten(-1, (heads, -1))
    table = attention.relative_position_bias_table.view(2 * side - 1, 2 * side - 1, heads)
    for y, x, head in product(range(4), range(6), range(heads)):
        inside = [
            (v, u)
            for v, u in product(range(4), range(6))
            if (v // side, u // side) == (y // side, x // side)
        ]
        logits = torch.stack(
            [
                query[y, x, head] @ key[v, u, head] / (channels // heads) ** 0.5
                + table[y - v + side - 1, x - u + side - 1, head]
                for v, u in inside
            ]
        )
        for weight, (v, u) in zip(logits.softmax(0), inside, strict=True):
            mixed[y, x, head] += weight * value[v, u, head]
    pixels = pixels + mixed.flatten(-2) @ attention.proj.weight.T + attention.proj.bias

    mlp = block.feed_forward
    hidden = norm(pixels, block.norm2) @ mlp.project_in.weight.T + mlp.project_in.bias
    padded = F.pad(F.gelu(hidden), (0, 0, 1, 1, 1, 1))
    local = mlp.depthwise.bias + sum(
        padded[dy : dy + 4, dx : dx + 6] * mlp.depthwise.weight[:, 0, dy, dx]
        for dy, dx in product(range(3), range(3))
    )
    assert hidden.shape[-1] == 9
    pixels = pixels + F.gelu(local) @ mlp.project_out.weight.T + mlp.project_out.bias
    assert torch.allclose(block(features)[0].permute(1, 2, 0), pixels)


def test_every_level_sees_the_edges_in_encoder_and_decoder() -> None:
    network = Eformer(**SMALL)
    lq = torch.rand(1, 1, 16, 32)
    seen = {}
    for name in ("skips", "merges"):
        for level, conv in enumerate(getattr(network, name)):
            conv.register_forward_pre_hook(
                lambda _conv, inputs, key=(name, level): seen.update({key: inputs[0][:, -4:]})
            )
    network(lq)
    fine = F.gelu(network.sobel(lq))
    coarse = network.edge_downs[0](fine)
    for level, edges in enumerate((fine, coarse)):
        assert torch.allclose(seen["skips", level], edges, atol=1e-6)
        assert torch.allclose(seen["merges", 1 - level], edges, atol=1e-6)


def test_gradient_reaches_every_parameter() -> None:
    network = Eformer(**SMALL).double()
    network(torch.rand(1, 1, 24, 24, dtype=torch.float64)).square().sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "3 heads do not divide the 8 channels .* type one of 1, 2, 4, 8 as heads"),
        ({"edge_channels": 6}, "edge_channels is 6, .* type edge_channels=8"),
        ({"levels": 0}, "levels is 0, expected a whole number of at least 1"),
        ({"window_size": 2.5}, "window_size is 2.5, expected a whole number"),
        ({"mlp_ratio": 0.5}, "mlp_ratio is 0.5, expected a number of at least 1"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Eformer(**{**SMALL, **arguments})
