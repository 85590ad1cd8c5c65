"""TAT and Restore-RWKV: counts, outputs of the releases, and what any size and batch must keep."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from golden import FOLDER, SIZES, draw, image, outputs, small
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.export.formats import export_programs
from amir_lightning.networks import TAT, RestorationNetwork, RestoreRWKV, restore_rwkv
from amir_lightning.networks.checkpoints import names
from amir_lightning.networks.checkpoints.initialize import start_from
from amir_lightning.networks.layers.depthwise import depthwise
from amir_lightning.networks.layers.gated_ffn import gated_feed_forward
from amir_lightning.networks.layers.wkv import bidirectional_wkv
from amir_lightning.networks.restore_rwkv import ChannelMix

FACTS = Path(
    os.environ.get("AMIR_ARCHITECTURES", Path(__file__).parents[3] / "shared" / "architectures")
)
KINDS = {"tat": TAT, "restore_rwkv": RestoreRWKV}


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def official(network: RestorationNetwork) -> dict[str, Tensor]:
    """Parameters under the names and in the shapes of the release."""
    rules = names.TAT if isinstance(network, TAT) else names.RESTORE_RWKV
    state = network.state_dict()
    theirs = names.renamed(state, rules)
    shaped = {}
    for ours, name in theirs.items():
        value = state[ours].clone()
        if name.endswith("dw_kernel"):
            value = value[None]
        elif name.endswith("lambda_dw"):
            value = value[None, :, None, None, None]
        shaped[name] = value
    return shaped


def test_paper_size_has_the_parameters_of_the_release() -> None:
    with torch.device("meta"):
        assert parameters(TAT()) == 41_687_424
        assert parameters(TAT().kernels) == 15_411_520
        assert parameters(RestoreRWKV()) == 27_996_737


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_paper_size_gives_the_outputs_of_the_release(name: str) -> None:
    if not (FACTS / f"{name}_golden.npz").exists():
        pytest.skip(f"{FACTS} has no outputs of the release; name their folder AMIR_ARCHITECTURES")
    shapes = json.loads((FACTS / f"{name}_keys.json").read_text())
    expected = np.load(FACTS / f"{name}_golden.npz")
    images = {
        "tat": [(2999, 2, 1, 128, 128), (2998, 1, 1, 64, 96), (2997, 1, 1, 256, 208)],
        "restore_rwkv": [(1999, 1, 1, 64, 64), (1998, 2, 1, 40, 56)],
    }[name]
    state = draw(shapes, {"tat": 3000, "restore_rwkv": 2000}[name])
    network = KINDS[name].from_official(state).eval()
    assert {key: list(value.shape) for key, value in official(network).items()} == shapes
    for number, what in enumerate(images, 1):
        wanted = torch.from_numpy(expected[f"y{number}"])
        with torch.inference_mode():
            found = network(image(*what))
        assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("name", KINDS)
def test_small_size_gives_the_outputs_that_were_written(name: str) -> None:
    expected = np.load(FOLDER / f"{name}.npz")
    for key, found in outputs(KINDS[name]).items():
        wanted = torch.from_numpy(expected[key])
        assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("kind", [TAT, RestoreRWKV])
def test_a_batch_is_its_images_and_no_grad_changes_nothing(kind: type) -> None:
    network = small(kind)
    lq = image(3, 3, 1, 40, 48)
    together = network(lq)
    alone = torch.cat([network(one) for one in lq.split(1)])
    with torch.inference_mode():
        inferred = network(lq)
    scale = together.abs().max()
    assert (together - alone).abs().max() <= 1e-5 * scale
    assert (together - inferred).abs().max() <= 1e-5 * scale


@pytest.mark.parametrize("kind", [TAT, RestoreRWKV])
def test_a_head_of_zeros_is_the_identity(kind: type) -> None:
    network = small(kind)
    for parameter in network.head.parameters():
        nn.init.zeros_(parameter)
    lq = image(4, 1, 1, 19, 23)
    assert torch.equal(network(lq), lq)


@pytest.mark.parametrize("kind", [TAT, RestoreRWKV])
def test_released_names_are_taken_and_mistakes_named(kind: type, tmp_path: Path) -> None:
    network = small(kind)
    wide = {"task_size": 256} if kind is TAT else {}
    network = kind(**SIZES, **wide)
    state = official(network)
    if kind is RestoreRWKV:  # what the release computes for its deployment is ignored
        for name in [name for name in state if name.endswith("conv5x5.weight")]:
            deployed = name.replace("conv5x5", "conv5x5_reparam")
            state[deployed] = torch.rand_like(state[name])
    again = kind.from_official({"state_dict": state})
    assert all(
        torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True)
    )
    torch.save(state, tmp_path / "released.pth")
    other = kind(**SIZES, **wide)
    started = start_from(other, tmp_path / "released.pth")
    assert started.missing == started.left_out == []
    assert all(
        torch.equal(a, b) for a, b in zip(other.parameters(), network.parameters(), strict=True)
    )

    with pytest.raises(InputError, match=r"has extra\.weight, which"):
        kind.from_official({**state, "extra.weight": torch.zeros(1)})
    name = "encoder_level2.1.norm1.body.bias" if kind is TAT else "encoder_level2.1.ln1.bias"
    with pytest.raises(InputError, match=r"encoder_level2\.1\..* has shape \(3,\), expected"):
        kind.from_official({**state, name: torch.zeros(3)})
    del state[name]
    with pytest.raises(InputError, match=f"the checkpoint has no {name}"):
        kind.from_official(state)


def test_a_program_is_refused_where_it_would_fit_some_sizes_alone(tmp_path: Path) -> None:
    for network in (small(TAT), small(RestoreRWKV)):
        with pytest.raises(InputError, match="leave torch_export and onnx and openvino out"):
            export_programs(tmp_path, network, ["torch_export"], 1e-4)
    assert not list(tmp_path.iterdir())
    whole = TAT(**SIZES, task_size=16, test_window=None)
    found = export_programs(tmp_path, whole, ["torch_export"], 1e-4)
    assert found["model.pt2"]["size_multiple"] == 8


# TAT


def test_at_the_start_the_generated_kernels_do_not_matter() -> None:
    torch.manual_seed(0)
    network = TAT(**SIZES).eval()
    lq = image(5, 1, 1, 24, 24)
    before = network(lq)
    for parameter in network.kernels.parameters():
        nn.init.normal_(parameter)
    assert torch.equal(network(lq), before)
    assert network.report(lq).instruction.shape == (1, 256)


def test_windows_are_whole_images_up_to_their_size_and_in_training() -> None:
    windowed, whole = small(TAT), TAT(**SIZES, task_size=16, test_window=None)
    whole.load_state_dict(windowed.state_dict())
    whole.eval()
    fits, larger = image(6, 2, 1, 32, 24), image(7, 2, 1, 40, 24)
    assert torch.equal(windowed(fits), whole(fits))
    assert not torch.allclose(windowed(larger), whole(larger), atol=1e-3)
    assert torch.equal(windowed.train()(larger), whole.train()(larger))
    windowed.eval()(larger)
    assert torch.equal(windowed(fits), whole.eval()(fits)), "no size leaves a trace"


def test_windows_are_means_over_those_that_cover_a_pixel() -> None:
    """Windows cut out one by one, attended to alone and averaged, as the release does it."""
    torch.manual_seed(0)
    attention = TAT(**SIZES, test_window=32).encoders[0][0].attention.double().eval()
    features = torch.rand(2, 4, 40, 72, dtype=torch.float64)
    weight = attention.depthwise.weight
    query, key, value = (
        one.unflatten(1, (40, 72))
        for one in attention._expand(features, weight, slice(None)).chunk(3, dim=-1)
    )
    total, count = torch.zeros_like(features), torch.zeros(40, 72, dtype=torch.float64)
    for top in (0, 8):
        for left in (0, 20, 40):
            part = (slice(None), slice(top, top + 32), slice(left, left + 32))
            q, k, v = (one[part].flatten(1, 2) for one in (query, key, value))
            q, k = q / q.norm(dim=1, keepdim=True), k / k.norm(dim=1, keepdim=True)
            weights = (q.mT @ k * attention.temperature[0]).softmax(dim=-1)
            mixed = (v @ weights.mT).mT.unflatten(2, (32, 32))
            mixed = nn.functional.conv2d(mixed, attention.project_out.weight)
            total[:, :, part[1], part[2]] += mixed
            count[part[1], part[2]] += 1
    torch.testing.assert_close(attention(features), total / count)


def test_kernels_of_each_image_are_those_of_one_after_the_other() -> None:
    torch.manual_seed(0)
    features = torch.rand(3, 4, 9, 7, dtype=torch.float64, requires_grad=True)
    filters = torch.rand(3, 4, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    expected = torch.cat([depthwise(features[i : i + 1], filters[i]) for i in range(3)])
    torch.testing.assert_close(depthwise(features, filters), expected)
    assert torch.autograd.gradcheck(depthwise, (features, filters))
    expansion = torch.rand(12, 4, 1, 1, dtype=torch.float64, requires_grad=True)
    own = torch.rand(2, 12, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    projection = torch.rand(4, 6, 1, 1, dtype=torch.float64, requires_grad=True)
    inputs = (features[:2, :, :4, :3].detach().requires_grad_(), expansion, own, projection)
    assert torch.autograd.gradcheck(gated_feed_forward, inputs)


def test_the_encoder_is_left_alone_by_the_kernels() -> None:
    for stopped in (True, False):
        network = small(TAT)
        network.stop_gradient = stopped
        network.report(image(8, 1, 1, 16, 16)).instruction.sum().backward()
        assert (network.stem.weight.grad is None) is stopped


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 5}, "width is 5, expected an even number; type width=6"),
        ({"test_window": 50}, "test_window is 50, expected a multiple of 8; type test_window=56"),
        ({"kernel_activation": "relu"}, "type kernel_activation=gelu or kernel_activation=none"),
        ({"stop_gradient": "no"}, "type stop_gradient=True or stop_gradient=False"),
        ({"first_share": -1}, "first_share is -1, expected a number of at least 0"),
        ({"heads": [3, 2, 4, 8]}, "heads has 3, which does not divide the 4 channels"),
    ],
)
def test_wrong_arguments_of_tat_are_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TAT(**{**SIZES, **arguments})


# Restore-RWKV


def by_formula(decay: Tensor, bonus: Tensor, key: Tensor, value: Tensor) -> Tensor:
    place = torch.arange(key.shape[-1])
    distance = (place[:, None] - place).abs()
    exponent = -(distance - 1) * decay[:, None, None]
    exponent = torch.where(distance == 0, bonus[:, None, None], exponent)
    weights = (exponent + key[..., None, :]).softmax(dim=-1)
    return torch.einsum("bcti,bci->bct", weights, value)


def drawn(pixels: int, far: float, spread: float) -> list[Tensor]:
    torch.manual_seed(pixels)
    channels = torch.randn(2, 5, dtype=torch.float64) * far / pixels
    key, value = torch.randn(2, 2, 5, pixels, dtype=torch.float64)
    return [*channels, spread * key, value]


@pytest.mark.parametrize("pixels", [1, 4, 30, 33, 64, 300, 1100])
@pytest.mark.parametrize("far", [1, 30])
@pytest.mark.parametrize("spread", [1, 30])
def test_wkv_and_its_gradients_are_those_of_the_formula(
    pixels: int, far: float, spread: float
) -> None:
    inputs = drawn(pixels, far, spread)
    for dtype, closeness in ((torch.float64, 1e-10), (torch.float32, 2e-5)):
        ours = [one.to(dtype, copy=True).requires_grad_() for one in inputs]
        exact = [one.detach().to(torch.float64, copy=True).requires_grad_() for one in ours]
        found, wanted = bidirectional_wkv(*ours), by_formula(*exact)
        assert (found - wanted).abs().max() <= closeness
        with torch.no_grad():
            assert (bidirectional_wkv(*ours) - wanted).abs().max() <= closeness
        towards = torch.randn_like(wanted)
        (found * towards).sum().backward()
        (wanted * towards).sum().backward()
        for one, other in zip(ours, exact, strict=True):
            largest = max(float(other.grad.abs().max()), 1e-3)
            assert (one.grad - other.grad).abs().max() <= 100 * closeness * largest


def test_channel_mix_is_the_same_for_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    mix, features = ChannelMix(6, 4), torch.randn(2, 6, 5, 8)
    expected = mix(features).detach()
    monkeypatch.setattr(restore_rwkv, "_GROUP", 2 * 2 * 8 * 24)  # two rows of two images
    seen = []
    mix.key.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].shape[1]))
    with torch.inference_mode():
        torch.testing.assert_close(mix(features), expected)
    assert seen == [2, 2, 1]


def test_wkv_is_a_mean_of_the_values() -> None:
    decay, bonus, key, value = (one.float() for one in drawn(500, 30, 1))
    mixed = bidirectional_wkv(decay, bonus, key, value)
    assert (mixed <= value.amax(dim=-1, keepdim=True) + 1e-5).all()
    assert (mixed >= value.amin(dim=-1, keepdim=True) - 1e-5).all()
    same = bidirectional_wkv(decay, bonus, key, torch.full_like(value, 3.0))
    torch.testing.assert_close(same, torch.full_like(same, 3.0))


def test_wkv_is_made_in_float32_under_autocast() -> None:
    inputs = [one.float() for one in drawn(100, 1, 1)]
    expected = bidirectional_wkv(*inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(bidirectional_wkv(*inputs), expected)


def test_work_grows_as_the_pixels() -> None:
    """Counted in values that operators return: the same for each pixel, but for few chunks."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counted(TorchDispatchMode):
        values = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            self.values += result.numel() if isinstance(result, Tensor) else 0
            return result

    counts = []
    for pixels in (4096, 16384):
        inputs = [one.float().requires_grad_() for one in drawn(pixels, 1, 1)]
        with Counted() as counted:
            bidirectional_wkv(*inputs)
        counts.append(counted.values)
    assert counts[1] / counts[0] < 4.5


