import pytest
import torch
import torch.nn.functional as F
from by_hand import released

from amir_lightning.errors import InputError
from amir_lightning.networks.layers import experts as module
from amir_lightning.networks.layers.channel_padding import filled
from amir_lightning.networks.layers.experts import Experts, fuse

T, C, M = 40, 6, 4


def pixels(tokens: torch.Tensor) -> torch.Tensor:
    """(T, C) as an image of 5x8 pixels."""
    return tokens.T.reshape(1, -1, 5, 8)


def sparse_log_weights(top_k: int = 2) -> torch.Tensor:
    logits = torch.randn(T, M, generator=torch.Generator().manual_seed(2))
    threshold = logits.topk(top_k).values[:, -1:]
    return logits.masked_fill(logits < threshold, -torch.inf).log_softmax(-1)


@pytest.mark.parametrize("fusion", ["sum", "logsumexp"])
def test_dense_evaluation_equals_a_loop_over_chosen_experts(fusion: str) -> None:
    experts, tokens, log_weights = Experts(C, released()), torch.randn(T, C), sparse_log_weights()
    fused = fuse(experts(pixels(tokens)), pixels(log_weights), fusion)  # type: ignore[arg-type]
    fused = fused.flatten(2)[0].T
    for token, weights, ours in zip(tokens, log_weights.exp(), fused, strict=True):
        expected = torch.zeros(C)
        for e in weights.nonzero().flatten():
            hidden = F.linear(token, experts.hidden_weight[e], experts.hidden_bias[e])
            output = F.linear(F.gelu(hidden), experts.output_weight[e], experts.output_bias[e])
            expected = expected + weights[e] * (output if fusion == "sum" else output.exp())
        if fusion == "logsumexp":
            expected = expected.log()
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("magnitude", [1e4, -1e4])
def test_fusion_of_large_activations_neither_overflows_nor_underflows(magnitude: float) -> None:
    outputs = torch.full((M, 1, C, 5, 8), magnitude, requires_grad=True)
    fused = fuse(outputs.unbind(), pixels(sparse_log_weights()), "logsumexp")
    torch.testing.assert_close(fused, torch.full((1, C, 5, 8), magnitude))
    fused.sum().backward()
    assert outputs.grad is not None
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize("fusion", ["sum", "logsumexp"])
def test_an_expert_without_tokens_is_no_special_case(fusion: str) -> None:
    log_weights = torch.full((T, M), -torch.inf)
    log_weights[:, 1] = 0
    experts = Experts(C, released())
    outputs = experts(pixels(torch.randn(T, C)))
    fused = fuse(outputs, pixels(log_weights), fusion)  # type: ignore[arg-type]
    torch.testing.assert_close(fused, outputs[1])
    fused.sum().backward()
    assert experts.hidden_weight.grad is not None
    assert not experts.hidden_weight.grad[0].any()
    assert experts.hidden_weight.grad[1].any()
    assert experts.hidden_weight.grad.isfinite().all()


def test_fusion_is_the_logarithm_of_a_sum_and_so_are_its_gradients() -> None:
    outputs = torch.randn(M, 1, C, 5, 8, dtype=torch.float64, requires_grad=True)
    logits = torch.randn(1, M, 5, 8, dtype=torch.float64, requires_grad=True)
    fused = fuse(outputs.unbind(), logits, "logsumexp")
    expected = torch.logsumexp(outputs + logits.movedim(1, 0).unsqueeze(2), dim=0)
    torch.testing.assert_close(fused, expected)
    torch.testing.assert_close(
        torch.autograd.grad(fused.square().sum(), [outputs, logits]),
        torch.autograd.grad(expected.square().sum(), [outputs, logits]),
    )


def test_experts_in_inference_equal_those_in_training() -> None:
    experts, features = Experts(C, released()), pixels(torch.randn(T, C))
    expected = [one.detach() for one in experts(features)]
    with torch.inference_mode():
        torch.testing.assert_close(experts(features), expected, atol=1e-5, rtol=1e-5)


def test_hidden_units_filled_up_with_zeros_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    experts = Experts(6, released(num_experts=3))
    weights, features = list(experts.parameters()), torch.randn(2, 6, 5, 4)
    expected = torch.stack(experts(features))
    monkeypatch.setattr(module, "fills", lambda features: True)
    assert filled(experts.hidden_weight, 1).shape == (3, 16, 6)
    result = torch.stack(experts(features))
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(
        torch.autograd.grad(result.square().sum(), weights),
        torch.autograd.grad(expected.square().sum(), weights),
    )


def test_start_is_that_of_linear_layers() -> None:
    experts = Experts(64, released())
    assert experts.hidden_weight.shape == (M, 170, 64)
    for weight, fan_in in ((experts.hidden_weight, 64), (experts.output_weight, 170)):
        assert weight.abs().max() <= fan_in**-0.5
        assert weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.05)


def test_no_hidden_unit_is_refused() -> None:
    with pytest.raises(InputError, match=r"expert_ratio is 0\.1, which leaves no hidden unit"):
        Experts(8, released(expert_ratio=0.1))
