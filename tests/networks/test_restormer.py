import pytest
import torch
from by_hand import parameters
from torch import nn

from amir_lightning.errors import InputError
from amir_lightning.networks import Restormer

SMALL = {"width": 8, "depths": [1, 1, 1, 1], "refinement_depth": 1}


def test_counts_are_those_of_the_paper() -> None:
    with torch.device("meta"):
        assert parameters(Restormer()) == 26_124_052
        assert parameters(Restormer(in_channels=3)) == 26_126_644
        assert parameters(Restormer(layer_norm="bias_free")) == 26_109_076
        assert parameters(Restormer(width=42, depths=(5, 7, 7, 9))) == 22_438_100


@pytest.mark.parametrize("size", [(9, 9), (33, 47), (16, 24)])
def test_size_is_kept(size: tuple[int, int]) -> None:
    lq = torch.rand(2, 1, *size)
    assert Restormer(**SMALL)(lq).shape == lq.shape


def test_output_is_the_input_plus_a_residual() -> None:
    network = Restormer(**SMALL)
    nn.init.zeros_(network.head.weight)
    lq = torch.rand(1, 1, 16, 16)
    assert torch.equal(network(lq), lq)


def test_every_stage_is_announced_with_its_features() -> None:
    network = Restormer(**SMALL)
    seen = {}

    def route(stage: str, features: torch.Tensor) -> torch.Tensor:
        seen[stage] = (features.shape[1], features.shape[-1])
        return features

    network.traverse(torch.rand(1, 1, 16, 16), route)
    assert list(seen.items()) == [
        ("encoder1", (8, 16)),
        ("encoder2", (16, 8)),
        ("encoder3", (32, 4)),
        ("bottleneck", (64, 2)),
        ("decoder3", (32, 4)),
        ("decoder2", (16, 8)),
        ("decoder1", (16, 16)),
        ("refinement", (16, 16)),
    ]
    assert {stage: channels for stage, (channels, _) in seen.items()} == network.stage_channels


def test_gradient_reaches_every_parameter() -> None:
    network = Restormer(**SMALL)
    network(torch.rand(1, 1, 24, 24)).square().sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    # One head of one channel would attend to itself alone; here every head has several.
    assert not dead


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": [3, 2, 4, 8]}, "heads has 3, which does not divide the 8 channels"),
        ({"heads": [1, 2, 4]}, r"heads is \[1, 2, 4\], expected 4 whole numbers"),
        ({"depths": [1, 1, 1, 0]}, r"depths is \[1, 1, 1, 0\], expected 4 whole numbers"),
        ({"depths": "1111"}, "depths is '1111', expected 4 whole numbers"),
        ({"width": 7}, "width is 7, expected an even number; type width=8"),
        ({"width": "wide"}, "width is 'wide', expected a whole number"),
        ({"refinement_depth": -1}, "refinement_depth is -1"),
        ({"ffn_expansion_factor": 0.5}, "ffn_expansion_factor is 0.5"),
        ({"layer_norm": "batch"}, "type layer_norm=with_bias or layer_norm=bias_free"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Restormer(**{**SMALL, **arguments})


def test_the_finest_level_adds_in_float32_under_autocast() -> None:
    network = Restormer(**SMALL)
    seen = {}
    for name, stage in (("first", network.encoders[0]), ("second", network.encoders[1])):
        stage.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out.dtype}))
    with torch.autocast("cpu", torch.bfloat16):
        image = network(torch.rand(1, 1, 16, 16))
    assert seen == {"first": torch.float32, "second": torch.bfloat16}
    assert image.dtype == torch.float32
