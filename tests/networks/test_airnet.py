import pytest
import torch
import torch.nn.functional as F
from by_hand import parameters
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from amir_lightning.errors import InputError
from amir_lightning.networks import AirNet

SMALL = {"width": 6, "num_groups": 2, "num_blocks": 2, "embedding_size": 10}


def build(**arguments: object) -> AirNet:
    """A small network whose offsets are not zero."""
    torch.manual_seed(0)
    network = AirNet(**{**SMALL, **arguments})
    for name, parameter in network.named_parameters():
        if "sampling" in name:
            nn.init.normal_(parameter, std=0.3)
    return network


def calls(module: nn.Module) -> list[int]:
    """Grows by one at the start of each forward pass of the module."""
    seen: list[int] = []
    module.register_forward_pre_hook(lambda *_: seen.append(1))
    return seen


def test_counts_are_those_of_the_released_code() -> None:
    with torch.device("meta"):
        network, colour = AirNet(), AirNet(in_channels=3)
    assert parameters(network) == 7_606_791
    assert parameters(network.encoder) == 1_318_656
    assert parameters(network.encoder.pre) == 37_888
    # With a second encoder, as momentum contrast has it, it is the 8.93 M of the literature.
    assert parameters(colour) + parameters(colour.encoder) == 8_930_313


def test_multiply_adds_are_those_of_the_released_code() -> None:
    with FakeTensorMode(), torch.no_grad(), FlopCounterMode(display=False) as counter:
        AirNet().eval().report(torch.rand(1, 1, 128, 128))
    assert round(counter.get_total_flops() / 2e9, 2) == 105.44


@pytest.mark.parametrize("size", [(9, 9), (37, 53)])
def test_size_is_kept(size: tuple[int, int]) -> None:
    lq = torch.rand(1, 1, *size)
    network = build()
    assert network(lq).shape == network.report(lq).image.shape == lq.shape


def test_image_is_no_residual_of_the_input() -> None:
    network = build()
    for parameter in network.restorer.head.parameters():
        nn.init.zeros_(parameter)
    assert not network(torch.rand(1, 1, 12, 12)).any()


