import pytest
import torch
import torch.nn.functional as F

from amir_lightning.networks.layers import gated_ffn
from amir_lightning.networks.layers.gated_ffn import gated_feed_forward

D, C = 5, 3


def inputs(dtype: torch.dtype, layout: torch.memory_format, hidden: int = D) -> list[torch.Tensor]:
    torch.manual_seed(0)
    features = torch.randn(2, C, 6, 4, dtype=dtype).contiguous(memory_format=layout)
    expansion = torch.randn(2 * hidden, C, 1, 1, dtype=dtype)
    depthwise = torch.randn(2 * hidden, 1, 3, 3, dtype=dtype)
    projection = torch.randn(C, hidden, 1, 1, dtype=dtype)
    return [one.requires_grad_() for one in (features, expansion, depthwise, projection)]


def formula(
    features: torch.Tensor,
    expansion: torch.Tensor,
    depthwise: torch.Tensor,
    projection: torch.Tensor,
) -> torch.Tensor:
    both = F.conv2d(F.conv2d(features, expansion), depthwise, padding=1, groups=len(depthwise))
    activated, factor = both.chunk(2, dim=1)
    return F.conv2d(F.gelu(activated) * factor, projection)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradients_are_those_of_the_formula(layout: torch.memory_format) -> None:
    arguments = inputs(torch.float64, layout)
    result, expected = gated_feed_forward(*arguments), formula(*arguments)
    torch.testing.assert_close(result, expected)
    cotangent = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(result, arguments, cotangent),
        torch.autograd.grad(expected, arguments, cotangent),
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_recomputing_changes_no_gradient(layout: torch.memory_format) -> None:
    arguments = inputs(torch.float32, layout)
    found = torch.autograd.grad(gated_feed_forward(*arguments).square().sum(), arguments)
    expected = torch.autograd.grad(formula(*arguments).square().sum(), arguments)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_expanded_features_alone_are_kept_for_the_backward_pass() -> None:
    arguments = inputs(torch.float32, torch.channels_last)
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        gated_feed_forward(*arguments)
    pixels = 2 * 6 * 4
    weights = sum(one.numel() for one in arguments[1:])
    assert sum(kept.values()) == pixels * (C + 2 * D) + weights


def test_gradients_under_autocast_have_the_types_of_the_arguments() -> None:
    arguments = inputs(torch.float32, torch.channels_last)
    expected = torch.autograd.grad(formula(*arguments).square().sum(), arguments)
    with torch.autocast("cpu", torch.bfloat16):
        result = gated_feed_forward(*arguments)
    found = torch.autograd.grad(result.float().square().sum(), arguments)
    assert result.dtype == torch.bfloat16
    assert {one.dtype for one in found} == {torch.float32}
    for ours, exact in zip(found, expected, strict=True):
        assert (ours - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_groups_of_hidden_channels_add_up(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [one.detach() for one in inputs(dtype, torch.channels_last, hidden=150)]
    with torch.inference_mode():
        whole = gated_feed_forward(*arguments)
        monkeypatch.setattr(gated_ffn, "_GROUP_BYTES", 0)  # 64, 64 and 22 channels
        groups = gated_feed_forward(*arguments)
        expected = formula(*(one.float() for one in arguments))
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    for found in (whole, groups):
        assert (found - expected).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize("grad", [True, False])
def test_hidden_channels_filled_up_with_zeros_change_nothing(
    grad: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = inputs(torch.float64, torch.channels_last)
    monkeypatch.setattr(gated_ffn, "fills", lambda features: True)
    with torch.set_grad_enabled(grad):
        result = gated_feed_forward(*arguments)
    expected = formula(*arguments)
    torch.testing.assert_close(result, expected)
    if grad:
        cotangent = torch.randn_like(expected)
        torch.testing.assert_close(
            torch.autograd.grad(result, arguments, cotangent),
            torch.autograd.grad(expected, arguments, cotangent),
        )
