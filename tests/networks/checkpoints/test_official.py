import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from amir_lightning.errors import InputError
from amir_lightning.networks import AMIR
from amir_lightning.networks.checkpoints.official import export_state

State = dict[str, Tensor]
LISTING: dict[str, list[int]] = json.loads(
    (Path(__file__).parent / "amir_official_keys.json").read_text()
)


def random_state(shapes: Mapping[str, list[int]]) -> State:
    """Parameters of sensible size under official names; nothing that starts at zero stays zero."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        values = torch.randn(shape, generator=generator)
        if name.endswith("moe.mean"):
            values = torch.zeros(shape)
        elif name.endswith("moe.std"):
            values = torch.ones(shape)
        elif "temperature" in name or ("norm" in name and name.endswith("weight")):
            values = 1 + 0.2 * values
        elif not name.endswith(("dictionary", "w_gate")):
            values = values / (3 * values[0].numel()) ** 0.5  # the variance of a new layer
        state[name] = values
    return state


def small_shapes() -> dict[str, list[int]]:
    network = AMIR(width=8, depths=[1, 2, 1, 1], refinement_depth=1, num_instructions=5)
    return {name: list(tensor.shape) for name, tensor in export_state(network.state_dict()).items()}


def released_output(p: State, image: Tensor, heads: tuple[int, ...] = (1, 2, 4, 8)) -> Tensor:
    """The released network in evaluation, written down from its formulas on official names."""

    def block(x: Tensor, name: str, head: int) -> Tensor:
        batch, c, height, width = x.shape

        def norm(x: Tensor, which: str) -> Tensor:
            weight, bias = p[f"{name}.{which}.body.weight"], p[f"{name}.{which}.body.bias"]
            return F.layer_norm(x.movedim(1, -1), (c,), weight, bias, 1e-5).movedim(-1, 1)

        y = F.conv2d(norm(x, "norm1"), p[f"{name}.attn.qkv.weight"])
        y = F.conv2d(y, p[f"{name}.attn.qkv_dwconv.weight"], padding=1, groups=3 * c)
        q, k, v = (t.reshape(batch, head, c // head, -1) for t in y.split(c, dim=1))
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        weights = (torch.einsum("bhcp,bhdp->bhcd", q, k) * p[f"{name}.attn.temperature"]).softmax(
            -1
        )
        y = torch.einsum("bhcd,bhdp->bhcp", weights, v).reshape(batch, c, height, width)
        x = x + F.conv2d(y, p[f"{name}.attn.project_out.weight"])
        y = F.conv2d(norm(x, "norm2"), p[f"{name}.ffn.project_in.weight"])
        y = F.conv2d(y, p[f"{name}.ffn.dwconv.weight"], padding=1, groups=y.shape[1])
        a, b = y.split(y.shape[1] // 2, dim=1)
        return x + F.conv2d(F.gelu(a) * b, p[f"{name}.ffn.project_out.weight"])

    def blocks(x: Tensor, name: str, head: int) -> Tensor:
        index = 0
        while f"{name}.{index}.attn.temperature" in p:
            x = block(x, f"{name}.{index}", head)
            index += 1
        assert index > 0
        return x

    def spatial(x: Tensor, level: int) -> Tensor:
        name = f"spatial_routing_encoder_level{level}"
        prompt = F.linear(instruction, p[f"{name}.fc.weight"], p[f"{name}.fc.bias"])
        tokens = x.movedim(1, -1)
        pairs = torch.cat([tokens, prompt[:, None, None].expand_as(tokens)], dim=-1)
        top = (pairs @ p[f"{name}.moe.w_gate"]).topk(2, dim=-1)
        outputs = []
        for expert in range(p[f"{name}.moe.w_gate"].shape[1]):
            mlp = f"{name}.moe.experts.{expert}"
            y = F.gelu(F.linear(tokens, p[f"{mlp}.fc1.weight"], p[f"{mlp}.fc1.bias"]))
            outputs.append(F.linear(y, p[f"{mlp}.fc2.weight"], p[f"{mlp}.fc2.bias"]).exp())
        chosen = torch.stack(outputs, -2).gather(
            -2, top.indices[..., None].expand(*top.indices.shape, tokens.shape[-1])
        )
        fused = (top.values.softmax(-1)[..., None] * chosen).sum(-2).log()
        return x + fused.movedim(-1, 1)

    def channel(x: Tensor, stage: str) -> Tensor:
        name = f"channel_routing_{stage}"
        m = F.linear(instruction, p[f"{name}.fc.weight"], p[f"{name}.fc.bias"]).sigmoid()
        return x + m[:, :, None, None] * (p[f"{name}.gamma"] * x + p[f"{name}.beta"])

    y = image
    for index, stride in ((0, 3), (2, 3), (4, 1), (6, 1), (8, 1)):
        conv = f"dict_generator.CondNet.{index}"
        y = F.conv2d(y, p[f"{conv}.weight"], p[f"{conv}.bias"], stride=stride)
        y = F.leaky_relu(y, 0.1) if index < 8 else y
    head = F.linear(
        y.mean((2, 3)), p["dict_generator.lastOut.weight"], p["dict_generator.lastOut.bias"]
    )
    instruction = F.gelu(head.softmax(-1) @ p["dict_generator.dictionary"])

    x = F.conv2d(image, p["patch_embed.proj.weight"], padding=1)
    skips = []
    for level in (1, 2, 3):
        x = blocks(spatial(x, level), f"encoder_level{level}", heads[level - 1])
        skips.append(x)
        down = p[f"down{level}_{level + 1}.body.0.weight"]
        x = F.pixel_unshuffle(F.conv2d(x, down, padding=1), 2)
    x = blocks(channel(x, "latent"), "latent", heads[3])
    for level in (3, 2, 1):
        up = p[f"up{level + 1}_{level}.body.0.weight"]
        x = torch.cat([F.pixel_shuffle(F.conv2d(x, up, padding=1), 2), skips.pop()], dim=1)
        if level > 1:
            x = F.conv2d(x, p[f"reduce_chan_level{level}.weight"])
        x = blocks(channel(x, f"decoder_level{level}"), f"decoder_level{level}", heads[level - 1])
    return image + F.conv2d(blocks(x, "refinement", heads[0]), p["output.weight"], padding=1)


@pytest.mark.parametrize("shapes", [LISTING, small_shapes()], ids=["paper", "small"])
def test_round_trip_is_exact_and_the_output_is_that_of_the_release(
    shapes: dict[str, list[int]],
) -> None:
    state = random_state(shapes)
    network = AMIR.from_official(state).eval()
    exported = export_state(network.state_dict())
    assert exported.keys() == state.keys()
    assert all(torch.equal(exported[name], state[name]) for name in state)
    image = torch.rand(1, 1, 32, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = released_output(state, image)
        assert (expected - image).abs().max() > 0.1, "the comparison must not be of inputs"
        torch.testing.assert_close(network(image), expected, atol=1e-5, rtol=0)
        exact = released_output(
            {name: value.double() for name, value in state.items()}, image.double()
        )
        torch.testing.assert_close(network.double()(image.double()), exact, atol=1e-12, rtol=0)


def test_listing_is_exported_name_by_name() -> None:
    assert len(LISTING) == 666
    with torch.device("meta"):
        exported = export_state(AMIR().state_dict())
    assert {name: list(tensor.shape) for name, tensor in exported.items()} == LISTING


@pytest.mark.parametrize("key", [None, "state_dict", "params", "model"])
def test_files_are_read_plain_or_one_level_deeper(tmp_path: Path, key: str | None) -> None:
    state = random_state(small_shapes())
    torch.save({key: state, "step": 3} if key else state, tmp_path / "Generator_best.pth")
    network = AMIR.from_official(tmp_path / "Generator_best.pth")
    exported = export_state(network.state_dict())
    assert all(torch.equal(exported[name], state[name]) for name in state)


@pytest.mark.parametrize(
    "name", ["patch_embed.proj.weight", "latent.0.attn.temperature", "output.weight"]
)
def test_a_missing_name_is_named(name: str) -> None:
    state = random_state(small_shapes())
    del state[name]
    with pytest.raises(InputError, match=f"the checkpoint has no {name}"):
        AMIR.from_official(state)


def test_an_unexpected_name_and_a_wrong_shape_are_named() -> None:
    state = random_state(small_shapes())
    with pytest.raises(InputError, match=r"has extra\.weight, which"):
        AMIR.from_official({**state, "extra.weight": torch.zeros(1)})
    with pytest.raises(InputError, match=r"output\.weight has shape \(1, 2\), expected"):
        AMIR.from_official({**state, "output.weight": torch.zeros(1, 2)})
    with pytest.raises(InputError, match=r"dictionary has shape \(7,\), expected 2 dimensions"):
        AMIR.from_official({**state, "dict_generator.dictionary": torch.zeros(7)})


def test_files_that_are_no_checkpoints_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint at"):
        AMIR.from_official(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        AMIR.from_official(tmp_path / "text.pth")
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(InputError, match="not a mapping from parameter names"):
        AMIR.from_official(tmp_path / "list.pth")
