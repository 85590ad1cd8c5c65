"""Files of conf/ that a user chooses or writes: debug, profiler, a logger and an optimiser."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import TINY_DATA, Command

from amir_lightning.runs.folder import RunFolder

SRCNN = [*TINY_DATA, "task=mri", "network=srcnn"]


def run_folder() -> Path:
    (record,) = Path("runs").glob("*/run.json")
    return record.parent


def losses(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_a_short_debug_run_is_short_and_has_a_name_of_its_own(command: Command) -> None:
    typed = [
        text for text in SRCNN if not text.startswith(("validation.", "trainer.max", "data.ph"))
    ]
    done = command("train", *typed, "debug=short")
    assert done.status == 0, done.err
    assert "for 4 steps" in done.err
    assert run_folder().name.startswith("mri-srcnn-debug-s0-")
    config = RunFolder(run_folder()).settings
    assert config["trainer"]["detect_anomaly"] is True
    assert (config["trainer"]["devices"], config["data"]["phantoms"]["train"]) == (1, 1)


def test_overfitting_trains_the_same_batch_in_every_step(command: Command) -> None:
    still = ["optimizer.learning_rate=0.0", "optimizer.final_learning_rate=0.0"]
    done = command("train", *SRCNN, "debug=overfit", *still)
    assert done.status == 0, done.err
    assert len(losses(run_folder())) == 4
    assert len(set(losses(run_folder()))) == 1


@pytest.mark.filterwarnings("ignore:The PyTorch Profiler default schedule")  # of few steps
@pytest.mark.parametrize(
    ("name", "text"),
    [("simple", "test_step"), ("advanced", "function calls"), ("pytorch", "aten::conv")],
)
def test_a_profile_lies_in_the_folder_of_the_same_run(
    command: Command, name: str, text: str
) -> None:
    done = command("train", *SRCNN, f"profiler={name}")
    assert done.status == 0, done.err
    folder = run_folder()
    for stage in ("fit", "test"):
        found = (folder / f"{stage}-{name}.txt").read_text()
        assert text.replace("test_step", "run_training_batch" * (stage == "fit")) in found
    assert RunFolder(folder).settings["profiler"] is None, "it is no part of the run"
    assert command("evaluate", "run=last").status == 0
    assert "finished before" in command("train", *SRCNN).err


def test_a_logger_of_lightning_needs_only_a_file(command: Command, tmp_path: Path) -> None:
    group = tmp_path / "my" / "logger"
    group.mkdir(parents=True)
    text = "_target_: lightning.pytorch.loggers.CSVLogger\nname: second\nversion: a\n"
    (group / "second.yaml").write_text(text)
    own = ["--config-dir", "my"]
    done = command("train", *own, *SRCNN, "logger=second")
    assert done.status == 0, done.err
    folder = run_folder()
    one, two = (folder / name / "metrics.csv" for name in (".", "second/a"))
    assert one.read_text() == two.read_text()
    assert command("evaluate", "run=last").status == 0

    (group / "second.yaml").write_text(text + "wrong: 1\n")
    done = command("train", *own, *SRCNN, "logger=second", "seed=1")
    assert done.status == 2
    assert "CSVLogger refuses its options (" in done.err
    (group / "second.yaml").write_text("_target_: collections.OrderedDict\n")
    done = command("train", *own, *SRCNN, "logger=second", "seed=1")
    assert done.status == 2
    assert "expected a subclass of lightning.pytorch.loggers.Logger" in done.err


def test_a_resumed_run_asks_before_it_builds_the_logger_of_its_folder(command: Command) -> None:
    target = "lightning.pytorch.loggers.CSVLogger"
    typed = [f"+logger._target_={target}", "+logger.save_dir=elsewhere"]
    done = command("train", *SRCNN, "logger=csv", *typed)
    assert done.status == 0, done.err
    folder = run_folder()
    shutil.rmtree("elsewhere")

    (folder / "result.json").unlink()
    done = command("train", "run=last")
    assert done.status == 2
    assert f"names the class {target}, whose code would run; if you trust it type" in done.err
    assert not Path("elsewhere").exists()
    trusted = re.search(r"trusted=\[.*,lightning\.pytorch\.loggers\]", done.err)
    assert trusted
    done = command("train", "run=last", trusted[0])
    assert done.status == 0, done.err
    assert Path("elsewhere").exists()
    shutil.rmtree("elsewhere")

    (folder / "result.json").unlink()
    done = command("train", "run=last", "logger=csv")
    assert done.status == 0, done.err
    assert not Path("elsewhere").exists()


def test_a_resumed_run_continues_its_tensorboard(command: Command) -> None:
    done = command("train", *SRCNN, "logger=tensorboard")
    assert done.status == 0, done.err
    folder = run_folder()
    before = len(list((folder / "tensorboard").iterdir()))
    (folder / "result.json").unlink()
    done = command("train", "run=last")
    assert done.status == 0, done.err
    assert len(list((folder / "tensorboard").iterdir())) > before


def test_a_run_of_an_earlier_version_keeps_its_tensorboard(command: Command) -> None:
    done = command("train", *SRCNN, "logger=csv", "logger.name=tensorboard")
    assert done.status == 0, done.err
    assert list((run_folder() / "tensorboard").glob("events.out.tfevents.*"))


def test_an_optimiser_of_torch_needs_only_a_file(command: Command, tmp_path: Path) -> None:
    group = tmp_path / "my" / "optimizer"
    group.mkdir(parents=True)
    (group / "sgd.yaml").write_text(
        "defaults: [adam_cosine, _self_]\nalgorithm: {_target_: torch.optim.SGD, momentum: 0.9}\n"
    )
    done = command("train", "--config-dir", "my", *SRCNN, "optimizer=sgd")
    assert done.status == 0, done.err
    folder = run_folder()
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    assert (group["momentum"], group["initial_lr"]) == (0.9, 0.002)
    identity = json.loads((folder / "run.json").read_text())["identity"]
    assert identity["optimizer.algorithm._target_"] == "torch.optim.SGD"
    (folder / "result.json").unlink()
    for name in ("train", "evaluate"):
        done = command(name, "run=last")
        assert done.status == 0, done.err


@pytest.mark.parametrize(
    ("algorithm", "text"),
    [
        ("sgd", "optimizer.algorithm is 'sgd'; choose from adam, adamw, or type a class"),
        ("{momentum: 0.9}", "expected a class and its options"),
        ("{_target_: torch.optim.SGD, momentum: -1}", "torch.optim.SGD refuses its options (Inv"),
        ("{_target_: torch.optim.SGD, speed: 1}", "torch.optim.SGD refuses its options ("),
        ("{_target_: torch.optim.Sgd}", "_target_ is torch.optim.Sgd, which cannot be imported"),
        ("{_target_: collections.Counter}", "collections.Counter is no optimiser"),
    ],
)
def test_a_wrong_optimiser_is_one_sentence(command: Command, algorithm: str, text: str) -> None:
    done = command("train", *SRCNN, f"optimizer.algorithm={algorithm}")
    assert done.status == 2
    assert text in done.err
    assert "Traceback" not in done.err
    assert not list(Path("runs").glob("*/run.json"))
