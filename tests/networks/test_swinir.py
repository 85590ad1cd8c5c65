import pytest
import torch
import torch.nn.functional as F
from by_hand import parameters
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks import SwinIR

SMALL = {"width": 12, "groups": 2, "depth": 2, "heads": 2}


def test_counts_are_those_of_the_release() -> None:
    with torch.device("meta"):
        network = SwinIR()
        assert parameters(network) == 11_497_681
        assert [parameters(group) for group in network.groups] == [1_866_960] * 6
        assert parameters(SwinIR(width=60, groups=4)) == 903_121


@pytest.mark.parametrize("size", [(9, 9), (37, 53), (16, 24)])
def test_size_is_kept(size: tuple[int, int]) -> None:
    lq = torch.rand(2, 1, *size)
    assert SwinIR(**SMALL)(lq).shape == lq.shape


def test_images_are_padded_to_whole_windows() -> None:
    network = SwinIR(**SMALL, window_size=4).eval()
    assert network.size_multiple == 4
    lq = torch.rand(1, 1, 9, 14)
    assert network(lq).shape == lq.shape


def test_output_is_the_input_plus_a_residual() -> None:
    network = SwinIR(**SMALL)
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    lq = torch.rand(1, 1, 16, 24)
    assert torch.equal(network(lq), lq)


def test_convolutions_and_connections_around_the_swin_blocks() -> None:
    network = SwinIR(**SMALL, in_channels=2).double().eval()
    for group in network.groups:  # a block without output layers is the identity
        for block in group.swin.blocks:
            for layer in (block.attention.proj, block.feed_forward.linear2):
                nn.init.zeros_(layer.weight)
    weights = network.state_dict()

    def conv(name: str, features: Tensor) -> Tensor:
        return F.conv2d(features, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    def norm(features: Tensor) -> Tensor:
        mean = features.mean(dim=1, keepdim=True)
        variance = (features - mean).square().mean(dim=1, keepdim=True)
        return (features - mean) / (variance + 1e-5).sqrt()

    lq = torch.rand(1, 2, 16, 24, dtype=torch.float64)
    shallow = conv("stem", lq)
    deep = norm(shallow)
    deep = deep + conv("groups.0.conv", deep)
    deep = deep + conv("groups.1.conv", deep)
    expected = lq + conv("head", shallow + conv("conv", norm(deep)))
    torch.testing.assert_close(network(lq), expected, atol=1e-12, rtol=1e-12)


def test_plain_windows_do_not_mix_and_shifted_windows_do() -> None:
    swin = SwinIR(**SMALL).double().eval().groups[0].swin
    tokens = torch.randn(1, 24, 24, 12, dtype=torch.float64)
    other = tokens.clone()
    other[:, 2, 10] = torch.randn(12, dtype=torch.float64)
    with torch.no_grad():
        changed = (swin.blocks[0](tokens, swin.masks) != swin.blocks[0](other, swin.masks)).any(3)
        rows, columns = changed[0].nonzero().T
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 7, 8, 15)
        changed = (swin(tokens) != swin(other)).any(3)
        rows, columns = changed[0].nonzero().T
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (0, 11, 4, 19)


def test_initial_weights() -> None:
    torch.manual_seed(0)
    block = SwinIR(width=60, groups=1, depth=1).groups[0].swin.blocks[0]
    for layer in (block.attention.qkv, block.attention.proj, block.feed_forward.linear1):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert not layer.bias.any()
    assert block.attention.relative_position_bias_table.std().item() == pytest.approx(0.02, rel=0.1)


def test_drop_path_grows_over_all_groups() -> None:
    network = SwinIR(**SMALL, drop_path=0.3)
    rates = [block.drop_path.drop_prob for group in network.groups for block in group.swin.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    network = SwinIR(**SMALL, drop_path=0.0)
    network(torch.rand(1, 1, 24, 24)).square().sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_checkpoints_hold_parameters_only() -> None:
    network = SwinIR(**SMALL)
    assert set(network.state_dict()) == {name for name, _ in network.named_parameters()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 5}, "5 heads do not divide the 12 channels"),
        ({"groups": 0}, "groups is 0, expected a whole number"),
        ({"depth": 1.5}, "depth is 1.5, expected a whole number"),
        ({"window_size": 1}, "window_size is 1, expected a whole number of at least 2"),
        ({"mlp_ratio": 0.5}, "mlp_ratio is 0.5"),
        ({"drop_path": 1}, "drop_path is 1, expected a number below 1"),
        ({"drop_path": "none"}, "drop_path is 'none', expected a number"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SwinIR(**{**SMALL, **arguments})
