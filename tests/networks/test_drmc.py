from itertools import product

import pytest
import torch
import torch.nn.functional as F
from by_hand import parameters
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks import DRMC
from amir_lightning.networks.drmc import AttentionExpert, ExpertBank, MLPExpert, Router

SMALL = {"width": 8, "num_blocks": 2, "heads": 2, "state_size": 4}


def small(**arguments: float) -> DRMC:
    """All experts take part, so that nothing hides behind a weight of zero."""
    torch.manual_seed(0)
    return DRMC(**SMALL, router_bias=0.5, **arguments).double()


def routers(network: nn.Module) -> list[Router]:
    return [module for module in network.modules() if isinstance(module, Router)]


def test_counts_are_those_of_the_sheet() -> None:
    with torch.device("meta"):
        network = DRMC()
        assert parameters(network) == 623_637
        assert parameters(DRMC(num_blocks=5)) == 519_903
        assert parameters(network.blocks[0]) == 103_734
        assert parameters(network.blocks[0].attention.experts) == 50_928
        assert parameters(network.blocks[0].mlp.experts) == 49_728


@pytest.mark.parametrize("size", [(9, 9), (37, 53), (16, 24)])
def test_size_is_kept_without_padding(size: tuple[int, int]) -> None:
    network = small(in_channels=3)
    lq = torch.rand(2, 3, *size, dtype=torch.float64)
    assert network(lq).shape == lq.shape
    assert network.pad(lq) is lq


def test_output_is_the_input_plus_the_head() -> None:
    network = small()
    nn.init.zeros_(network.head.weight)
    nn.init.constant_(network.head.bias, 0.25)
    lq = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    assert torch.equal(network(lq), lq + 0.25)


def test_attention_expert_mixes_the_channels_of_a_head() -> None:
    torch.manual_seed(0)
    expert = AttentionExpert(6, 2).double()
    nn.init.uniform_(expert.temperature, 0.5, 5)
    features = torch.randn(1, 6, 4, 5, dtype=torch.float64)
    query, key, value = (
        torch.einsum("oi,ihw->ohw", weight[:, :, 0, 0], features[0])
        for weight in expert.project_in.weight.chunk(3)
    )
    mixed = torch.zeros(6, 4, 5, dtype=torch.float64)
    for head, i in product(range(2), range(3)):
        c = 3 * head + i
        cosines = torch.stack(
            [
                (query[c] * key[d]).sum() / (query[c].norm() * key[d].norm())
                for d in range(3 * head, 3 * head + 3)
            ]
        )
        weights = (cosines * expert.temperature[head, 0, 0]).softmax(0)
        mixed[c] = sum(weights[j] * value[3 * head + j] for j in range(3))
    padded = F.pad(mixed, (1, 1, 1, 1))
    local = sum(
        expert.depthwise.weight[:, 0, dy, dx, None, None] * padded[:, dy : dy + 4, dx : dx + 5]
        for dy, dx in product(range(3), range(3))
    )
    expected = torch.einsum("oi,ihw->ohw", expert.project_out.weight[:, :, 0, 0], local)
    assert torch.allclose(expert(features)[0], expected)


def test_bank_sums_the_experts_by_the_routers_weights() -> None:
    torch.manual_seed(0)
    bank = ExpertBank(lambda: MLPExpert(8, 16), 8, 3, 4).double()
    router = bank.router
    features = torch.randn(5, 8, 6, 7, dtype=torch.float64)
    state = torch.randn(5, 4, dtype=torch.float64)
    output, renewed = bank(features, state)
    for b in range(5):
        seen = torch.cat([features[b].flatten(1).sum(1) / 42, state[b]])
        expected = F.gelu(router.renew.weight @ seen + router.renew.bias)
        assert torch.allclose(renewed[b], expected)
        weights = (router.weigh.weight @ expected + router.weigh.bias).clamp_min(0)
        by_expert = torch.stack([expert(features[b : b + 1])[0] for expert in bank.experts])
        assert torch.allclose(output[b], torch.einsum("e,echw->chw", weights, by_expert))

    # The order of the experts is nobody's business.
    order = [2, 0, 1]
    bank.experts = nn.ModuleList(bank.experts[index] for index in order)
    router.weigh.weight.data = router.weigh.weight.data[order]
    router.weigh.bias.data = router.weigh.bias.data[order]
    assert torch.allclose(bank(features, state)[0], output)


