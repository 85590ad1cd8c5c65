import pytest
import torch
import torch.nn.functional as F

from amir_lightning.errors import InputError
from amir_lightning.networks.layers.instruction import RoutingInstructionNetwork


def pooled_features(network: RoutingInstructionNetwork, lq: torch.Tensor) -> torch.Tensor:
    """GAP(E(I)) from the five convolutions, one by one."""
    features, layers = lq, [network.encoder[index] for index in (0, 2, 4, 6, 8)]
    for index, layer in enumerate(layers):
        stride = 3 if index < 2 else 1
        features = F.conv2d(features, layer.weight, layer.bias, stride=stride)
        if index < 4:
            features = torch.where(features > 0, features, 0.1 * features)
    return features.mean(-1).mean(-1)


def test_equation_1_literally() -> None:
    network = RoutingInstructionNetwork(1, 5, 7, "pooled", "none")
    lq = torch.rand(3, 1, 20, 30)
    logits = pooled_features(network, lq)
    alpha = logits.exp() / logits.exp().sum(1, keepdim=True)
    expected = sum(alpha[:, i, None] * network.dictionary[i] for i in range(5))
    mixture, _, vector = network(lq)
    torch.testing.assert_close(mixture, alpha)
    torch.testing.assert_close(vector, expected)


def test_released_form_adds_a_linear_layer_and_a_gelu() -> None:
    network = RoutingInstructionNetwork(1, 5, 7, "linear", "gelu")
    lq = torch.rand(3, 1, 20, 30)
    mixture, _, vector = network(lq)
    logits = pooled_features(network, lq) @ network.head.weight.T + network.head.bias
    torch.testing.assert_close(mixture, logits.softmax(1))
    torch.testing.assert_close(mixture.sum(1), torch.ones(3))
    mixed = mixture @ network.dictionary
    torch.testing.assert_close(vector, mixed * 0.5 * (1 + torch.erf(mixed / 2**0.5)))


@pytest.mark.parametrize(("instructions", "count"), [(32, 57_216), (16, 52_592)])
def test_released_counts(instructions: int, count: int) -> None:
    network = RoutingInstructionNetwork(1, instructions, 256, "linear", "gelu")
    assert sum(p.numel() for p in network.parameters()) == count


def test_mixture_is_almost_uniform_at_the_start() -> None:
    torch.manual_seed(0)
    mixture = RoutingInstructionNetwork(1, 8, 4, "linear", "gelu")(torch.rand(2, 1, 32, 32)).mixture
    assert (mixture - 1 / 8).abs().max() < 0.05


def test_nine_pixels_are_enough_and_autocast_changes_nothing() -> None:
    network = RoutingInstructionNetwork(1, 5, 7, "linear", "gelu")
    lq = torch.rand(1, 1, 9, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network(lq)
    for ours, full in zip(half, network(lq), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, full)


def test_unknown_choices_are_refused() -> None:
    message = "mixture_head is 'conv'; type mixture_head=linear or mixture_head=pooled"
    with pytest.raises(InputError, match=message):
        RoutingInstructionNetwork(1, 5, 7, "conv", "gelu")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="num_instructions is 0"):
        RoutingInstructionNetwork(1, 0, 7, "linear", "gelu")


def test_without_a_dictionary_a_linear_layer_makes_the_instruction() -> None:
    network = RoutingInstructionNetwork(1, 5, 7, "linear", "gelu", "none")
    lq = torch.rand(2, 1, 20, 30)
    query = pooled_features(network, lq) @ network.head.weight.T + network.head.bias
    found = network(lq)
    assert found.mixture is None
    torch.testing.assert_close(found.query, query)
    torch.testing.assert_close(found.vector, torch.nn.functional.gelu(query))


def test_a_frozen_dictionary_is_saved_and_not_trained() -> None:
    network = RoutingInstructionNetwork(1, 5, 7, "linear", "gelu", "frozen")
    assert "dictionary" in network.state_dict()
    assert "dictionary" not in dict(network.named_parameters())


def test_no_dictionary_cannot_be_mixed() -> None:
    with pytest.raises(InputError, match="type mixture_head=linear"):
        RoutingInstructionNetwork(1, 5, 7, "pooled", "gelu", "none")
