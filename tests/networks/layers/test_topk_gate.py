import numpy as np
import pytest
import torch
from by_hand import literal, released
from scipy.stats import norm

from amir_lightning.errors import InputError
from amir_lightning.networks.layers.topk_gate import TopKGate, squared_variation

B, T, C, M = 2, 30, 6, 4


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(B, T, C, generator=generator), torch.randn(B, C, generator=generator)


def joint(inputs: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """[x, p] with p copied to every token."""
    tokens, context = inputs
    return torch.cat([tokens, context[:, None].expand(-1, T, -1)], dim=-1)


def variation(amounts: np.ndarray) -> float:
    return float(amounts.var(ddof=1) / (amounts.mean() ** 2 + 1e-10))


def test_equation_2_literally(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    gate = TopKGate(C, literal())
    weights = gate(*inputs).log_weights.exp()
    probabilities = (joint(inputs) @ gate.weight + gate.bias).softmax(-1)
    for ours, theirs in zip(weights.flatten(0, 1), probabilities.flatten(0, 1), strict=True):
        kept = sorted(range(M), key=lambda e: -theirs[e])[:2]
        for expert in range(M):
            expected = theirs[expert] if expert in kept else torch.tensor(0.0)
            torch.testing.assert_close(ours[expert], expected)
    assert ((weights > 0).sum(-1) == 2).all()
    assert (weights.sum(-1) < 1).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
def test_released_gates_are_k_that_sum_to_one(
    inputs: tuple[torch.Tensor, torch.Tensor], top_k: int, training: bool
) -> None:
    gate = TopKGate(C, released(top_k=top_k)).train(training)
    weights = gate(*inputs).log_weights.exp()
    assert ((weights > 0).sum(-1) == top_k).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, T))


def test_noise_and_balance_of_the_release(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    gate = TopKGate(C, released())
    with torch.no_grad():
        gate.noise_weight.normal_(0, 0.3)
    torch.manual_seed(7)
    log_weights, balance = gate(*inputs)
    torch.manual_seed(7)
    noise = torch.randn(B, T, M).double().numpy().reshape(-1, M)

    tokens = joint(inputs).double().numpy().reshape(-1, 2 * C)
    clean = tokens @ gate.weight.detach().double().numpy()
    sigma = np.log1p(np.exp(tokens @ gate.noise_weight.detach().double().numpy())) + 0.01
    noisy = clean + sigma * noise
    gates, load = np.zeros_like(clean), np.zeros(M)
    for t in range(B * T):
        order = np.argsort(-noisy[t])
        chosen = order[:2]
        gates[t, chosen] = np.exp(noisy[t, chosen]) / np.exp(noisy[t, chosen]).sum()
        for e in range(M):
            others = sorted(np.delete(noisy[t], e), reverse=True)
            load[e] += norm.cdf((clean[t, e] - others[1]) / sigma[t, e])
    np.testing.assert_allclose(log_weights.exp().detach().reshape(-1, M), gates, atol=1e-5)
    expected = variation(gates.sum(0)) + variation(load)
    assert balance.item() == pytest.approx(expected, rel=1e-4)


def test_noise_starts_at_softplus_of_zero(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    gate = TopKGate(C, released(top_k=4, gate_order="softmax_topk"))
    clean = gate.eval()(*inputs).log_weights
    torch.manual_seed(3)
    noisy = gate.train()(*inputs).log_weights
    torch.manual_seed(3)
    noise = (np.log(2) + 0.01) * torch.randn(B, T, M)
    torch.testing.assert_close(noisy, (clean + noise).log_softmax(-1), atol=1e-5, rtol=1e-5)


def test_the_seed_decides_the_noise_and_evaluation_has_none(
    inputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    gate = TopKGate(C, released())
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(gate(*inputs).log_weights)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    state = torch.get_rng_state()
    gate.eval()(*inputs)
    assert torch.equal(torch.get_rng_state(), state), "evaluation draws nothing"


def test_balance_in_evaluation_counts_tokens(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    log_weights, balance = TopKGate(C, released()).eval()(*inputs)
    weights = log_weights.exp().detach().reshape(-1, M).numpy()
    expected = variation(weights.sum(0)) + variation((weights > 0).sum(0))
    assert balance.item() == pytest.approx(expected, rel=1e-4)


def test_balance_of_the_plain_gate_is_the_importance(
    inputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    log_weights, balance = TopKGate(C, literal())(*inputs)
    importance = log_weights.exp().detach().sum((0, 1)).numpy()
    assert balance.item() == pytest.approx(variation(importance), rel=1e-4)


def test_squared_variation_is_zero_for_uniform_use() -> None:
    assert squared_variation(torch.full((4,), 25.0)).item() == 0
    assert squared_variation(torch.tensor([3.0])).item() == 0
    assert squared_variation(torch.tensor([0.0, 0, 0, 8.0])).item() == pytest.approx(4)


@pytest.mark.parametrize("order", ["topk_softmax", "softmax_topk"])
def test_tied_logits_still_choose_k_experts(order: str) -> None:
    gate = TopKGate(C, literal(gate_order=order))
    torch.nn.init.zeros_(gate.weight)
    torch.nn.init.zeros_(gate.bias)
    log_weights, balance = gate(torch.randn(B, T, C), torch.randn(B, C))
    balance.backward()
    weights = log_weights.exp()
    assert ((weights > 0).sum(-1) == 2).all()
    value = 0.5 if order == "topk_softmax" else 0.25
    torch.testing.assert_close(weights.amax(-1), torch.full((B, T), value))
    assert gate.weight.grad is not None
    assert gate.weight.grad.isfinite().all()


def test_gradients_reach_gate_and_noise(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    gate = TopKGate(C, released())
    gate(*inputs).balance.backward()
    for weight in (gate.weight, gate.noise_weight):
        assert weight.grad.isfinite().all()
        assert (weight.grad.abs().sum(1) > 0).all()


def test_impossible_choices_are_refused() -> None:
    with pytest.raises(InputError, match="top_k is 5 with num_experts=4; type top_k="):
        released(top_k=5)
    with pytest.raises(InputError, match="top_k is 0"):
        released(top_k=0)
    with pytest.raises(InputError, match="gate_map is 'soft'; type gate_map=noisy or"):
        released(gate_map="soft")


def test_noise_has_the_shape_of_the_logits_whatever_became_of_the_weights() -> None:
    """FSDP leaves a process a flat part of each weight, outside of the forward pass."""
    gate = TopKGate(C, released())
    gate.weight.data = gate.weight.data.flatten()[:0]
    gate.draw_noise([torch.Generator().manual_seed(seed) for seed in range(3)], 20, torch.float64)
    assert gate.noise is not None
    assert gate.noise.shape == (3, 20, M)
    assert gate.noise.dtype == torch.float64
    expected = torch.empty(20, M, dtype=torch.float64)
    expected.normal_(generator=torch.Generator().manual_seed(1))
    assert torch.equal(gate.noise[1], expected)
    place = gate.noise.data_ptr()
    gate.draw_noise([torch.Generator()], 20, torch.float64)
    assert gate.noise.data_ptr() != place
    gate.draw_noise([torch.Generator()] * 3, 20, torch.float64)
    assert gate.noise.data_ptr() == place
