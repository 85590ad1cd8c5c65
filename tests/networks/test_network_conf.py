"""The files of conf/network and the constructors say the same."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from amir_lightning import networks
from amir_lightning.cli.searchpath import register_tasks
from amir_lightning.config import CONF_DIR
from amir_lightning.networks import FILES, RestorationNetwork

NAMES = sorted(path.stem for path in (CONF_DIR / "network").glob("*.yaml"))


def read(name: str, scale: str = "paper") -> dict[str, Any]:
    register_tasks()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = compose("train", [f"network={name}", f"scale={scale}"])
    config = OmegaConf.to_container(cfg.network, resolve=True)
    assert isinstance(config, dict)
    assert config.pop("pretrained") is None
    return {str(key): value for key, value in config.items()}


def defaults(network: type) -> Mapping[str, Any]:
    signature = inspect.signature(network).parameters.values()
    return {
        p.name: list(p.default) if isinstance(p.default, tuple) else p.default for p in signature
    }


@pytest.mark.parametrize("network", sorted(FILES))
def test_file_and_constructor_state_the_same_values(network: str) -> None:
    config = read(FILES[network])
    assert config.pop("_target_") == f"amir_lightning.networks.{network}"
    expected = defaults(getattr(networks, network))
    assert config == expected
    assert list(config) == list(expected)


@pytest.mark.parametrize("name", NAMES)
def test_demo_size_restores_any_size_and_every_parameter_learns(name: str) -> None:
    torch.manual_seed(0)
    network: RestorationNetwork = instantiate(read(name, "demo"))
    for parameter in network.parameters():  # nothing that starts at zero hides what lies behind it
        with torch.no_grad():
            parameter.add_(0.02 * torch.randn_like(parameter))
    lq = torch.rand(4, 1, 37, 53)  # drop path skips a branch for some of them
    report = network.report(lq)
    assert report.image.shape == lq.shape
    loss = (report.image - 1).abs().mean()
    loss = loss + sum((estimate - 1).abs().mean() for estimate in report.estimates)
    for extra in (report.balance, report.query):
        loss = loss if extra is None else loss + extra.square().sum()
    loss.backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
    network.eval()
    with torch.no_grad():
        assert network(lq[:, :, :24]).shape == (4, 1, 24, 53)
        torch.testing.assert_close(network(lq)[:1], network(lq[:1]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_study_size_is_of_equal_standing_or_says_why_not(name: str) -> None:
    head = next(line for line in size_file(name).splitlines() if line.startswith("# "))
    said = re.match(r"# ([\d,]+) parameters(: .+)?\.", head)
    assert said, head
    network = instantiate(read(name, "study"))
    count = sum(one.numel() for one in network.parameters() if one.requires_grad)
    assert said[1] == f"{count:,}"
    assert 300_000 <= count <= 1_000_000 or said[2]


def size_file(name: str) -> str:
    return (CONF_DIR / "network" / "size" / f"{name}_study.yaml").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_does_not_round_the_image(name: str) -> None:
    network: RestorationNetwork = instantiate(read(name, "demo")).eval()
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        restored = network(torch.rand(1, 1, 32, 32))
    assert restored.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_paper_size_restores_128_pixels(name: str) -> None:
    torch.manual_seed(0)
    network: RestorationNetwork = instantiate(read(name)).eval()
    with torch.inference_mode():
        restored = network(torch.rand(1, 1, 128, 128))
    assert restored.shape == (1, 1, 128, 128)
    assert torch.isfinite(restored).all()


def test_literal_changes_each_row_that_the_equations_settle() -> None:
    released, literal = read("amir"), read("amir_literal")
    assert {key for key in released if released[key] != literal[key]} == {
        "num_instructions",
        "mixture_head",
        "instruction_activation",
        "gate_map",
        "gate_order",
        "fusion",
        "spatial_residual",
        "channel_mode",
    }


def test_table_4_changes_one_row_at_a_time() -> None:
    whole = read("amir")
    for name, change in (
        ("amir_no_dictionary", {"dictionary": "none"}),
        ("amir_contrastive", {"dictionary": "none"}),
        ("amir_no_srm", {"spatial_mode": "none"}),
        ("amir_no_crm", {"channel_mode": "none"}),
    ):
        assert read(name) == whole | change
