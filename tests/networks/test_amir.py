import pytest
import torch
from by_hand import parameters
from torch import nn

from amir_lightning.errors import InputError
from amir_lightning.networks import AMIR, Restormer

SMALL = {"width": 8, "depths": [1, 1, 1, 1], "refinement_depth": 1}
LITERAL = {
    "num_instructions": 16,
    "mixture_head": "pooled",
    "instruction_activation": "none",
    "gate_map": "plain",
    "gate_order": "softmax_topk",
    "fusion": "sum",
    "spatial_residual": False,
    "channel_mode": "mask",
}


def test_counts_are_those_of_the_release_and_of_the_literal_equations() -> None:
    with torch.device("meta"):
        assert parameters(AMIR()) == 23_540_498
        assert parameters(AMIR(num_instructions=16)) == 23_535_874
        assert parameters(AMIR(**LITERAL)) == 23_530_622
        assert parameters(AMIR(**{**LITERAL, "num_instructions": 32})) == 23_535_758
        assert parameters(AMIR(refinement_routing=True)) == 23_540_498 + 21_756


def test_a_route_reports_what_the_image_alone_is_made_of() -> None:
    network = AMIR(**SMALL).eval()
    lq = torch.rand(2, 1, 33, 47)
    routed = network.report(lq)
    assert Restormer(**SMALL).report(lq)[1:] == ((), None, (), None, None, None)
    assert torch.equal(routed.image, network(lq))
    assert routed.image.shape == lq.shape
    assert routed.balance.shape == ()
    assert [tuple(g.shape) for g in routed.gates] == [
        (2, 40, 48, 4),
        (2, 20, 24, 4),
        (2, 10, 12, 4),
    ]
    assert routed.mixture.shape == (2, 32)
    assert routed.instruction.shape == (2, 256)
    for gates in routed.gates:
        assert ((gates > 0).sum(-1) == 2).all()
        torch.testing.assert_close(gates.sum(-1), torch.ones(gates.shape[:-1]))


def test_balance_is_the_sum_over_the_spatial_modules() -> None:
    network = AMIR(**SMALL)
    balances = []
    for module in network.spatial_routing.values():
        module.register_forward_hook(lambda _m, _i, output: balances.append(output.balance))
    routed = network.report(torch.rand(1, 1, 16, 16))
    assert len(balances) == 3
    torch.testing.assert_close(routed.balance, sum(balances))


@pytest.mark.parametrize("size", [(9, 9), (33, 47)])
@pytest.mark.parametrize("form", [{}, LITERAL])
def test_odd_sizes_come_back(size: tuple[int, int], form: dict) -> None:
    lq = torch.rand(1, 1, *size)
    assert AMIR(**SMALL, **form)(lq).shape == lq.shape


def test_eight_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="8x8 pixels, expected at least 9x9"):
        AMIR(**SMALL).report(torch.rand(1, 1, 8, 8))


def test_output_is_the_input_plus_a_residual() -> None:
    network = AMIR(**SMALL)
    nn.init.zeros_(network.head.weight)
    lq = torch.rand(1, 1, 16, 16)
    assert torch.equal(network(lq), lq)


def test_channel_routing_changes_nothing_at_the_start() -> None:
    network = AMIR(**SMALL).eval()
    lq = torch.rand(1, 1, 16, 16)
    before = network(lq)
    network.channel_routing = nn.ModuleDict()
    assert torch.equal(network(lq), before)


@pytest.mark.parametrize("form", [{}, LITERAL, {"refinement_routing": True}])
def test_gradient_reaches_every_parameter(form: dict) -> None:
    torch.manual_seed(0)
    network = AMIR(**SMALL, **form)
    with torch.no_grad():
        for module in network.channel_routing.values():
            if module.mode == "affine":  # from zero, scale and shift hide the mask for one step
                module.scale.normal_()
    routed = network.report(torch.rand(2, 1, 24, 24))
    (routed.image.square().mean() + routed.balance).backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_noise_weights_learn_through_the_balance_at_the_start() -> None:
    network = AMIR(**SMALL)
    network.report(torch.rand(2, 1, 24, 24)).balance.backward()
    for module in network.spatial_routing.values():
        assert module.gate.noise_weight.grad.any()


def test_routing_stays_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    network = AMIR(**SMALL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        routed = network.report(torch.rand(1, 1, 16, 16))
    for value in (routed.balance, *routed.gates, routed.mixture, routed.instruction):
        assert value.dtype == torch.float32
    (routed.image.float().mean() + routed.balance).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_batches_do_not_mix_in_evaluation() -> None:
    torch.manual_seed(0)
    network = AMIR(**SMALL).eval()
    lq = torch.rand(2, 1, 16, 16)
    alone = torch.cat([network(image[None]) for image in lq])
    torch.testing.assert_close(network(lq), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": [1, 2, 4, 7]}, "heads has 7, which does not divide the 64 channels"),
        ({"top_k": 5}, "top_k is 5 with num_experts=4"),
        ({"refinement_routing": "yes"}, "refinement_routing is 'yes'; type refinement_routing="),
        ({"expert_ratio": "big"}, "expert_ratio is 'big', expected a number"),
        ({"instruction_size": 0}, "instruction_size is 0"),
        ({"gate_order": "sparse"}, "gate_order is 'sparse'; type gate_order=topk_softmax or"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        AMIR(**{**SMALL, **arguments})
