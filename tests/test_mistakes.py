"""What a user can get wrong on the command line: one sentence, status 2, nothing left behind."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from conftest import TINY, Command


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["task=mra"], "unknown task 'mra'; choose from mri, ct, pet"),
        (["task="], "task is '', expected text; type for instance task=mri+ct+pet"),
        (["task=' '"], "task is empty; choose from mri, ct, pet"),
        (["network="], "unknown network ''; choose from airnet, amir, "),
        (["task=mri,ct"], "join tasks with '+'"),
        (["network=amri"], "unknown network 'amri'; choose from airnet, amir, "),
        (["netwrok=amir"], "unknown option 'netwrok'; did you mean"),
        (["trainer.max_step=3"], "did you mean 'trainer.max_steps'?"),
        (["trainer.max_steps=many"], "expected an integer; type for instance trainer.max_steps="),
        (["seed=1.5"], "seed is 1.5, expected an integer"),
        (["network.depths=[1,a,1,1]"], "network.depths is"),
        (["network.width=13"], "expected an even number; type width=14"),
        (["sampling.policy=fair"], "unknown sampling policy 'fair'"),
        (["data.source=internet"], "choose from auto, prepared, phantoms"),
        (["scale=paper"], "python -m amir_lightning.prepare task=mri raw_dir=<folder>"),
        (["trainer.precision=12"], "precision"),
        (["run=last"], "there is no run in runs"),
        (["logger.name=paper"], "choose from csv, wandb, tensorboard"),
        (["metrics=psnr"], "choose from paper, standard"),
        (["paths.runs_dir=/proc/x"], "/proc/x"),
        (["data.batch_size=0"], "data.batch_size is 0, expected at least 1"),
        (["data.num_workers=-1"], "data.num_workers is -1"),
        (["optimizer.betas=[0.9]"], "optimizer.betas is [0.9], expected a list of 2"),
        (["optimizer.learning_rate=-1.0"], "no options of Adam"),
        (["validation.every=0"], "validation.every is 0"),
        (["trainer.max_steps=5"], "type for instance validation.every=1 trainer.max_steps=4"),
        (["data.phantoms.train=0"], "type data.phantoms.train=1"),
    ],
)
def test_a_mistake_is_one_sentence(command: Command, options: list[str], text: str) -> None:
    usual = [] if "run=last" in options else [*TINY, "task=mri"]
    done = command("train", *usual, *options)
    assert done.status == 2
    assert text in done.err
    (sentence,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(sentence) < 400
    assert "Traceback" not in done.err
    assert not list(Path("runs").glob("*/run.json"))


@pytest.mark.parametrize(
    "options",
    [
        ["optimizer=adamw_ema", "optimizer.average_decay=null"],
        ["tasks.pet.phantom_slices=null"],
        ["network=tat", "network.test_window=null"],
    ],
)
def test_null_is_taken_where_it_has_a_meaning(command: Command, options: list[str]) -> None:
    assert "unknown task 'mra'" in command("train", "task=mra", *options).err


@pytest.mark.parametrize("flags", [["--cfg", "job"], ["--info", "defaults"]])
@pytest.mark.parametrize(
    "options",
    [
        ["train", "task=foo"],
        ["train", "task=mri+foo", "network=restormer"],
        ["contact_sheet", "task=foo"],
        ["prepare", "task=foo", "raw_dir=x"],
        ["plan", "experiment=table3", "task=mri,foo"],
        ["tabulate", "task=foo"],
    ],
)
def test_a_configuration_of_an_unknown_task_is_not_printed(
    command: Command, options: list[str], flags: list[str]
) -> None:
    done = command(*options, *flags)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith("error: unknown task 'foo'; choose from mri, ct, pet, ct_dose, ")


def test_a_configuration_is_printed_where_the_task_is_known_or_left_to_the_weights(
    command: Command,
) -> None:
    weights = ["weights=x", "input=x", "output=x"]
    for options in (["train", "task=pet+mri"], ["prepare"], ["restore", "task=us", *weights]):
        done = command(*options, "--cfg", "job")
        assert done.status == 0, done.err
        assert "task: " in done.out


def test_a_patch_larger_than_the_slices_says_which_size_fits(train: Command) -> None:
    done = train("task=mri", "data.patch_size=128")
    assert done.status == 2
    assert "64x64 pixels, smaller than the patch of 128x128; type data.patch_size=64" in done.err


def test_a_resumed_run_cannot_be_changed(train: Command, command: Command) -> None:
    assert train("task=mri").status == 0
    done = command("train", "run=last", "seed=3")
    assert done.status == 2
    assert "'seed=3' would change it" in done.err


def test_a_damaged_prepared_file_is_refused_with_the_command_that_makes_it(
    train: Command, tmp_path: Path
) -> None:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "mri.h5").write_bytes(b"not an HDF5 file")
    done = train("task=mri", f"paths.prepared_dir={prepared}")
    assert done.status == 2
    assert "python -m amir_lightning.prepare task=mri" in done.err

    with h5py.File(prepared / "mri.h5", "w") as file:
        file["something"] = 1
    assert "mri.h5" in train("task=mri", f"paths.prepared_dir={prepared}").err


def test_data_that_changed_under_a_run_is_noticed(
    train: Command, command: Command, tmp_path: Path
) -> None:
    assert train("task=mri").status == 0
    record = json.loads(next(Path("runs").glob("mri*/run.json")).read_text())
    prepared = tmp_path / "elsewhere"
    prepared.mkdir()
    shutil.copy(record["data"]["mri"]["file"], prepared / "mri.h5")
    with h5py.File(prepared / "mri.h5", "r+") as file:
        file.attrs["fingerprint"] = "0" * 64
    here = f"paths.prepared_dir={prepared}"
    for name in ("evaluate", "train"):
        done = command(name, "run=last", here)
        assert done.status == 2
        assert "the data of mri changed" in done.err
    on_purpose = command("evaluate", "run=last", "source=prepared", here)
    assert on_purpose.status == 0
    assert next(Path("runs").glob("mri*")).joinpath("evaluation", "test-prepared").is_dir()
    for damaged in (None, {"mri": "f" * 64}, {"mri": {"fingerprint": 3, "file": "x"}}):
        path = next(Path("runs").glob("mri*/run.json"))
        path.write_text(json.dumps({**record, "data": damaged}))
        assert "does not say which data" in command("evaluate", "run=last").err


def test_a_store_of_another_value_range_is_refused(train: Command, tmp_path: Path) -> None:
    assert train("task=mri").status == 0
    done = train("task=mri", "tasks.mri.value_range=[0,2000]", "tasks.mri.score_range=[0,2000]")
    assert done.status == 0  # embedded patients are drawn anew
    record = json.loads(next(Path("runs").glob("mri*/run.json")).read_text())
    prepared = tmp_path / "elsewhere"
    prepared.mkdir()
    shutil.copy(record["data"]["mri"]["file"], prepared / "mri.h5")
    done = train("task=mri", "tasks.mri.value_range=[0,999]", f"paths.prepared_dir={prepared}")
    assert done.status == 2
    assert "was prepared with value_range" in done.err


def test_a_run_folder_cannot_name_foreign_code(train: Command, command: Command) -> None:
    assert train("task=mri").status == 0
    (config,) = Path("runs").glob("mri*/config.yaml")
    text = config.read_text()
    config.write_text(text.replace("amir_lightning.networks.AMIR", "os.system"))
    done = command("evaluate", "run=last")
    assert done.status == 2
    assert "names the class os.system" in done.err


OWN = """
from torch import nn
from amir_lightning.networks import RestorationNetwork

class Idle(RestorationNetwork):
    def __init__(self, **options):
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 1)
"""


def test_an_own_network_that_overrides_neither_method_is_told_what_to_write(
    data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(OWN)
    options = [*TINY, "task=mri", "network._target_=own.Idle", f"paths.data_dir={data_dir}"]
    command = [sys.executable, "-m", "amir_lightning.train", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "error: own.Idle does not say how it restores an image; write its method restore(self, lq)"
    )
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").glob("*/run.json"))


def test_a_sweep_with_ddp_is_refused(command: Command) -> None:
    done = command("train", "-m", *TINY, "task=mri,ct", "trainer=ddp_sim")
    assert done.status != 0
    assert "start one command per run" in done.err
