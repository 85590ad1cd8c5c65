"""SRCNN, VDSR, RED-CNN, the auto-context CNN and DCNN: stacks of convolutions."""

import numpy as np
import pytest
import torch
from by_hand import parameters
from scipy import signal
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks import (
    DCNN,
    REDCNN,
    SRCNN,
    VDSR,
    AutoContextCNN,
    RestorationNetwork,
)


@pytest.mark.parametrize(
    ("network", "arguments", "count"),
    [
        (SRCNN, {}, 57_281),
        (SRCNN, {"kernel_sizes": (9, 1, 5)}, 8_129),
        (SRCNN, {"kernel_sizes": (9, 3, 5)}, 24_513),
        (VDSR, {}, 665_921),
        (VDSR, {"bias": False}, 664_704),
        (REDCNN, {}, 1_848_865),
        (AutoContextCNN, {}, 226_371),
        (AutoContextCNN, {"kernel_size": 5}, 627_779),
        (DCNN, {}, 223_169),
        (DCNN, {"batch_norm": False}, 222_785),
        (DCNN, {"width": 32}, 56_289),
    ],
)
def test_counts(network: type[RestorationNetwork], arguments: dict, count: int) -> None:
    with torch.device("meta"):
        assert parameters(network(**arguments)) == count


@pytest.mark.parametrize(
    ("network", "side"),
    [
        (SRCNN(widths=(4, 3)), 17),
        (SRCNN(kernel_sizes=(9, 3, 5), widths=(4, 3)), 15),
        (VDSR(width=4), 41),
        (DCNN(width=4), 17),
        (AutoContextCNN(width=4), 25),
        (REDCNN(width=3, final_relu=False), 41),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_a_pixel_reaches_exactly_its_receptive_field(
    network: RestorationNetwork, side: int
) -> None:
    """With positive weights nothing cancels and no ReLU hides a path."""
    network = network.double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(0.01, 0.1)
    lq = torch.rand(1, 1, 64, 70, dtype=torch.float64)
    changed = lq.clone()
    changed[0, 0, 30, 33] += 1.0
    rows, columns = (network(changed) - network(lq))[0, 0].nonzero(as_tuple=True)
    half = side // 2
    assert (int(rows.min()), int(rows.max())) == (30 - half, 30 + half)
    assert (int(columns.min()), int(columns.max())) == (33 - half, 33 + half)


@pytest.mark.parametrize("network", [VDSR(width=4), DCNN(width=4)])
def test_a_residual_network_without_its_last_layer_is_the_identity(
    network: RestorationNetwork,
) -> None:
    last = network.layers[-1]
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    lq = torch.rand(2, 1, 13, 17)
    assert torch.equal(network(lq), lq)


@pytest.mark.parametrize("network", [SRCNN(), AutoContextCNN(width=4)])
def test_a_network_without_residual_gives_nothing_without_weights(
    network: RestorationNetwork,
) -> None:
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    assert not network(torch.rand(1, 1, 13, 17)).any()


def test_vdsr_has_twenty_layers_of_he() -> None:
    torch.manual_seed(0)
    convs = [module for module in VDSR().modules() if isinstance(module, nn.Conv2d)]
    assert len(convs) == 20
    for conv in convs[1:-1]:
        assert float(conv.weight.detach().std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("final_relu", [True, False])
def test_red_cnn_against_scipy(final_relu: bool) -> None:
    """Unpadded correlations, full convolutions, and skips before the ReLU, map by map."""
    torch.manual_seed(0)
    network = REDCNN(width=2, final_relu=final_relu).double()
    lq = torch.rand(1, 1, 24, 22, dtype=torch.float64) - 0.3

    def layer(maps: np.ndarray, module: nn.Module, transposed: bool) -> np.ndarray:
        weight, bias = module.weight.detach().numpy(), module.bias.detach().numpy()
        out = []
        for o in range(len(bias)):
            total = bias[o]
            for i, image in enumerate(maps):
                if transposed:
                    total = total + signal.convolve2d(image, weight[i, o], mode="full")
                else:
                    total = total + signal.correlate2d(image, weight[o, i], mode="valid")
            out.append(total)
        return np.stack(out)

    image = lq[0].numpy()
    encoded = [image]
    for conv in network.encoder:
        encoded.append(np.maximum(layer(encoded[-1], conv, False), 0))
    features = encoded[-1]
    for number, conv in enumerate(network.decoder, start=6):
        features = layer(features, conv, True)
        features = features + {6: encoded[4], 8: encoded[2], 10: image}.get(number, 0)
        if number < 10 or final_relu:
            features = np.maximum(features, 0)
    np.testing.assert_allclose(network(lq)[0].detach().numpy(), features, atol=1e-12)


def test_red_cnn_needs_21_pixels() -> None:
    assert REDCNN(width=2)(torch.rand(1, 1, 21, 40)).shape == (1, 1, 21, 40)
    with pytest.raises(InputError, match="20x40 pixels, expected at least 21x21 for REDCNN"):
        REDCNN(width=2)(torch.rand(1, 1, 20, 40))


def test_auto_context_stages_see_the_image_and_the_last_estimate() -> None:
    network = AutoContextCNN(width=3)
    lq = torch.rand(2, 1, 12, 15)
    report = network.report(lq)
    first = network.stages[0](lq)
    second = network.stages[1](torch.cat([first, lq], dim=1))
    torch.testing.assert_close(report.estimates, (first, second))
    third = network.stages[2](torch.cat([second, lq], dim=1))
    torch.testing.assert_close(report.image, third)
    assert torch.equal(report.image, network(lq))


def test_dcnn_in_evaluation_does_not_look_at_the_rest_of_the_batch() -> None:
    network = DCNN(width=4)
    network(torch.rand(4, 1, 16, 16))
    network.eval()
    lq = torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(network(lq)[:1], network(lq[:1]))


def dead(network: nn.Module, image: Tensor) -> list[str]:
    image.square().mean().backward()
    return [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]


@pytest.mark.parametrize(
    "network", [SRCNN(), VDSR(width=8), REDCNN(width=8), AutoContextCNN(width=8), DCNN(width=8)]
)
def test_gradient_reaches_every_parameter(network: RestorationNetwork) -> None:
    torch.manual_seed(0)
    lq = torch.rand(2, 1, 33, 29)
    assert not dead(network, network(lq))


@pytest.mark.parametrize(
    ("build", "arguments", "text"),
    [
        (SRCNN, {"kernel_sizes": (9, 4, 5)}, r"type kernel_sizes=\[9,5,5\]"),
        (SRCNN, {"kernel_sizes": (9, 5)}, "expected 3 whole numbers"),
        (SRCNN, {"widths": (0, 4)}, "widths is"),
        (VDSR, {"depth": 1}, "depth is 1"),
        (VDSR, {"bias": 2}, "type bias=True or bias=False"),
        (REDCNN, {"width": 0}, "width is 0"),
        (AutoContextCNN, {"kernel_size": 4}, "expected odd numbers; type kernel_size=5"),
        (DCNN, {"depth": 2}, "depth is 2"),
    ],
)
def test_wrong_arguments_are_one_sentence(build: type, arguments: dict, text: str) -> None:
    with pytest.raises(InputError, match=text):
        build(**arguments)
