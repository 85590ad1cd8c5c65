"""Two processes on the CPU: one folder, one result, the same slices scored once."""

import csv
import json
from pathlib import Path

import pytest
import torch
from conftest import TINY_DATA, Command, in_two_processes

pytestmark = pytest.mark.slow


def test_two_processes_share_a_run(command: Command, data_dir: Path, tmp_path: Path) -> None:
    # One process first: it fills the cache of patients and gives the numbers to compare with.
    one = ["task=mri+ct", "data.batch_size=4", "network=restormer", "network.width=8"]
    assert command("train", *TINY_DATA, *one, "paths.runs_dir=one").status == 0
    in_two_processes(tmp_path, data_dir, *one, "data.batch_size=2", "paths.runs_dir=two")
    (folder,) = Path("two").glob("mri+ct-restormer*")
    record = json.loads((folder / "run.json").read_text())
    assert record["processes"] == 2
    assert record["effective_batch"] == 4

    (single,) = Path("one").glob("mri+ct-restormer*")
    rows = []
    for path in (single, folder):
        with (path / "evaluation" / "test" / "slices.csv").open() as file:
            rows.append(list(csv.DictReader(file)))
    assert [(r["task"], r["patient"], r["slice"]) for r in rows[0]] == [
        (r["task"], r["patient"], r["slice"]) for r in rows[1]
    ]
    # The same global batches, so the same weights up to the order of float additions.
    for a, b in zip(*rows, strict=True):
        assert float(a["psnr"]) == pytest.approx(float(b["psnr"]), abs=0.02)


@pytest.mark.parametrize(
    "choice", ["amir_contrastive", "airnet", "argan", "airnet loss=l1_balance"]
)
def test_trainings_that_are_more_than_l1_run_in_two_processes(
    choice: str, command: Command, data_dir: Path, tmp_path: Path
) -> None:
    """They end where one process ends with the same global batches, save what differs by nature.

    Batch normalisation is that of a process, and so are balance loss and routing noise.
    """
    network = choice.split()[0]
    options = ["task=mri", *f"network={choice}".split(), "trainer.max_steps=4"]
    options += ["loss.queue_size=64"] if choice in ("amir_contrastive", "airnet") else []
    if network == "amir_contrastive":
        options += ["loss.balance_weight=0", "network.gate_map=plain"]
    whole = command("train", *TINY_DATA, *options, "paths.runs_dir=one")
    assert whole.status == 0, whole.err
    in_two_processes(tmp_path, data_dir, *options, "data.batch_size=2", "paths.runs_dir=two")
    states = []
    for runs in ("one", "two"):
        (path,) = Path(runs).glob("*/checkpoints/last.ckpt")
        states.append(torch.load(path, weights_only=True))
    one, two = states
    assert one["global_step"] == two["global_step"] == 4
    assert len(one["optimizer_states"]) == len(two["optimizer_states"])
    if network == "amir_contrastive":
        for name, value in one["state_dict"].items():  # keys enter the queue in another order
            torch.testing.assert_close(
                two["state_dict"][name].sort(dim=0).values
                if name == "contrast.queue"
                else two["state_dict"][name],
                value.sort(dim=0).values if name == "contrast.queue" else value,
                atol=2e-4,
                rtol=0,
            )
    if choice in ("amir_contrastive", "airnet"):
        assert (
            one["state_dict"]["contrast.position"] == two["state_dict"]["contrast.position"] == 16
        )
