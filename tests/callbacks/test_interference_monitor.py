"""The observer of interference measures a training that goes on as if it were not there."""

import csv
from pathlib import Path

import pytest
import torch
from conftest import Command
from torch import Tensor

from amir_lightning.errors import InputError
from amir_lightning.modules.gradients import find_layers
from amir_lightning.networks import RestoreRWKV

MEASURING = [
    "callbacks=interference",
    "callbacks.interference.every=2",
    "callbacks.interference.batches=2",
]


def weights(folder: Path) -> dict[str, Tensor]:
    (path,) = folder.glob("*/checkpoints/last.ckpt")
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["amir", "dcnn"])  # routing noise; running statistics
def test_trained_weights_are_bit_identical(train: Command, data_dir: Path, network: str) -> None:
    options = [f"network={network}", "task=mri+ct", f"paths.data_dir={data_dir}"]
    measured = [*MEASURING, "callbacks.interference.layers=[network]"]
    assert train(*options, "paths.runs_dir=plain").status == 0
    done = train(*options, *measured, "paths.runs_dir=measured")
    assert done.status == 0, done.err
    plain, watched = weights(Path("plain")), weights(Path("measured"))
    assert plain.keys() == watched.keys()
    assert all(torch.equal(plain[name], watched[name]) for name in plain)

    (metrics,) = Path("measured").glob("*/metrics.csv")
    with metrics.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["conflict/network/mri_ct"]]
    assert [row["step"] for row in rows] == ["1", "3"]
    assert -1 <= float(rows[0]["conflict/network/mri_ct"]) <= 1
    assert rows[0]["interference/network/mri_on_ct"] != rows[0]["interference/network/ct_on_mri"]


def test_mistakes_are_found_before_the_first_step(train: Command) -> None:
    single = train("task=ct", *MEASURING)
    assert single.status == 2
    assert "trains one task" in single.err
    unknown = train("task=mri+ct", *MEASURING, "callbacks.interference.layers=[decodrs.2.0]")
    assert unknown.status == 2
    assert "no layer 'decodrs.2.0'; did you mean decoders.2.0" in unknown.err
    assert "decoders.0" in unknown.err
    without = train("task=mri+ct", "network=dcnn", *MEASURING)
    assert without.status == 2
    assert "DCNN has no layer 'second'; it has fewer than two Restormer blocks" in without.err
    assert "choose for instance from network, layers.0 to" in without.err
    assert not list(Path("runs").iterdir())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("last", "RestoreRWKV has no layer 'last'; it has fewer than two Restormer blocks; choose"),
        ("merges.2", "layer 'merges.2' has no weights that are trained; choose"),
    ],
)
def test_layers_that_a_network_lacks_are_refused_with_those_it_has(name: str, text: str) -> None:
    with torch.device("meta"):
        network = RestoreRWKV(width=8, depths=[1, 1, 1, 1], refinement_depth=2)
    with pytest.raises(InputError) as error:
        find_layers(network, [name])
    assert str(error.value).startswith(text)
    assert "network, stem, encoders.0 to encoders.2" in str(error.value)
    assert "merges.0 to merges.1, decoders.0 to decoders.2, refinement.0 to refinement.1, head" in (
        str(error.value)
    )
