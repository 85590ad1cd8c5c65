"""``optimizer.trains``: which parameters learn when a network is fine-tuned."""

import json
from pathlib import Path

import pytest
import torch
from conftest import TINY_DATA, Command
from hydra.utils import instantiate

from amir_lightning.cli import compose
from amir_lightning.config import plain
from amir_lightning.modules.freezing import freeze
from amir_lightning.networks import RestorationNetwork
from amir_lightning.networks.checkpoints.initialize import read

SMALL = [*TINY_DATA, "task=mri", "network.width=8", "trainer.max_steps=2"]


def build(name: str) -> RestorationNetwork:
    node = plain(compose("train", ["task=mri", f"network={name}"]).network)
    del node["pretrained"]
    network: RestorationNetwork = instantiate(node)
    return network


def learning(network: torch.nn.Module) -> set[str]:
    return {name for name, one in network.named_parameters() if one.requires_grad}


@pytest.mark.parametrize("name", ["amir", "swinir", "srcnn", "airnet", "redcnn", "drmc"])
def test_the_head_is_normalisations_and_the_layer_that_runs_last(
    composing: None, name: str
) -> None:
    network = build(name).train()
    kept = {key: value.clone() for key, value in network.state_dict().items()}
    freeze(network, "head")
    found = learning(network)
    norms = {one for one in found if "norm" in one.lower()}
    if name == "amir":
        assert norms == {one for one in kept if ".norm" in one}
    layers = {one.rpartition(".")[0] for one in found - norms}
    modules = dict(network.named_modules())
    batch_norms = {one for one in layers if isinstance(modules[one], torch.nn.BatchNorm2d)}
    (last,) = layers - batch_norms
    assert getattr(modules[last], "out_channels", 1) == 1  # it computes the image
    # It changes the image wherever it is changed, and nothing else was touched.
    assert network.training
    assert not any(one._forward_hooks for one in network.modules())
    for key, value in network.state_dict().items():
        torch.testing.assert_close(value, kept[key], rtol=0, atol=0)
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        before = network.eval()(image)
        modules[last].weight.add_(1.0)
        assert not torch.equal(network(image), before)


def test_routing_is_what_a_network_names(composing: None) -> None:
    network = build("amir")
    freeze(network, "routing")
    parts = {name.split(".")[0] for name in learning(network)}
    assert parts == {"instruct", "spatial_routing", "channel_routing"}
    network = build("drmc")
    freeze(network, "routing")
    assert all(".router." in name for name in learning(network))
    assert learning(network)


@pytest.mark.parametrize("trains", ["head", "routing"])
def test_only_these_parameters_move(command: Command, trains: str) -> None:
    assert command("train", *SMALL).status == 0
    assert command("export", "run=last", "output=start").status == 0
    options = (f"optimizer.trains={trains}", "network.pretrained=start", "seed=1")
    done = command("train", *SMALL, *options)
    assert done.status == 0, done.err
    (run,) = list(Path("runs").glob("mri-amir-*-s1-*"))
    before, after = read(Path("start")), read(run / "checkpoints" / "last.ckpt")
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    parts = {"instruct", "spatial_routing", "channel_routing"}
    if trains == "head":
        assert moved
        assert all(".norm" in name or name.startswith("head.") for name in moved)
        assert "head.weight" in moved
    else:
        assert {name.split(".")[0] for name in moved} == parts
    record = json.loads((run / "run.json").read_text())
    assert record["parameters"] == sum(value.numel() for value in before.values())
    assert f"{record['trained_parameters']:,} of which learn" in done.err
    assert record["trained_parameters"] < record["parameters"]
    assert record["identity"]["optimizer.trains"] == trains
    # It stops and resumes like any run, and all parameters learning is no other run.
    assert command("train", f"run={run.name}").status == 0
    assert "finished before" in command("train", *SMALL, "optimizer.trains=all").err


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["optimizer.trains=half"], "choose from all, head, routing"),
        (["network=srcnn", "optimizer.trains=routing"], "leaves SRCNN nothing to learn, because"),
        (["network=argan", "optimizer.trains=head"], "and loss.objective is adversarial; type"),
    ],
)
def test_a_mistake_is_one_sentence(command: Command, options: list[str], text: str) -> None:
    done = command("train", *TINY_DATA, "task=mri", *options)
    assert done.status == 2
    (sentence,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert text in sentence
    assert not list(Path("runs").glob("*/checkpoints"))