def convolve(state: dict[str, Tensor], name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = state[f"{name}.weight"]
    taps = weight.shape[-1]
    padded = F.pad(x, [taps // 2] * 4)
    windows = padded.unfold(2, taps, stride).unfold(3, taps, stride)
    bias = state.get(f"{name}.bias", weight.new_zeros(len(weight)))
    return torch.einsum("bchwyx,ocyx->bohw", windows, weight) + bias[:, None, None]


def rectify(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.1 * x)


def expected_features(state: dict[str, Tensor], name: str, x: Tensor, stride: int) -> Tensor:
    def normalise(part: str, x: Tensor) -> Tensor:
        mean, var = (
            state[f"{name}.{part}.running_{key}"][:, None, None] for key in ("mean", "var")
        )
        return (x - mean) / (var + 1e-5).sqrt()

    y = rectify(normalise("main.1", convolve(state, f"{name}.main.0", x, stride)))
    y = normalise("main.4", convolve(state, f"{name}.main.3", y))
    return rectify(y + normalise("shortcut.1", convolve(state, f"{name}.shortcut.0", x, stride)))


def expected_guided(state: dict[str, Tensor], name: str, x: Tensor, guide: Tensor) -> Tensor:
    """Before training: the deformable convolution is half of a plain one."""
    scale, shift = (
        convolve(state, f"{name}.{one}.2", rectify(convolve(state, f"{name}.{one}.0", guide)))
        for one in ("scale", "shift")
    )
    return x + convolve(state, f"{name}.deform", x) / 2 + x * scale + shift


def test_untrained_network_is_a_chain_of_plain_convolutions() -> None:
    torch.manual_seed(0)
    network = AirNet(**SMALL).double()
    lq = torch.rand(2, 1, 11, 13, dtype=torch.float64)
    network.report(lq)  # running statistics are no longer those of initialisation
    state, report = network.eval().state_dict(), network.report(lq)

    guide = expected_features(state, "encoder.pre", lq, 1)
    shallow = x = convolve(state, "restorer.stem", lq)
    for group in ("restorer.groups.0", "restorer.groups.1"):
        before = x
        for block in (f"{group}.blocks.0", f"{group}.blocks.1"):
            y = rectify(expected_guided(state, f"{block}.guided1", x, guide))
            y = rectify(convolve(state, f"{block}.convolution1", y))
            y = rectify(expected_guided(state, f"{block}.guided2", y, guide))
            x = x + convolve(state, f"{block}.convolution2", y)
        x = before + convolve(state, f"{group}.merge", x)
    image = convolve(state, "restorer.head", shallow + convolve(state, "restorer.merge", x))
    torch.testing.assert_close(report.image, image)

    deep = expected_features(state, "encoder.body.0", guide, 2)
    embedding = expected_features(state, "encoder.body.1", deep, 2).mean((2, 3))
    query = rectify(embedding @ state["encoder.mlp.0.weight"].T + state["encoder.mlp.0.bias"])
    query = query @ state["encoder.mlp.2.weight"].T + state["encoder.mlp.2.bias"]
    torch.testing.assert_close(report.instruction, embedding)
    torch.testing.assert_close(report.query, query)


def test_encoder_returns_guide_embedding_and_query() -> None:
    network = build().eval()
    assert network.query_encoder is network.encoder
    lq = torch.rand(2, 1, 17, 14)
    encoding = network.encoder(lq)
    assert encoding._fields == ("features", "embedding", "query")
    assert [tuple(one.shape) for one in encoding] == [(2, 6, 17, 14), (2, 10), (2, 10)]
    report = network.trace(lq)
    assert torch.equal(report.instruction, encoding.embedding)
    assert torch.equal(report.query, encoding.query)
    assert torch.equal(report.image, network.restorer(lq, encoding.features))


def test_restoring_needs_the_first_block_of_the_encoder_alone() -> None:
    network = build().eval()
    first, rest = calls(network.encoder.pre), calls(network.encoder.body)
    lq = torch.rand(1, 1, 12, 12)
    image = network(lq)
    assert (len(first), len(rest)) == (1, 0)
    assert torch.equal(network.report(lq).image, image)
    assert (len(first), len(rest)) == (2, 1)


def test_image_and_query_reach_every_parameter() -> None:
    network = build()
    report = network.report(torch.rand(2, 1, 16, 16))
    report.image.square().sum().backward(retain_graph=True)
    dead = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()}
    rest = ("encoder.body.", "encoder.mlp.")
    assert dead == {name for name, _ in network.named_parameters() if name.startswith(rest)}
    report.query.square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_checkpoints_change_nothing_but_the_work() -> None:
    outcomes = []
    for checkpoint_blocks in (True, False):
        network = build(checkpoint_blocks=checkpoint_blocks)
        seen = calls(network.restorer.groups[1].blocks[0])
        lq = torch.rand(2, 1, 10, 12, generator=torch.Generator().manual_seed(1))
        report = network.report(lq)
        (report.image.square().sum() + report.query.square().sum()).backward()
        assert len(seen) == 1 + checkpoint_blocks
        gradients = {name: p.grad for name, p in network.named_parameters()}
        buffers = dict(network.named_buffers())
        outcomes.append({"image": report.image, **gradients, **buffers})
        network.eval()(lq).sum().backward()
        assert len(seen) == 2 + checkpoint_blocks
    recomputed, kept = outcomes
    assert all(torch.equal(recomputed[name], kept[name]) for name in kept)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 0}, "width is 0, expected a whole number of at least 1"),
        ({"num_groups": 1.5}, "num_groups is 1.5, expected a whole number"),
        ({"num_blocks": 0}, "num_blocks is 0, expected a whole number"),
        ({"embedding_size": "large"}, "embedding_size is 'large', expected a whole number"),
        ({"checkpoint_blocks": "yes"}, "checkpoint_blocks is 'yes'; type checkpoint_blocks=True"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AirNet(**{**SMALL, **arguments})
