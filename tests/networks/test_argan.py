import pytest
import torch
import torch.nn.functional as F
from by_hand import parameters
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks import ARGAN
from amir_lightning.networks.argan import Discriminator, PreNet

SMALL = {"width": 4, "num_downs": 4, "rectifier_width": 4}


def test_counts_are_those_of_the_sheet() -> None:
    with torch.device("meta"):
        network = ARGAN()
        assert parameters(network.predict) == 41_823_425
        assert parameters(network.rectify) == 3_429_633
        assert parameters(network) == 45_253_058
        assert parameters(Discriminator()) == 2_764_609
    assert network.size_multiple == 128


@pytest.mark.parametrize("size", [(9, 9), (37, 53), (48, 48)])
def test_size_is_kept(size: tuple[int, int]) -> None:
    lq = torch.rand(2, 3, *size)
    report = ARGAN(3, **SMALL).report(lq)
    assert report.image.shape == lq.shape
    assert [estimate.shape for estimate in report.estimates] == [lq.shape]


def test_image_is_the_estimate_plus_at_most_itself() -> None:
    torch.manual_seed(0)
    network = ARGAN(**SMALL).double()
    report = network.trace(torch.rand(2, 1, 32, 32, dtype=torch.float64))
    (preliminary,) = report.estimates
    residual = preliminary * torch.tanh(network.rectify(preliminary))
    assert torch.allclose(report.image, preliminary + residual)

    head = network.rectify[-1]
    nn.init.zeros_(head.weight)
    for bias, factor in ((0.0, 1.0), (100.0, 2.0), (-100.0, 0.0)):
        nn.init.constant_(head.bias, bias)
        report = network.trace(torch.rand(2, 1, 32, 32, dtype=torch.float64))
        assert torch.allclose(report.image, factor * report.estimates[0])


def test_weights_start_like_those_of_pix2pix() -> None:
    torch.manual_seed(0)
    for network in (ARGAN(width=16, num_downs=4, rectifier_width=16), Discriminator(width=16)):
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                assert not parameter.any()
            elif parameter.numel() > 10_000:
                assert parameter.mean().item() == pytest.approx(0, abs=1e-3)
                assert parameter.std().item() == pytest.approx(0.02, rel=0.05)
        scales = [m.weight for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert torch.cat(scales).mean().item() == pytest.approx(1, abs=0.01)
        assert torch.cat(scales).std().item() == pytest.approx(0.02, rel=0.3)


def test_u_net_is_the_nested_one_of_pix2pix() -> None:
    """The public form is recursive: each level wraps the next one and prepends its input."""
    torch.manual_seed(0)
    network = PreNet(1, 4, 4).double().eval()
    for one in network.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.normal_(one.running_mean)
            nn.init.uniform_(one.running_var, 0.5, 2)

    def norm(x: Tensor, one: nn.Module) -> Tensor:
        scale = one.weight / (one.running_var + 1e-5).sqrt()
        return (
            scale[:, None, None] * (x - one.running_mean[:, None, None]) + one.bias[:, None, None]
        )

    def level(x: Tensor, depth: int) -> Tensor:
        _, conv, down_norm = network.downs[depth]
        activated = torch.where(x > 0, x, 0.2 * x) if depth else x
        inner = F.conv2d(activated, conv.weight, conv.bias, stride=2, padding=1)
        if 0 < depth < 3:
            inner = norm(inner, down_norm)
        if depth < 3:
            inner = level(inner, depth + 1)
        up = network.ups[3 - depth][1] if depth else network.head
        up_bias = None if depth else up.bias
        outer = F.conv_transpose2d(inner.clamp_min(0), up.weight, up_bias, stride=2, padding=1)
        return torch.cat([x, norm(outer, network.ups[3 - depth][2])], dim=1) if depth else outer

    lq = torch.randn(2, 1, 32, 48, dtype=torch.float64)
    assert torch.allclose(network(lq), level(lq, 0))


def test_a_single_image_with_a_smallest_map_of_one_pixel_can_be_trained_on() -> None:
    network = ARGAN(**SMALL)
    shapes: list[torch.Size] = []
    network.predict.downs[-1].register_forward_hook(lambda *call: shapes.append(call[2].shape))
    network(torch.rand(1, 1, 16, 16)).sum().backward()  # to normalise one value is an error
    assert shapes == [(1, 32, 1, 1)]


def test_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    network, critic = ARGAN(**SMALL).double(), Discriminator(width=4).double()
    lq = torch.rand(2, 1, 48, 48, dtype=torch.float64)
    for one in (network, critic):
        # In training a batch normalisation takes the bias before it off again.
        one.eval()
    critic(lq, network(lq)).square().sum().backward()
    for one in (network, critic):
        dead = [name for name, p in one.named_parameters() if p.grad is None or not p.grad.any()]
        assert not dead


def test_bfloat16_around_it_does_not_round_the_image() -> None:
    network = ARGAN(**SMALL).eval()
    with torch.autocast("cpu", torch.bfloat16):
        report = network.report(torch.rand(1, 1, 16, 16))
    for image in (report.image, *report.estimates):
        assert image.dtype == torch.float32
        assert not torch.equal(image, image.bfloat16().float())


def test_critic_judges_patches_of_70_pixels_of_both_images() -> None:
    torch.manual_seed(0)
    critic = Discriminator(width=4).double().eval()
    images = torch.rand(2, 1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    scores = critic(images[0], images[1])
    assert scores.shape == (1, 1, 14, 14)
    scores[0, 0, 7, 7].backward()
    for gradient in images.grad:
        rows, columns = gradient[0, 0].nonzero().T
        assert rows.unique().numel() == columns.unique().numel() == 70
        assert rows.max() - rows.min() == columns.max() - columns.min() == 69


def test_critic_tells_what_the_image_is_compared_with() -> None:
    torch.manual_seed(0)
    critic = Discriminator(width=4).eval()
    lq, image = torch.rand(2, 1, 1, 24, 48)
    assert critic(lq, image).shape == (1, 1, 1, 4)
    assert not torch.allclose(critic(lq, image), critic(image, lq), rtol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_downs": 1}, "num_downs is 1, expected a whole number of at least 2"),
        ({"width": 0}, "width is 0, expected a whole number of at least 1"),
        ({"rectifier_width": 2.5}, "rectifier_width is 2.5, expected a whole number"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ARGAN(**{**SMALL, **arguments})


def test_critic_refuses_what_it_cannot_judge() -> None:
    with pytest.raises(InputError, match="width is 0"):
        Discriminator(width=0)
    critic = Discriminator(width=4)
    with pytest.raises(InputError, match=r"given 23x48 pixels, expected at least 24x24; .*=24"):
        critic(torch.rand(1, 1, 23, 48), torch.rand(1, 1, 23, 48))
