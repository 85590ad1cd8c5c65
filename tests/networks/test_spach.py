import pytest
import torch
import torch.nn.functional as F
from by_hand import parameters
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks import SpachTransformer

SMALL = {
    "width": 8,
    "depths": [1, 1, 1, 1],
    "refinement_depth": 1,
    "swin_depths": [2, 2],
    "position_size": 12,
}


def test_counts_are_those_of_the_sheet() -> None:
    with torch.device("meta"):
        network = SpachTransformer()
        assert parameters(network) == 3_802_739
        assert parameters(network.swin) == 2_035_856
        assert parameters(SpachTransformer(width=32)) == 14_482_947
        assert parameters(SpachTransformer(ffn_expansion_factor=2.66)) == 4_873_313


@pytest.mark.parametrize("size", [(9, 9), (37, 53), (48, 48), (16, 88)])
def test_size_is_kept(size: tuple[int, int]) -> None:
    lq = torch.rand(2, 1, *size)
    assert SpachTransformer(**SMALL)(lq).shape == lq.shape


def test_output_is_the_input_plus_a_residual() -> None:
    network = SpachTransformer(**SMALL)
    nn.init.zeros_(network.head.weight)
    lq = torch.rand(1, 1, 16, 24)
    assert torch.equal(network(lq), lq)


def test_convolutions_and_connections_around_the_blocks() -> None:
    network = SpachTransformer(**SMALL).double().eval()
    weights = network.state_dict()
    for stage in (*network.encoders, network.bottleneck, *network.decoders, network.refinement):
        for block in stage:  # a block without output layers is the identity
            nn.init.zeros_(block.attention.project_out.weight)
            nn.init.zeros_(block.feed_forward.project_out.weight)

    def conv(name: str, features: Tensor) -> Tensor:
        weight = weights[f"{name}.weight"]
        return F.conv2d(features, weight, padding=weight.shape[-1] // 2)

    def scale(features: Tensor, factor: float) -> Tensor:
        return F.interpolate(features, scale_factor=factor, mode="bilinear")

    lq = torch.rand(1, 1, 32, 48, dtype=torch.float64)
    quarter, eighth = network.swin(lq)
    level1 = conv("stem", lq)
    level2 = scale(conv("downs.0.0", level1), 0.5)
    level3 = scale(conv("downs.1.0", level2), 0.5)
    level4 = scale(conv("downs.2.0", level3), 0.5)
    features = conv("fuse", torch.cat([level4, eighth], 1))
    features = scale(conv("ups.0.0", features), 2)
    features = conv("merges.0", torch.cat([features, level3, quarter], 1))
    features = scale(conv("ups.1.0", features), 2)
    features = conv("merges.1", torch.cat([features, level2], 1))
    features = scale(conv("ups.2.0", features), 2)
    expected = lq + conv("head", torch.cat([features, level1], 1))
    torch.testing.assert_close(network(lq), expected, atol=1e-12, rtol=1e-12)


def test_swin_branch_embeds_patches_at_their_positions_and_merges_neighbours() -> None:
    swin = SpachTransformer(**SMALL).swin.double().eval()
    for stage in (swin.stage1, swin.stage2):
        for block in stage.blocks:  # a block without output layers is the identity
            for layer in (block.attention.proj, block.feed_forward.linear2):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def norm(tokens: Tensor) -> Tensor:
        centred = tokens - tokens.mean(dim=-1, keepdim=True)
        return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()

    lq = torch.rand(1, 1, 48, 48, dtype=torch.float64)
    quarter, eighth = swin(lq)
    assert quarter.shape == (1, 32, 12, 12)
    assert eighth.shape == (1, 64, 6, 6)
    kernel = swin.embed.weight.flatten(1)
    for y, x in [(0, 0), (11, 2), (6, 9)]:
        # The four patches of the merged token that holds patch (y, x), column by column.
        tokens = []
        for u in (x // 2 * 2, x // 2 * 2 + 1):
            for v in (y // 2 * 2, y // 2 * 2 + 1):
                patch = lq[0, 0, 4 * v : 4 * v + 4, 4 * u : 4 * u + 4].flatten()
                token = norm(kernel @ patch + swin.embed.bias) + swin.position[0, :, v, u]
                tokens.append(token)
                torch.testing.assert_close(quarter[0, :, v, u], norm(token))
        merged = norm(swin.merge.reduction.weight @ norm(torch.cat(tokens)))
        torch.testing.assert_close(eighth[0, :, y // 2, x // 2], merged)


def test_positions_are_interpolated_to_the_tokens() -> None:
    swin = SpachTransformer(**SMALL).swin.eval()
    ramp = torch.arange(12.0).expand(1, 32, 12, 12)
    with torch.no_grad():
        swin.position.copy_(ramp)
    seen = []
    swin.stage1.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    swin(torch.zeros(1, 1, 16, 96))  # 4x24 tokens; a constant image embeds alike everywhere
    steps = seen[0][0, 0, 1:-1].diff(dim=0)[1:-1]
    torch.testing.assert_close(steps, torch.full_like(steps, 0.5))


def test_drop_path_grows_over_both_stages() -> None:
    swin = SpachTransformer(**SMALL).swin
    blocks = [*swin.stage1.blocks, *swin.stage2.blocks]
    assert [b.drop_path.drop_prob for b in blocks] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert [b.shift for b in blocks] == [0, 4, 0, 4]
    assert [b.attention.num_heads for b in blocks] == [4, 4, 8, 8]


def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    network = SpachTransformer(**SMALL, drop_path=0.0)
    network(torch.rand(1, 1, 72, 40)).square().sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_checkpoints_hold_parameters_only() -> None:
    network = SpachTransformer(**SMALL)
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": [3, 2, 4, 8]}, "heads has 3, which does not divide the 8 channels"),
        ({"swin_heads": [5, 8]}, "5 heads do not divide the 32 channels"),
        ({"swin_heads": [4]}, r"swin_heads is \[4\], expected 2 whole numbers"),
        ({"swin_depths": [2, 0]}, r"swin_depths is \[2, 0\], expected 2 whole numbers"),
        ({"depths": [1, 1, 1]}, r"depths is \[1, 1, 1\], expected 4 whole numbers"),
        ({"position_size": 0}, "position_size is 0"),
        ({"window_size": 1}, "window_size is 1"),
        ({"drop_path": -0.1}, "drop_path is -0.1"),
        ({"ffn_expansion_factor": 0.5}, "ffn_expansion_factor is 0.5"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SpachTransformer(**{**SMALL, **arguments})
