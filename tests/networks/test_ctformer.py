import numpy as np
import pytest
import torch
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks import CTformer
from amir_lightning.networks.ctformer import Performer

SMALL = {"width": 8, "heads": 2, "tile": 24, "tiles_at_once": 5}


def small(**arguments: object) -> CTformer:
    """A network whose noise, unlike at the start, is far from zero."""
    torch.manual_seed(0)
    network = CTformer(**{**SMALL, **arguments}).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


def test_counts_are_those_of_the_release_without_head_and_class_token() -> None:
    with torch.device("meta"):
        network = CTformer()
    assert sum(p.numel() for p in network.parameters()) == 1_382_413
    assert sum(b.numel() for b in network.buffers()) == 205_016
    assert sum(isinstance(m, nn.Dropout) for m in network.modules() if getattr(m, "p", 0)) == 12


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(9, 9), (37, 53)])
def test_size_is_kept(size: tuple[int, int], training: bool) -> None:
    lq = torch.rand(2, 3, *size)
    assert CTformer(3, **SMALL).train(training)(lq).shape == lq.shape


def test_output_is_the_input_minus_what_the_last_performer_says() -> None:
    network = small()
    lq = torch.rand(2, 1, 48, 48, dtype=torch.float64)
    assert (network(lq) - lq).abs().mean() > 0.1
    for parameter in network.decode_pixels.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(network(lq), lq)


def test_training_cuts_tiles_side_by_side() -> None:
    network = small(dropout=0.0)
    assert network.size_multiple == 24
    lq = torch.rand(2, 1, 48, 72, dtype=torch.float64)
    restored = network(lq)
    for top in (0, 24):
        for left in (0, 24, 48):
            window = (..., slice(top, top + 24), slice(left, left + 24))
            alone = lq[window] - network.predict_noise(lq[window])
            assert torch.allclose(restored[window], alone)
    # 7x7 neighbourhoods at stride 2 cover 23 of 24 pixels.
    unchanged = (restored == lq).all(dim=0)[0]
    last_row = (torch.arange(48) % 24 == 23)[:, None]
    last_column = torch.arange(72) % 24 == 23
    assert torch.equal(unchanged, last_row | last_column)


def test_evaluation_keeps_the_centres_of_overlapping_tiles() -> None:
    network = small().eval()
    assert network.size_multiple == 12
    lq = torch.rand(2, 1, 24, 36, dtype=torch.float64)
    bordered = np.pad(lq.numpy(), ((0, 0), (0, 0), (6, 6), (6, 6)))
    expected = np.empty(lq.shape)
    for top in range(0, 24, 12):
        for left in range(0, 36, 12):
            tile = torch.from_numpy(bordered[..., top : top + 24, left : left + 24].copy())
            restored = tile - network.predict_noise(tile).detach()
            expected[..., top : top + 12, left : left + 12] = restored[..., 6:18, 6:18]
    with torch.no_grad():
        assert np.allclose(network(lq).numpy(), expected)
        network.tiles_at_once = 100
        assert np.allclose(network(lq).numpy(), expected)


def test_the_mode_alone_decides_what_fits() -> None:
    network = small()
    for module in network.modules():  # as Lightning ends a validation: `train` is not called
        module.training = False
    assert network.size_multiple == 12


def neighbourhoods(features: np.ndarray, kernel: int, stride: int, dilation: int) -> np.ndarray:
    """Tokens (T, C * kernel * kernel) of a map (C, S, S), one after the other."""
    reach = dilation * (kernel - 1) + 1
    corners = range(0, features.shape[1] - reach + 1, stride)
    return np.stack(
        [
            features[:, top : top + reach : dilation, left : left + reach : dilation].ravel()
            for top in corners
            for left in corners
        ]
    )


