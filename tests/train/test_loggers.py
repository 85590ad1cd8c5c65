"""Loggers: metrics.csv in every case, TensorBoard as an option, W&B offline without a key."""

import csv
import json
import math
from pathlib import Path

import pytest
from conftest import TINY_DATA, Command

from amir_lightning.train.loggers import build_loggers, is_offline


def test_tensorboard_and_csv(train: Command) -> None:
    assert train("task=mri", "logger=tensorboard").status == 0
    (folder,) = Path("runs").glob("mri*")
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    assert (folder / "metrics.csv").exists()


def test_a_logger_may_be_chosen_by_its_name_alone(train: Command) -> None:
    done = train("task=mri", "logger=csv", "logger.name=wandb")
    assert done.status == 0, done.err
    (folder,) = Path("runs").glob("mri*")
    assert list(folder.glob("wandb/offline-run-*"))
    done = train("task=mri", "logger=csv", "logger.name=other", "seed=1")
    assert done.status == 2
    assert "logger.name is 'other'; choose from csv, wandb, tensorboard" in done.err


def test_online_only_with_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = {"name": "wandb", "offline": None}
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_MODE", "WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    assert is_offline(options)
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert not is_offline(options)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert is_offline(options)
    assert not is_offline({**options, "offline": False})


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")  # as in every command
def test_a_resumed_run_keeps_its_metrics_and_drops_those_it_trains_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,train/loss\n1,0.5\n2,0.4\n3,0.3\n")
    (logger,) = build_loggers({"name": "csv"}, tmp_path, {}, step=2)
    logger.log_metrics({"train/loss": 0.35, "val/mri/psnr": 20.0}, step=2)
    logger.save()
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["train/loss"]) for row in rows] == [("1", "0.5"), ("2", "0.35")]


@pytest.mark.parametrize(
    ("network", "keys"),
    [
        ("srcnn", ["train/learning_rate"]),
        ("argan", ["train/critic_learning_rate", "train/learning_rate"]),
    ],
)
def test_the_rate_of_each_optimiser_is_logged_beside_its_loss(
    command: Command, network: str, keys: list[str]
) -> None:
    rates = ["optimizer.learning_rate=1e-3", "optimizer.final_learning_rate=1e-5"]
    done = command("train", *TINY_DATA, "task=mri", f"network={network}", *rates)
    assert done.status == 0, done.err
    with next(Path("runs").glob("*/metrics.csv")).open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert sorted(key for key in rows[0] if key.endswith("learning_rate")) == keys
    cosine = [1e-5 + 0.99e-3 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    for key in keys:
        assert [float(row[key]) for row in rows] == pytest.approx(cosine)


def test_result_is_plain_json(train: Command) -> None:
    assert train("task=mri").status == 0
    (path,) = Path("runs").glob("mri*/result.json")
    assert all(
        isinstance(value, int | float | str) for value in json.loads(path.read_text()).values()
    )
