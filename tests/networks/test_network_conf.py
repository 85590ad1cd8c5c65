import inspect
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from amir_lightning.config import CONF_DIR
from amir_lightning.networks import AMIR, RestorationNetwork, Restormer


def read(name: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = OmegaConf.to_container(compose(f"network/{name}")["network"])
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


def defaults(network: type) -> Mapping[str, Any]:
    signature = inspect.signature(network).parameters.values()
    return {
        p.name: list(p.default) if isinstance(p.default, tuple) else p.default for p in signature
    }


@pytest.mark.parametrize(("name", "network"), [("amir", AMIR), ("restormer", Restormer)])
def test_file_and_constructor_state_the_same_values(
    name: str, network: type[RestorationNetwork]
) -> None:
    config = read(name)
    assert config.pop("_target_") == f"amir_lightning.networks.{network.__name__}"
    assert config == defaults(network)


@pytest.mark.parametrize(
    ("name", "count"),
    [("amir", 23_540_498), ("amir_literal", 23_530_622), ("restormer", 26_124_052)],
)
def test_files_build_networks_of_the_known_size(name: str, count: int) -> None:
    with torch.device("meta"):
        network = instantiate(OmegaConf.create(read(name)))
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("name", ["amir", "amir_literal", "restormer"])
def test_files_take_small_sizes(name: str) -> None:
    config = OmegaConf.create(read(name))
    network = instantiate(
        config, width=12, depths=[1, 1, 1, 1], refinement_depth=1, heads=[1, 2, 4, 8]
    )
    assert network(torch.rand(1, 1, 16, 16)).shape == (1, 1, 16, 16)


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