def summed(tokens: np.ndarray, side: int, kernel: int, stride: int, dilation: int) -> np.ndarray:
    """The map (C, S, S) to which each token adds its neighbourhood."""
    features = np.zeros((tokens.shape[1] // kernel**2, side, side))
    reach = dilation * (kernel - 1) + 1
    corners = range(0, side - reach + 1, stride)
    windows = [(top, left) for top in corners for left in corners]
    for (top, left), token in zip(windows, tokens, strict=True):
        window = (
            slice(None),
            slice(top, top + reach, dilation),
            slice(left, left + reach, dilation),
        )
        features[window] += token.reshape(-1, kernel, kernel)
    return features


def test_tokens_are_rolled_dilated_neighbourhoods_whose_overlaps_add_up() -> None:
    network = small().eval()
    tile = torch.rand(1, 1, 24, 24, dtype=torch.float64)

    def run(module: nn.Module, tokens: np.ndarray) -> np.ndarray:
        return module(torch.from_numpy(tokens)[None])[0].detach().numpy()

    def rolled(tokens: np.ndarray, side: int) -> np.ndarray:
        return np.roll(tokens.T.reshape(-1, side, side), (2, 2), axis=(1, 2))

    def unrolled(features: np.ndarray) -> np.ndarray:
        return np.roll(features, (-2, -2), axis=(1, 2)).reshape(len(features), -1).T

    # 24 pixels give 9, then 5, then 3 tokens per side.
    first = run(network.encode_pixels, neighbourhoods(tile[0].numpy(), 7, 2, 1))
    second = run(network.encode_dilated, neighbourhoods(rolled(first, 9), 3, 1, 2))
    third = run(network.encode_dense, neighbourhoods(rolled(second, 5), 3, 1, 1))
    third = run(network.norm, run(network.blocks, third + network.position.numpy()))
    second = second + unrolled(summed(run(network.decode_dense, third), 5, 3, 1, 1))
    first = first + unrolled(summed(run(network.decode_dilated, second), 9, 3, 1, 2))
    noise = summed(run(network.decode_pixels, first), 24, 7, 2, 1)
    assert np.allclose(network.predict_noise(tile)[0].detach().numpy(), noise)


def test_performer_is_attention_with_a_kernel_of_random_features() -> None:
    torch.manual_seed(0)
    performer = Performer(6, 4, 0.0).double()
    vectors = performer.random_features
    assert torch.allclose(vectors @ vectors.T, 2 * torch.eye(2, dtype=torch.float64))
    tokens = torch.randn(3, 7, 6, dtype=torch.float64)

    def feature(x: Tensor) -> Tensor:
        return torch.stack([torch.exp(w @ x - x @ x / 2) for w in vectors]) / 2**0.5

    expected = torch.empty(3, 7, 4, dtype=torch.float64)
    for b in range(3):
        projected = performer.project_in(performer.norm1(tokens[b]))
        key, query, value = projected[:, :4], projected[:, 4:8], projected[:, 8:]
        for t in range(7):
            weights = torch.stack([feature(query[t]) @ feature(key[s]) for s in range(7)])
            mixed = (weights[:, None] * value).sum(0) / (weights.sum() + 1e-8)
            expected[b, t] = value[t] + performer.project_out(mixed)
    expected = expected + performer.feed_forward(performer.norm2(expected))
    assert torch.allclose(performer(tokens), expected)


def test_positions_are_interleaved_sines_and_cosines() -> None:
    position = CTformer(**SMALL).position
    assert position.shape == (9, 8)
    assert position[5, 2].item() == pytest.approx(np.sin(5 / 10), abs=1e-6)
    assert position[5, 5].item() == pytest.approx(np.cos(5 / 100), abs=1e-6)


def test_weights_hold_what_cannot_be_made_again() -> None:
    network, other = small().eval(), small().eval()
    for module in other.modules():
        if isinstance(module, Performer):
            nn.init.normal_(module.random_features)
    lq = torch.rand(1, 1, 24, 24, dtype=torch.float64)
    assert not torch.allclose(network(lq), other(lq))
    other.load_state_dict(network.state_dict())
    assert torch.equal(network(lq), other(lq))
    assert "position" not in network.state_dict()


def test_gradient_reaches_every_parameter() -> None:
    network = small(dropout=0.0)
    network(torch.rand(2, 1, 24, 24, dtype=torch.float64)).square().sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_half_precision_around_it_does_not_overflow() -> None:
    torch.manual_seed(0)
    performer = Performer(16, 16, 0.0)
    nn.init.normal_(performer.project_in.weight, std=1.0)  # squared norms above 11 = ln(65504)
    tokens = torch.randn(1, 100, 16)
    exact = performer(tokens)
    with torch.autocast("cpu", torch.float16):
        rounded = performer(tokens)
    assert (rounded - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tile": 26}, "tile is 26, expected a multiple of 4; type tile=28"),
        ({"tile": 16}, "tile is 16, expected a whole number of at least 20"),
        ({"heads": 3}, "3 heads do not divide the 8 channels .* type one of 1, 2, 4, 8 as heads"),
        ({"dropout": 1.0}, r"dropout is 1.0, expected a number below 1; type .* dropout=0.1"),
        ({"mlp_ratio": 0.5}, "mlp_ratio is 0.5, expected a number of at least 1"),
        ({"tiles_at_once": 0}, "tiles_at_once is 0"),
        ({"depth": -1}, "depth is -1"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CTformer(**{**SMALL, **arguments})
