import pytest
import torch
import torch.nn.functional as F

from amir_lightning.networks.layers import gated
from amir_lightning.networks.layers.gated import gated_projection

D, C = 5, 3


def inputs(dtype: torch.dtype, layout: torch.memory_format) -> list[torch.Tensor]:
    torch.manual_seed(0)
    gate, value = (
        torch.randn(2, D, 6, 4, dtype=dtype).contiguous(memory_format=layout) for _ in range(2)
    )
    depthwise = torch.randn(2 * D, 1, 3, 3, dtype=dtype)
    projection = torch.randn(C, D, 1, 1, dtype=dtype)
    return [one.requires_grad_() for one in (gate, value, depthwise, projection)]


def formula(
    gate: torch.Tensor, value: torch.Tensor, depthwise: torch.Tensor, projection: torch.Tensor
) -> torch.Tensor:
    both = F.conv2d(torch.cat([gate, value], 1), depthwise, padding=1, groups=2 * D)
    activated, factor = both.chunk(2, dim=1)
    return F.conv2d(F.gelu(activated) * factor, projection)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_value_and_gradients_are_those_of_the_formula(layout: torch.memory_format) -> None:
    arguments = inputs(torch.float64, layout)
    result, expected = gated_projection(*arguments), formula(*arguments)
    torch.testing.assert_close(result, expected)
    cotangent = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(result, arguments, cotangent),
        torch.autograd.grad(expected, arguments, cotangent),
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_recomputing_changes_no_gradient(
    layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = inputs(torch.float32, layout)
    found = torch.autograd.grad(gated_projection(*arguments).square().sum(), arguments)
    monkeypatch.setattr(gated, "recomputes", False)
    expected = torch.autograd.grad(gated_projection(*arguments).square().sum(), arguments)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_only_the_arguments_are_kept_for_the_backward_pass() -> None:
    arguments = inputs(torch.float32, torch.channels_last)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        gated_projection(*arguments)
    assert sum(kept) == sum(one.numel() for one in arguments)


def test_gradients_under_autocast_have_the_types_of_the_arguments() -> None:
    arguments = inputs(torch.float32, torch.channels_last)
    expected = torch.autograd.grad(formula(*arguments).square().sum(), arguments)
    gate, value = (one.detach().bfloat16().requires_grad_() for one in arguments[:2])
    with torch.autocast("cpu", torch.bfloat16):
        result = gated_projection(gate, value, *arguments[2:])
    found = torch.autograd.grad(result.float().square().sum(), [gate, value, *arguments[2:]])
    assert result.dtype == torch.bfloat16
    assert [one.dtype for one in found] == [torch.bfloat16] * 2 + [torch.float32] * 2
    for ours, exact in zip(found, expected, strict=True):
        assert (ours - exact).abs().max() < 0.05 * exact.abs().max()
