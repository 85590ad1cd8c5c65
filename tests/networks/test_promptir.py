from itertools import product

import pytest
import torch
import torch.nn.functional as F
from by_hand import parameters
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks import PromptIR
from amir_lightning.networks.promptir import PromptGenerator

SMALL = {
    "width": 8,
    "depths": [1, 1, 1, 1],
    "refinement_depth": 1,
    "prompt_channels": [8, 16, 40],
    "prompt_size": 24,
}


def test_counts_are_those_of_the_sheet() -> None:
    with torch.device("meta"):
        network = PromptIR()
        assert parameters(network) == 35_589_671 - 215_296
        assert parameters(PromptIR(in_channels=3)) == 35_592_263 - 215_296
        assert parameters(network.prompts) == 3_484_975
    assert [prompt.maps.shape for prompt in network.prompts] == [
        (5, 320, 16, 16),
        (5, 128, 32, 32),
        (5, 64, 64, 64),
    ]


@pytest.mark.parametrize("size", [(9, 9), (37, 53), (16, 24)])
def test_size_is_kept(size: tuple[int, int]) -> None:
    lq = torch.rand(2, 1, *size)
    assert PromptIR(**SMALL)(lq).shape == lq.shape


def test_output_is_the_input_plus_a_residual() -> None:
    network = PromptIR(**SMALL)
    nn.init.zeros_(network.head.weight)
    lq = torch.rand(1, 1, 16, 16)
    assert torch.equal(network(lq), lq)


def test_maps_start_uniform() -> None:
    torch.manual_seed(0)
    maps = PromptGenerator(4, 5, 8, 16).maps
    assert maps.min() >= 0
    assert maps.max() < 1
    assert maps.mean().item() == pytest.approx(0.5, abs=0.02)
    assert maps.var().item() == pytest.approx(1 / 12, rel=0.05)


@pytest.mark.parametrize("size", [(3, 3), (6, 6), (5, 9), (2, 4)])
def test_prompt_is_a_mixture_of_maps_of_the_size_of_the_features(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    side = 3
    generator = PromptGenerator(4, 5, 2, side).double()
    features = torch.randn(2, 4, *size, dtype=torch.float64)

    logits = features.mean((2, 3)) @ generator.weigh.weight.T + generator.weigh.bias
    weights = logits.exp() / logits.exp().sum(1, keepdim=True)
    mixture = (weights[:, :, None, None, None] * generator.maps).sum(1)
    rows, columns = (resizing(side, target) for target in size)
    resized = rows @ mixture @ columns.T
    padded = F.pad(resized, (1, 1, 1, 1))
    expected = sum(
        torch.einsum(
            "oi,bihw->bohw",
            generator.conv.weight[:, :, dy, dx],
            padded[:, :, dy : dy + size[0], dx : dx + size[1]],
        )
        for dy, dx in product(range(3), range(3))
    )
    assert torch.allclose(generator(features), expected)


def resizing(side: int, target: int) -> Tensor:
    """Linear interpolation as a matrix (target, side); pixels are areas, not corner points."""
    matrix = torch.zeros(target, side, dtype=torch.float64)
    for row in range(target):
        position = min(max((row + 0.5) * side / target - 0.5, 0), side - 1)
        for column in range(side):
            matrix[row, column] = max(0, 1 - abs(position - column))
    return matrix


def test_prompts_join_before_each_upsampling() -> None:
    network = PromptIR(**SMALL)
    seen: list[tuple[int, int, int]] = []
    for mixer in network.mixers:
        mixer.register_forward_hook(
            lambda _mixer, inputs, output: seen.append(
                (inputs[0].shape[1], output.shape[1], output.shape[-1])
            )
        )
    network(torch.rand(1, 1, 16, 16))
    # As in the release, 384 + 320 channels become 192, 192 + 128 stay 192, and 96 + 64 become 96.
    assert seen == [(64 + 40, 32, 2), (32 + 16, 32, 4), (16 + 8, 16, 8)]


def test_prompts_do_not_depend_on_half_precision() -> None:
    torch.manual_seed(0)
    generator = PromptGenerator(4, 5, 2, 3)
    nn.init.dirac_(generator.conv.weight)
    nn.init.ones_(generator.maps)
    features = torch.randn(2, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        prompt = generator(features.bfloat16())
    assert torch.equal(prompt.float(), torch.ones(2, 2, 8, 8))  # the weights sum to one


def test_gradient_reaches_every_parameter() -> None:
    network = PromptIR(**SMALL).double()
    network(torch.rand(1, 1, 24, 24, dtype=torch.float64)).square().sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 7}, "width is 7, expected an even number; type width=8"),
        ({"heads": [3, 2, 4, 8]}, "heads has 3, which does not divide the 8 channels"),
        ({"depths": [1, 1, 1]}, r"depths is \[1, 1, 1\], expected 4 whole numbers"),
        ({"prompt_channels": [8, 16]}, r"prompt_channels is \[8, 16\], expected 3 whole numbers"),
        (
            {"prompt_channels": [8, 17, 40]},
            "4 prompt_heads do not divide the 49 channels .* type one of 1 as prompt_heads",
        ),
        # Features and prompts have 24, 52 and 104 channels.
        (
            {"prompt_channels": [8, 20, 40], "prompt_heads": 8},
            "8 prompt_heads do not divide the 52 channels .* one of 1, 2, 4 as prompt_heads",
        ),
        ({"prompt_size": 50}, "prompt_size is 50, expected a multiple of 8; type prompt_size=56"),
        ({"num_prompts": 0}, "num_prompts is 0, expected a whole number of at least 1"),
        ({"ffn_expansion_factor": 0.5}, "ffn_expansion_factor is 0.5"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PromptIR(**{**SMALL, **arguments})