def test_transposing_an_image_swaps_the_two_orders() -> None:
    network = small(RestoreRWKV)
    mix = network.encoders[0][0].spatial_mix
    features = image(9, 1, 4, 6, 9)
    with torch.no_grad():
        mix.shift.kernels[1].copy_((mix.shift.kernels[1] + mix.shift.kernels[1].mT) / 2)
        mix.shift.kernels[2].copy_((mix.shift.kernels[2] + mix.shift.kernels[2].mT) / 2)
        mix.decay[1].copy_(mix.decay[0])
        mix.bonus[1].copy_(mix.bonus[0])
        forward = mix(features)
        key, value, gate = (
            one.weight @ mix.shift(features).flatten(2)
            for one in (mix.key, mix.value, mix.receptance)
        )

        def turned(tokens: Tensor, rows: int) -> Tensor:
            return tokens.unflatten(2, (rows, -1)).mT.flatten(2)

        for rows in (6, 9):
            value = by_formula(mix.decay[0] / 54, mix.bonus[0] / 54, key, value)
            key, value = turned(key, rows), turned(value, rows)
        expected = (mix.output.weight @ (gate.sigmoid() * value)).unflatten(2, (6, 9))
    torch.testing.assert_close(forward, expected, atol=1e-5, rtol=1e-4)


def test_a_shift_is_the_sum_of_its_branches() -> None:
    shift = small(RestoreRWKV).bottleneck[0].channel_mix.shift
    features = image(10, 2, 32, 7, 8)
    expected = shift.weights[0] * features
    for weight, kernel in zip(shift.weights[1:], shift.kernels, strict=True):
        side = kernel.shape[-1] // 2
        branch = nn.functional.conv2d(features, kernel, padding=side, groups=32)
        expected = expected + weight * branch
    torch.testing.assert_close(shift(features), expected)


def test_wrong_arguments_of_restore_rwkv_are_one_sentence() -> None:
    with pytest.raises(InputError, match="hidden_ratio is 0, expected a whole number"):
        RestoreRWKV(**{**SIZES, "hidden_ratio": 0})
    with pytest.raises(InputError, match="width is 5, expected an even number; type width=6"):
        RestoreRWKV(**{**SIZES, "width": 5})
