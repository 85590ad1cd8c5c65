"""Weights under public names start our networks, and what does not fit is told."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from amir_lightning.errors import InputError
from amir_lightning.networks import AMIR, Restormer, SwinIR
from amir_lightning.networks.checkpoints import official
from amir_lightning.networks.checkpoints.initialize import start_from
from amir_lightning.networks.checkpoints.names import RESTORMER, SWINIR, renamed

TINY_RESTORMER = {"width": 8, "depths": [1, 2, 1, 1], "refinement_depth": 1}
TINY_SWINIR = {"width": 12, "groups": 2, "depth": 2, "heads": 2, "window_size": 4}


def randomised(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def public(network: nn.Module, rules: list) -> dict[str, Tensor]:
    """The state of a network under public names."""
    state = network.state_dict()
    theirs = renamed(state, rules)
    assert len(set(theirs.values())) == len(state)
    return {theirs[name]: value.clone() for name, value in state.items()}


def test_names_of_the_restormer_release() -> None:
    """A few of the names in the public files, one of each kind."""
    with torch.device("meta"):
        names = set(renamed(Restormer().state_dict(), RESTORMER).values())
    assert {
        "patch_embed.proj.weight",
        "encoder_level1.0.norm1.body.weight",
        "encoder_level1.3.attn.temperature",
        "encoder_level3.5.attn.qkv_dwconv.weight",
        "down2_3.body.0.weight",
        "latent.7.ffn.project_in.weight",
        "up4_3.body.0.weight",
        "reduce_chan_level2.weight",
        "decoder_level1.3.ffn.dwconv.weight",
        "refinement.3.attn.project_out.weight",
        "output.weight",
    } <= names


def test_names_of_the_swinir_release() -> None:
    with torch.device("meta"):
        names = set(renamed(SwinIR().state_dict(), SWINIR).values())
    assert {
        "conv_first.bias",
        "patch_embed.norm.weight",
        "layers.5.residual_group.blocks.5.attn.relative_position_bias_table",
        "layers.0.residual_group.blocks.1.attn.qkv.bias",
        "layers.0.residual_group.blocks.0.mlp.fc2.weight",
        "layers.3.conv.weight",
        "norm.weight",
        "conv_after_body.weight",
        "conv_last.weight",
    } <= names


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("build", "sizes", "rules"),
    [(Restormer, TINY_RESTORMER, RESTORMER), (SwinIR, TINY_SWINIR, SWINIR)],
)
def test_public_weights_give_the_network_that_they_came_from(
    build: type, sizes: dict, rules: list, channels: int, tmp_path: Path
) -> None:
    source = randomised(build(in_channels=channels, **sizes))
    state = public(source, rules)
    state["layers.0.residual_group.blocks.1.attn_mask"] = torch.zeros(4)  # as SwinIR files have
    torch.save({"params": state}, tmp_path / "public.pth")
    network = build(in_channels=channels, **sizes).eval()
    started = start_from(network, tmp_path / "public.pth")
    assert not started.missing
    assert not started.left_out
    if build is SwinIR and channels == 3:  # the mean of colour images moved into the first bias
        assert started.adapted
        mean = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)
        lq = torch.rand(1, 3, 16, 16)
        inside = (..., slice(1, -1), slice(1, -1))  # zero padding is the mean there, black here
        expected = source.stem(lq - mean)[inside]
        torch.testing.assert_close(network.stem(lq)[inside], expected)
        return
    lq = torch.rand(1, channels, 24, 16)
    assert torch.equal(network(lq), source(lq))


def test_colour_weights_restore_grey_images_as_three_equal_channels(tmp_path: Path) -> None:
    source = randomised(Restormer(in_channels=3, **TINY_RESTORMER))
    save_file(public(source, RESTORMER), tmp_path / "colour.safetensors")
    network = Restormer(**TINY_RESTORMER).eval()
    started = start_from(network, tmp_path / "colour.safetensors")
    assert [text.split(" ")[0] for text in started.adapted] == ["stem.weight", "head.weight"]
    grey = torch.rand(2, 1, 16, 24)
    expected = source(grey.expand(-1, 3, -1, -1)).mean(dim=1, keepdim=True)
    torch.testing.assert_close(network(grey), expected, atol=1e-5, rtol=1e-5)


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    state = public(Restormer(**TINY_RESTORMER), RESTORMER)
    del state["refinement.0.attn.temperature"]
    state["something.else"] = torch.zeros(2)
    torch.save(state, tmp_path / "w.pth")
    started = start_from(Restormer(**TINY_RESTORMER), tmp_path / "w.pth")
    assert started.missing == ["refinement.0.attention.temperature"]
    assert started.left_out == ["something.else"]
    said = "\n".join(started.lines(Path("w.pth")))
    assert "refinement.0.attention.temperature" in said
    assert "something.else" in said


def test_another_shape_is_refused_with_the_first_mismatch(tmp_path: Path) -> None:
    torch.save(public(Restormer(**TINY_RESTORMER), RESTORMER), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"patch_embed.proj.weight is \(8, 1, 3, 3\) there and"):
        start_from(Restormer(**{**TINY_RESTORMER, "width": 16}), tmp_path / "w.pth")


def test_another_network_is_refused(tmp_path: Path) -> None:
    torch.save(public(SwinIR(**TINY_SWINIR), SWINIR), tmp_path / "w.pth")
    with pytest.raises(InputError, match="has none of the parameters of Restormer"):
        start_from(Restormer(**TINY_RESTORMER), tmp_path / "w.pth")


def test_bias_free_weights_need_the_bias_free_network(tmp_path: Path) -> None:
    source = randomised(Restormer(layer_norm="bias_free", **TINY_RESTORMER))
    torch.save(public(source, RESTORMER), tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"type network\.layer_norm=bias_free"):
        start_from(Restormer(**TINY_RESTORMER), tmp_path / "w.pth")
    torch.save(public(Restormer(**TINY_RESTORMER), RESTORMER), tmp_path / "with.pth")
    network = Restormer(layer_norm="bias_free", **TINY_RESTORMER).eval()
    with pytest.raises(InputError, match=r"type network\.layer_norm=with_bias"):
        start_from(network, tmp_path / "with.pth")
    start_from(network, tmp_path / "w.pth")
    lq = torch.rand(1, 1, 16, 16)
    assert torch.equal(network(lq), source(lq))


def test_amir_starts_from_a_checkpoint_of_its_release(tmp_path: Path) -> None:
    source = randomised(AMIR(width=8, depths=[1, 1, 1, 1], refinement_depth=1))
    torch.save(official.export_state(source.state_dict()), tmp_path / "amir.pth")
    network = AMIR(width=8, depths=[1, 1, 1, 1], refinement_depth=1).eval()
    assert not start_from(network, tmp_path / "amir.pth").missing
    lq = torch.rand(1, 1, 16, 16)
    assert torch.equal(network(lq), source(lq))


def test_a_variant_of_amir_takes_of_the_release_what_it_has(tmp_path: Path) -> None:
    sizes = {"width": 8, "depths": [1, 1, 1, 1], "refinement_depth": 1}
    source = randomised(AMIR(**sizes))
    torch.save(official.export_state(source.state_dict()), tmp_path / "amir.pth")
    started = start_from(AMIR(spatial_mode="none", **sizes), tmp_path / "amir.pth")
    assert not started.missing
    assert started.left_out
    assert all(name.startswith("spatial_routing_encoder_level") for name in started.left_out)
    said = "\n".join(started.lines(Path("amir.pth")))
    assert "spatial_routing_encoder_level1.* (" in said


def test_our_own_colour_weights_of_swinir_are_taken_as_they_are(tmp_path: Path) -> None:
    source = randomised(SwinIR(in_channels=3, **TINY_SWINIR))
    torch.save(source.state_dict(), tmp_path / "own.pth")
    network = SwinIR(in_channels=3, **TINY_SWINIR).eval()
    assert not start_from(network, tmp_path / "own.pth").adapted
    lq = torch.rand(1, 3, 16, 16)
    assert torch.equal(network(lq), source(lq))


def test_what_only_trained_the_network_is_listed(tmp_path: Path) -> None:
    state = {f"network.{k}": v for k, v in Restormer(**TINY_RESTORMER).state_dict().items()}
    extra = {f"critic.layers.{i}.weight": torch.zeros(1) for i in range(9)}
    torch.save({"state_dict": state | extra}, tmp_path / "run.ckpt")
    started = start_from(Restormer(**TINY_RESTORMER), tmp_path / "run.ckpt")
    assert not started.missing
    assert "critic.* (9 entries)" in "\n".join(started.lines(Path("run.ckpt")))


def test_missing_and_damaged_files_are_one_sentence(tmp_path: Path) -> None:
    for name, content in (("none.pth", None), ("bad.pth", b"x"), ("bad.safetensors", b"x")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError):
            start_from(Restormer(**TINY_RESTORMER), tmp_path / name)
