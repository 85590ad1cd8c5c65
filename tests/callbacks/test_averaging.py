"""AdamW, the average of the weights and the learned balance, through the commands."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY_DATA, Command, in_two_processes
from power_cut import power_cut
from safetensors.torch import load_file

from amir_lightning.callbacks import WeightAverage

RECIPE = ["network=tat", "loss=task_adaptive", "sampling=balanced", "optimizer=adamw_ema"]
OPTIONS = [*TINY_DATA, "task=mri+pet", "network.task_size=16", *RECIPE]


def checkpoint(runs: str, name: str = "last") -> dict[str, Any]:
    (path,) = Path(runs).glob(f"*/checkpoints/{name}.ckpt")
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def test_the_share_grows_up_to_the_decay() -> None:
    average = WeightAverage(0.999, 2 / 3)
    assert average.share(0) == 0
    assert average.share(7) == pytest.approx(1 - 8 ** (-2 / 3))
    assert average.share(40_000) == 0.999
    assert WeightAverage(0.9, 0).share(0) == 0.9


def test_a_stopped_run_goes_on_with_both_weights(command: Command) -> None:
    options = [*OPTIONS, "trainer.max_steps=6"]
    assert command("train", *options, "paths.runs_dir=whole").status == 0
    with power_cut(5):
        command("train", *options, "paths.runs_dir=cut")
    resumed = command("train", "run=last", "paths.runs_dir=cut")
    assert resumed.status == 0, resumed.err
    assert "at step 4" in resumed.err
    for name in ("last", "best"):
        whole, again = checkpoint("whole", name), checkpoint("cut", name)
        for part in ("state_dict", "trained_network"):
            assert whole[part].keys() == again[part].keys()
            assert all(torch.equal(whole[part][key], again[part][key]) for key in whole[part])
    assert whole["state_dict"]["balance.exit.bias"] != 1, "the estimator is trained, too"
    one, other = ({**c["optimizer_states"][0]["state"]} for c in (whole, again))
    assert all(torch.equal(one[k]["exp_avg"], other[k]["exp_avg"]) for k in one)
    results = [next(Path(runs).glob("*/result.json")).read_text() for runs in ("whole", "cut")]
    assert results[0] == results[1]


def test_what_is_kept_is_the_average_of_the_trained_weights(command: Command) -> None:
    """Runs of one to three steps show the weights of each step, of which the average is made."""
    options = [*OPTIONS, "validation.every=1", "optimizer.average_decay=0.5"]
    options += ["optimizer.average_warmup=0", "optimizer.final_learning_rate=0.003"]
    runs = {}
    for decay in ("0.5", "0.0"):
        done = command(
            "train",
            *options,
            f"optimizer.average_decay={decay}",
            "trainer.max_steps=2",
            f"paths.runs_dir=decay{decay}",
        )
        assert done.status == 0, done.err
        runs[decay] = checkpoint(f"decay{decay}")
    averaged, last = runs["0.5"], runs["0.0"]
    name = "head.weight"
    trained = averaged["trained_network"][name]
    assert torch.equal(last["trained_network"][name], trained), "the average changes no training"
    assert torch.equal(last["state_dict"][f"network.{name}"], trained)
    first = command("train", *options, "trainer.max_steps=1", "paths.runs_dir=first")
    assert first.status == 0, first.err
    before = checkpoint("first")
    expected = (before["state_dict"][f"network.{name}"] + trained) / 2
    torch.testing.assert_close(averaged["state_dict"][f"network.{name}"], expected)
    assert not torch.equal(averaged["state_dict"][f"network.{name}"], trained)

    done = command("export", "run=last", "output=weights", "paths.runs_dir=decay0.5")
    assert done.status == 0, done.err
    best, exported = checkpoint("decay0.5", "best"), load_file("weights/model.safetensors")
    assert exported.keys() == best["trained_network"].keys()
    assert all(torch.equal(v, best["state_dict"][f"network.{k}"]) for k, v in exported.items())


def test_with_adam_and_without_an_average_a_run_has_neither(command: Command) -> None:
    options = ["task=mri", "network=dcnn", "trainer.max_steps=2", "optimizer.average_decay=null"]
    done = command("train", *TINY_DATA, *options)
    assert done.status == 0, done.err
    content = checkpoint("runs")
    assert "trained_network" not in content
    assert content["optimizer_states"][0]["param_groups"][0]["weight_decay"] == 0


@pytest.mark.slow
def test_two_processes_end_where_one_does(command: Command, data_dir: Path, tmp_path: Path) -> None:
    options = ["task=mri+pet", "network.task_size=16", *RECIPE, "network.width=8"]
    whole = command("train", *TINY_DATA, *options, "data.batch_size=4", "paths.runs_dir=one")
    assert whole.status == 0, whole.err
    in_two_processes(tmp_path, data_dir, *options, "data.batch_size=2", "paths.runs_dir=two")
    one, two = checkpoint("one"), checkpoint("two")
    for part in ("state_dict", "trained_network"):
        for name, value in one[part].items():
            torch.testing.assert_close(two[part][name], value, atol=5e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["optimizer.average_decay=1.0"], "type optimizer.average_decay=0.999"),
        (["optimizer.average_decay=0.9", "optimizer.average_warmup=-1.0"], "average_warmup is -1"),
        (["optimizer.average_decay=0.9", "trainer.strategy=fsdp"], "type trainer=ddp"),
        (["optimizer.algorithm=sgd"], "optimizer.algorithm is 'sgd'; choose from adam, adamw"),
        (["optimizer.weight_decay=0.1"], "type optimizer.algorithm=adamw"),
        (["optimizer.algorithm=adamw", "optimizer.weight_decay=-1.0"], "weight_decay is -1.0"),
    ],
)
def test_a_mistake_is_one_sentence(command: Command, options: list[str], text: str) -> None:
    done = command("train", *TINY_DATA, "task=mri", "network=dcnn", *options)
    assert done.status == 2
    assert text in done.err
    assert "Traceback" not in done.err
    assert not list(Path("runs").glob("*/run.json"))