def test_block_scales_its_residuals() -> None:
    block = small().blocks[0]
    for scale in (block.beta, block.gamma):
        assert torch.equal(scale, torch.ones_like(scale))
        nn.init.normal_(scale)
    features = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    state = torch.ones(2, 4, dtype=torch.float64)

    def norm(x: Tensor) -> Tensor:
        deviation = (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        return (x - x.mean(1, keepdim=True)) / deviation

    a, between = block.attention(norm(features), state)
    y = a + block.beta * features
    b, after = block.mlp(norm(y), between)
    output, renewed = block(features, state)
    assert torch.allclose(output, b + block.gamma * y)
    assert torch.allclose(renewed, after)


def test_one_state_passes_all_routers() -> None:
    network = small()
    nn.init.normal_(network.state)
    read: list[Tensor] = []
    written: list[Tensor] = []
    for router in routers(network):
        router.register_forward_pre_hook(lambda _router, inputs: read.append(inputs[1]))
        router.register_forward_hook(lambda *call: written.append(call[2][1]))
    network(torch.rand(2, 1, 16, 16, dtype=torch.float64))
    assert len(read) == 2 * SMALL["num_blocks"]
    assert torch.equal(read[0], torch.stack([network.state] * 2))
    assert all(torch.equal(a, b) for a, b in zip(written[:-1], read[1:], strict=True))
    assert not any(torch.allclose(a, b) for a, b in zip(read, written, strict=True))


def test_routing_to_no_expert_scales_the_features_and_leaves_gradients_finite() -> None:
    network = small()
    for router in routers(network):
        nn.init.constant_(router.weigh.bias, -100)
    for block in network.blocks:
        nn.init.normal_(block.beta)
        nn.init.normal_(block.gamma)
    lq = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    restored = network(lq)
    first, second = network.blocks
    scale = first.beta * first.gamma * second.beta * second.gamma
    assert torch.allclose(restored, lq + network.head(scale * network.stem(lq)))
    restored.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_biases_of_the_expert_weights_start_at_random_or_as_told() -> None:
    torch.manual_seed(0)
    assert torch.equal(DRMC(**SMALL).state, torch.ones(4))
    released = torch.stack([router.weigh.bias for router in routers(DRMC(**SMALL))])
    assert (released < 0).any()
    assert (released > 0).any()
    told = torch.stack([router.weigh.bias for router in routers(DRMC(**SMALL, router_bias=1))])
    assert torch.equal(told, torch.ones(4, 3))


def test_gradient_reaches_every_parameter() -> None:
    network = small()
    network(torch.rand(1, 1, 16, 16, dtype=torch.float64)).square().sum().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


def test_expert_without_weight_still_has_a_gradient_that_processes_can_average() -> None:
    network = DRMC(**SMALL)
    for router in routers(network):
        nn.init.constant_(router.weigh.bias, -100)
    network(torch.rand(1, 1, 16, 16)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 3}, "3 heads do not divide the 8 channels .* type one of 1, 2, 4, 8 as heads"),
        ({"num_experts": 0}, "num_experts is 0, expected a whole number of at least 1"),
        ({"num_blocks": True}, "num_blocks is True, expected a whole number"),
        ({"mlp_ratio": 0}, "mlp_ratio is 0, expected a number of at least 1"),
        ({"router_bias": -1}, "router_bias is -1, expected a number of at least 0"),
        ({"router_bias": "none"}, "router_bias is 'none', expected a number"),
    ],
)
def test_wrong_arguments_are_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DRMC(**{**SMALL, **arguments})
