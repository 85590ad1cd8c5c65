import pytest
import torch
import torch.nn.functional as F

from amir_lightning.errors import InputError
from amir_lightning.networks.layers import onednn
from amir_lightning.networks.layers.blocks import (
    BiasFreeLayerNorm,
    Downsample,
    GatedFeedForward,
    LayerNorm,
    Stage,
    TransformerBlock,
    TransposedAttention,
    Upsample,
)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layer_norm_normalises_the_channels_of_each_pixel(layout: torch.memory_format) -> None:
    norm = LayerNorm(6)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    features = torch.randn(2, 6, 5, 4).contiguous(memory_format=layout)
    mean = features.mean(1, keepdim=True)
    variance = (features - mean).square().mean(1, keepdim=True)
    expected = (features - mean) / (variance + 1e-5).sqrt()
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(features), expected)


def test_bias_free_norm_keeps_the_mean() -> None:
    norm = BiasFreeLayerNorm(6)
    with torch.no_grad():
        norm.weight.normal_()
    pixel = torch.randn(6) + 3
    variance = ((pixel - pixel.mean()) ** 2).mean()
    expected = pixel / (variance + 1e-5) ** 0.5 * norm.weight
    torch.testing.assert_close(norm(pixel.view(1, 6, 1, 1)).flatten(), expected)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_follows_its_formula_head_by_head(heads: int) -> None:
    channels, height, width = 8, 6, 5
    attention = TransposedAttention(channels, heads)
    with torch.no_grad():
        attention.temperature.uniform_(0.5, 2)
    features = torch.randn(2, channels, height, width)
    qkv = F.conv2d(features, attention.project_in.weight)
    qkv = F.conv2d(qkv, attention.depthwise.weight, padding=1, groups=3 * channels)
    query, key, value = (part.flatten(2) for part in qkv.chunk(3, dim=1))
    size = channels // heads
    mixed = torch.empty(2, channels, height * width)
    for image in range(2):
        for head in range(heads):
            rows = slice(head * size, (head + 1) * size)
            q, k = F.normalize(query[image, rows], dim=1), F.normalize(key[image, rows], dim=1)
            weights = torch.softmax(q @ k.T * attention.temperature[head, 0, 0], dim=1)
            mixed[image, rows] = weights @ value[image, rows]
    expected = F.conv2d(mixed.unflatten(2, (height, width)), attention.project_out.weight)
    torch.testing.assert_close(attention(features), expected, atol=1e-6, rtol=1e-5)


def test_attention_in_float16_survives_products_beyond_its_range() -> None:
    attention = TransposedAttention(4, 1)
    features = 3e3 * torch.randn(1, 4, 32, 32)
    with torch.autocast("cpu", dtype=torch.float16):
        assert attention(features).isfinite().all()


def test_heads_must_divide_the_channels() -> None:
    with pytest.raises(InputError, match="heads has 3, which does not divide the 8 channels"):
        TransposedAttention(8, 3)


def test_feed_forward_gates_the_second_half_by_the_first() -> None:
    feed_forward = GatedFeedForward(5, 2.66)
    assert feed_forward.project_out.in_channels == 13, "int(13.3) is rounded down"
    features = torch.randn(1, 5, 4, 4)
    hidden = feed_forward.depthwise(feed_forward.project_in(features))
    gate, value = hidden[:, :13], hidden[:, 13:]
    gelu = gate * 0.5 * (1 + torch.erf(gate / 2**0.5))
    torch.testing.assert_close(feed_forward(features), feed_forward.project_out(gelu * value))


def test_block_adds_attention_then_feed_forward() -> None:
    block = TransformerBlock(4, 2, 2.66)
    features = torch.randn(1, 4, 4, 4)
    middle = features + block.attention(block.norm1(features))
    torch.testing.assert_close(block(features), middle + block.feed_forward(block.norm2(middle)))


def test_scales_halve_and_double() -> None:
    features = torch.randn(1, 8, 4, 6)
    assert Downsample(8)(features).shape == (1, 16, 2, 3)
    assert Upsample(8)(features).shape == (1, 4, 8, 12)


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_has_the_gradients_of_the_formula_that_is_not_folded(heads: int) -> None:
    torch.manual_seed(0)
    attention = TransposedAttention(6, heads).double()
    features = torch.randn(2, 6, 5, 4, dtype=torch.float64, requires_grad=True)

    def plain() -> torch.Tensor:
        qkv = attention.depthwise(attention.project_in(features)).flatten(2)
        query, key, value = (part.unflatten(1, (heads, -1)) for part in qkv.chunk(3, dim=1))
        query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
        weights = (torch.einsum("bhcp,bhdp->bhcd", query, key) * attention.temperature).softmax(-1)
        mixed = torch.einsum("bhcd,bhdp->bhcp", weights, value)
        return attention.project_out(mixed.reshape(features.shape))

    inputs = [features, *attention.parameters()]
    cotangent = torch.randn(features.shape, dtype=torch.float64)
    expected = torch.autograd.grad(plain(), inputs, cotangent)
    found = torch.autograd.grad(attention(features), inputs, cotangent)
    torch.testing.assert_close(found, expected)


def test_attention_to_a_black_image_has_finite_gradients() -> None:
    attention = TransposedAttention(4, 2)
    features = torch.zeros(1, 4, 5, 5, requires_grad=True)
    attention(features).sum().backward()
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(attention.project_in.weight.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fused_convolutions_compute_the_plain_formula(
    dtype: torch.dtype, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    block = TransformerBlock(10, 2, 2.66).to(dtype)
    features = torch.randn(2, 10, 9, 7).to(dtype).contiguous(memory_format=layout)
    with torch.inference_mode():
        assert onednn.fuses(features)
        fused = block(features)
    assert not onednn.fuses(features), "gradients need the plain formula"
    plain = block(features).detach()
    tolerance = 1e-5 if dtype == torch.float32 else 0.1
    torch.testing.assert_close(fused, plain, atol=tolerance, rtol=tolerance)


def test_fused_convolutions_are_for_inference_alone() -> None:
    assert not onednn.fuses(torch.rand(1, 2, 3, 3))
    with torch.no_grad():
        assert not onednn.fuses(torch.rand(1, 2, 3, 3, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_inference_runs_under_autocast_of_either_half(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    block = TransformerBlock(10, 2, 2.66)
    features = torch.randn(1, 10, 9, 7)
    with torch.no_grad():
        expected = block(features)
        with torch.autocast("cpu", dtype=dtype):
            found = block(features)
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)


def test_a_recomputed_stage_has_the_same_gradients_and_keeps_less() -> None:
    torch.manual_seed(0)
    stage = Stage(1, *(TransformerBlock(6, 2, 2.66) for _ in range(3)))
    features = torch.randn(2, 6, 8, 8, requires_grad=True)

    def run() -> tuple[list[torch.Tensor], int]:
        kept = 0

        def count(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            output = stage(features)
        return list(torch.autograd.grad(output.sum(), [features, *stage.parameters()])), kept

    whole, all_kept = run()
    stage.recomputed = True
    again, few_kept = run()
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    assert few_kept < all_kept / 4
