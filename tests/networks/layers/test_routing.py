import pytest
import torch
from by_hand import literal, parameters, released

from amir_lightning.errors import InputError
from amir_lightning.networks.layers.expert_options import ExpertOptions
from amir_lightning.networks.layers.routing import ChannelRouting, SpatialRouting

C, S, M = 6, 5, 4


def expert_outputs(module: SpatialRouting, token: torch.Tensor) -> torch.Tensor:
    return torch.cat(module.experts(token[None, :, None, None]))[:, :, 0, 0]


@pytest.mark.parametrize("options", [released(), literal()])
def test_each_pixel_follows_equations_2_and_3(options: ExpertOptions) -> None:
    module = SpatialRouting(C, S, options).eval()
    features, instruction = torch.randn(2, C, 3, 4), torch.randn(2, S)
    routed, gates, _ = module(features, instruction)
    for b, i, j in [(0, 0, 0), (0, 2, 3), (1, 1, 2), (1, 2, 0)]:
        token = features[b, :, i, j]
        pair = torch.cat([token, module.project(instruction[b])])
        outputs = expert_outputs(module, token)
        logits = pair @ module.gate.weight
        if options == released():
            best = logits.topk(2)
            weights = torch.zeros(M).scatter(0, best.indices, best.values.softmax(0))
            expected = token + (weights[:, None] * outputs.exp()).sum(0).log()
        else:
            best = (logits + module.gate.bias).softmax(0).topk(2)
            weights = torch.zeros(M).scatter(0, best.indices, best.values)
            expected = (weights[:, None] * outputs).sum(0)
        torch.testing.assert_close(gates[b, i, j], weights)
        torch.testing.assert_close(routed[b, :, i, j], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("channels", "total"), [(42, 49_374), (84, 174_016), (168, 647_744)])
def test_released_spatial_counts(channels: int, total: int) -> None:
    assert parameters(SpatialRouting(channels, 256, released())) == total


@pytest.mark.parametrize(("channels", "total"), [(336, 87_024), (168, 43_512), (84, 21_756)])
def test_released_channel_counts(channels: int, total: int) -> None:
    assert parameters(ChannelRouting(channels, 256, "affine")) == total


def test_the_instruction_of_an_image_changes_only_its_own_gates() -> None:
    module = SpatialRouting(C, S, released()).eval()
    features, instruction = torch.randn(2, C, 3, 4), torch.randn(2, S)
    other = instruction.clone()
    other[1] += 1
    before, after = module(features, instruction).gates, module(features, other).gates
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_equation_4_literally() -> None:
    module = ChannelRouting(C, S, "mask")
    features, instruction = torch.randn(2, C, 3, 4), torch.randn(2, S)
    channel_mask = 1 / (1 + torch.exp(-module.project(instruction)))
    expected = features * channel_mask[:, :, None, None]
    torch.testing.assert_close(module(features, instruction), expected)


def test_affine_channel_routing_is_the_identity_at_first_and_its_formula_later() -> None:
    module = ChannelRouting(C, S, "affine")
    features, instruction = torch.randn(2, C, 3, 4), torch.randn(2, S)
    assert torch.equal(module(features, instruction), features)
    with torch.no_grad():
        module.scale.normal_()
        module.shift.normal_()
    channel_mask = module.project(instruction).sigmoid()[:, :, None, None]
    expected = features + channel_mask * (module.scale * features + module.shift)
    torch.testing.assert_close(module(features, instruction), expected)


def test_decisions_stay_in_float32_under_autocast() -> None:
    spatial = SpatialRouting(C, S, released()).eval()
    features, instruction = torch.randn(2, C, 3, 4).bfloat16(), torch.randn(2, S)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        routed, gates, balance = spatial(features, instruction)
        channel = ChannelRouting(C, S, "affine")(features, instruction)
    assert routed.dtype == channel.dtype == torch.bfloat16
    assert gates.dtype == balance.dtype == torch.float32
    reference = spatial(features.float(), instruction)
    assert torch.equal(gates, reference.gates), "the same decisions as without autocast"
    torch.testing.assert_close(routed.float(), reference.features, atol=0.05, rtol=0.05)


def test_large_half_precision_activations_do_not_overflow() -> None:
    module = SpatialRouting(C, S, released())
    with torch.no_grad():
        module.experts.output_weight.mul_(100)
    features = (10 * torch.randn(1, C, 4, 4)).half()
    with torch.autocast("cpu", dtype=torch.float16):
        routed, gates, balance = module(features, torch.randn(1, S))
    assert routed.isfinite().all()
    assert gates.isfinite().all()
    assert balance.isfinite()
    assert (routed - features).abs().max() > 11.1, "beyond what exp in float16 could hold"


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(InputError, match="fusion is 'mean'; type fusion=logsumexp or fusion=sum"):
        released(fusion="mean")
    with pytest.raises(InputError, match="spatial_residual is 'no'; type spatial_residual=True"):
        released(residual="no")
    with pytest.raises(InputError, match="channel_mode is 'gate'; type channel_mode=affine or"):
        ChannelRouting(C, S, "gate")  # type: ignore[arg-type]
