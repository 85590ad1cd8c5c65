import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks.layers.swin import SwinBlock, SwinStage, drop_path_rates

C, HEADS, SIDE = 6, 2, 4
SIZES = [(8, 12), (5, 11), (4, 4), (3, 2), (16, 4)]


def stage(depth: int) -> SwinStage:
    torch.manual_seed(0)
    module = SwinStage(C, HEADS, SIDE, 2.0, True, [0.0] * depth).double()
    for block in module.blocks:
        nn.init.normal_(block.attention.relative_position_bias_table)
        nn.init.normal_(block.norm1.bias)  # a padded token is zero after the normalisation
    return module


def dense_attention(block: SwinBlock, tokens: Tensor) -> Tensor:
    """Attention between all tokens of the padded grid; those of other windows get no weight.

    A shifted window is one of a partition that starts at `shift`, cut by the borders of the grid;
    nothing is cyclic here.
    """
    attention, (height, width) = block.attention, tokens.shape[:2]
    grid = F.pad(block.norm1(tokens), (0, 0, 0, -width % SIDE, 0, -height % SIDE))
    places = [(y, x) for y in range(grid.shape[0]) for x in range(grid.shape[1])]
    bias = torch.full((HEADS, len(places), len(places)), -torch.inf, dtype=torch.float64)
    for p, (y, x) in enumerate(places):
        for q, (v, u) in enumerate(places):
            windows = [(a - block.shift) // SIDE for a in (y, x, v, u)]
            if windows[:2] == windows[2:]:
                entry = (y - v + SIDE - 1) * (2 * SIDE - 1) + (x - u + SIDE - 1)
                bias[:, p, q] = attention.relative_position_bias_table[entry]
    mixed = []
    flat = attention.qkv(grid.flatten(0, 1))
    for head in range(HEADS):
        start = head * C // HEADS
        query, key, value = (
            flat[:, part * C + start : part * C + start + C // HEADS] for part in range(3)
        )
        logits = torch.einsum("pc,qc->pq", query, key) * (C // HEADS) ** -0.5
        mixed.append((logits + bias[head]).softmax(dim=-1) @ value)
    out = attention.proj(torch.cat(mixed, dim=1)).unflatten(0, grid.shape[:2])
    return out[:height, :width]


def dense(module: SwinStage, tokens: Tensor) -> Tensor:
    for block in module.blocks:
        tokens = tokens + dense_attention(block, tokens)
        mlp = block.feed_forward
        hidden = mlp.linear1(block.norm2(tokens))
        tokens = tokens + mlp.linear2(hidden * (1 + torch.erf(hidden / 2**0.5)) / 2)
    return tokens


@pytest.mark.parametrize("size", SIZES)
def test_plain_and_shifted_windows_are_dense_attention_with_a_mask(size: tuple[int, int]) -> None:
    module = stage(2)
    assert [block.shift for block in module.blocks] == [0, SIDE // 2]
    tokens = torch.randn(2, *size, C, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([dense(module, image) for image in tokens])
        torch.testing.assert_close(module(tokens), expected, atol=1e-11, rtol=1e-11)


def test_a_stage_holds_parameters_only() -> None:
    module = stage(2)
    assert set(module.state_dict()) == {name for name, _ in module.named_parameters()}


def test_logits_and_softmax_stay_in_float32_under_autocast() -> None:
    module, tokens = stage(2).float(), torch.randn(1, 8, 8, C)
    seen = []
    for block in module.blocks:
        block.attention.softmax.register_forward_hook(
            lambda _module, inputs, output: seen.extend([inputs[0].dtype, output.dtype])
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module(tokens)
    assert seen == [torch.float32] * 4


def test_drop_path_skips_a_branch_for_whole_images_and_only_in_training() -> None:
    torch.manual_seed(0)
    block = SwinStage(C, HEADS, SIDE, 2.0, True, [0.5]).double()
    tokens = torch.randn(64, 4, 4, C, dtype=torch.float64)
    skipped = (block(tokens) == tokens).flatten(1)
    assert torch.equal(skipped.any(dim=1), skipped.all(dim=1))
    assert 0 < skipped.all(dim=1).sum() < 40  # about a quarter: both branches
    assert not (block.eval()(tokens) == tokens).flatten(1).all(dim=1).any()


def test_drop_path_grows_linearly() -> None:
    assert drop_path_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0.0]


def test_wrong_arguments_are_one_sentence() -> None:
    with pytest.raises(InputError, match="4 heads do not divide the 6 channels .* 1, 2, 3, 6"):
        SwinStage(6, 4, 8, 2.0, True, [0.0])
    with pytest.raises(InputError, match="window_size is 1, expected a whole number of at least 2"):
        SwinStage(6, 2, 1, 2.0, True, [0.0])
    with pytest.raises(InputError, match="mlp_ratio is 0.1"):
        SwinStage(6, 2, 8, 0.1, True, [0.0])
    with pytest.raises(InputError, match="drop_path is 1.0, expected a number below 1"):
        drop_path_rates(1.0, 4)
