"""Disks that are full or read-only, files that are cut, loaders that die, a W&B that is down."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import Command
from launched import SHORT, TRAIN, Launched, assert_same_run, last, record, run_folder, saved_at

STEPS = [*SHORT, "trainer.max_steps=8", "validation.every=4", "checkpoint.every=1"]
LONG = [*SHORT, "trainer.max_steps=4000", "validation.every=20", "checkpoint.every=1"]


def limited(size: int, *command: str) -> list[str]:
    """A command whose files may have so many bytes: what a full disk says, it says."""
    return ["prlimit", f"--fsize={size}", *command]


def sentence(said: str) -> str:
    assert "Traceback" not in said, said[-3000:]
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    return line


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Path:
    """An undisturbed run to compare with."""
    folder = tmp_path_factory.mktemp("undisturbed")
    options = [*STEPS, f"paths.data_dir={data_dir}", "paths.runs_dir=whole"]
    status, said = Launched(folder, *TRAIN, *options).wait()
    assert status == 0, said[-3000:]
    return folder / "whole"


@pytest.mark.slow
def test_a_full_disk_ends_the_run_with_its_last_checkpoint_whole(
    tmp_path: Path, data_dir: Path, whole: Path
) -> None:
    options = [*STEPS, f"paths.data_dir={data_dir}"]
    stopped = Launched(tmp_path, *TRAIN, *options)
    stopped.until(lambda: last(tmp_path / "runs").exists())
    stopped.kill()
    size = last(tmp_path / "runs").stat().st_size
    status, said = Launched(tmp_path, *limited(size // 2, *TRAIN), *options).wait()
    assert status in (1, 2)
    assert "full" in sentence(said)
    assert not list(tmp_path.glob("runs/*/checkpoints/.*"))
    status, said = Launched(tmp_path, *TRAIN, *options).wait()
    assert status == 0, said[-3000:]
    assert_same_run(whole, tmp_path / "runs")


@pytest.mark.faults
@pytest.mark.parametrize("size", [3000, 20_000, 60_000])
def test_a_full_disk_is_told_whatever_file_meets_it(
    tmp_path: Path, data_dir: Path, size: int
) -> None:
    """The record, the configuration, the curve, a picture: of a run that starts."""
    options = [*STEPS, f"paths.data_dir={data_dir}"]
    status, said = Launched(tmp_path, *limited(size, *TRAIN), *options).wait()
    assert status in (1, 2)
    assert "full" in sentence(said)


@pytest.mark.faults
def test_a_full_disk_under_the_cache_of_patients_leaves_no_half_of_it(tmp_path: Path) -> None:
    status, said = Launched(tmp_path, *limited(50_000, *TRAIN), *STEPS).wait()
    assert status == 2
    assert "full" in sentence(said)
    assert not list(tmp_path.glob("data/phantoms/*"))
    assert not list(tmp_path.glob("data/phantoms/.*"))


@pytest.mark.faults
def test_a_read_only_folder_is_told(tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "runs").mkdir()
    mounted = "mount --bind runs runs && mount -o remount,ro,bind runs && exec "
    alone = ["unshare", "--mount", "--map-root-user", "sh", "-c", mounted + '"$@"', "sh"]
    if subprocess.run([*alone, "true"], cwd=tmp_path, check=False).returncode:
        pytest.skip("no private mounts here")
    options = [*STEPS, f"paths.data_dir={data_dir}"]
    status, said = Launched(tmp_path, *alone, *TRAIN, *options).wait()
    assert status == 2
    assert "type paths.runs_dir=<folder>" in sentence(said)
    assert "Read-only" in said


@pytest.mark.faults
@pytest.mark.parametrize("workers", [0, 1])
def test_a_store_that_is_cut_while_it_is_read_ends_the_run_and_it_goes_on_when_mended(
    tmp_path: Path, workers: int
) -> None:
    options = [*LONG, f"data.num_workers={workers}"]  # patients of its own
    run = Launched(tmp_path, *TRAIN, *options)
    run.until(lambda: last(tmp_path / "runs").exists())
    (path,) = tmp_path.glob("data/phantoms/mri-*.h5")
    content = path.read_bytes()
    os.truncate(path, len(content) // 4)
    status, said = run.wait(60)
    assert status in (1, 2)
    assert f"{path.name} is " in sentence(said)  # damaged, or truncated for who opens it anew
    with path.open("r+b") as file:
        file.write(content)
    before = saved_at(tmp_path / "runs")
    again = Launched(tmp_path, *TRAIN, *options)
    again.until(lambda: saved_at(tmp_path / "runs") > before)
    again.kill()
    assert record(tmp_path / "runs")["sessions"][1]["from_step"] > 0


@pytest.mark.faults
def test_a_loader_process_that_is_killed_ends_the_run_and_it_goes_on(
    tmp_path: Path, data_dir: Path
) -> None:
    options = [*LONG, "data.num_workers=1", f"paths.data_dir={data_dir}"]
    run = Launched(tmp_path, *TRAIN, *options)
    run.until(lambda: last(tmp_path / "runs").exists())
    children = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text()
    for child in map(int, children.split()):
        os.kill(child, signal.SIGKILL)
    status, said = run.wait(60)
    assert status == 1
    assert "a loader process died" in sentence(said)
    assert "goes on from the last checkpoint" in said
    assert record(tmp_path / "runs")["status"] == "interrupted"


def with_nan(data_dir: Path, folder: Path) -> str:
    """A prepared file with NaN in a training slice that comes early; the slice's name."""
    source = max((data_dir / "phantoms").glob("mri-*.h5"), key=lambda path: path.stat().st_mtime)
    folder.mkdir()
    shutil.copy(source, folder / "mri.h5")
    with h5py.File(folder / "mri.h5", "r+") as file:
        group = next(one for one in file.values() if (one["split"][:] == 0).all())
        group["hq"][0] = np.nan
        return f"mri patient {group.name[1:]} slice {group['slice_index'][0]}"


def test_nan_ends_the_run_or_costs_a_step_and_the_slice_is_named(
    command: Command, data_dir: Path, tmp_path: Path
) -> None:
    assert command("train", *STEPS, "trainer.max_steps=4", "paths.runs_dir=first").status == 0
    name = with_nan(data_dir, tmp_path / "prepared")
    options = [*STEPS, f"paths.prepared_dir={tmp_path / 'prepared'}"]
    stopped = command("train", *options, "paths.runs_dir=stop")
    assert stopped.status == 2
    assert f"NaN in the data of {name}" in stopped.err
    assert "on_nan=skip" in stopped.err

    skipped = command("train", *options, "on_nan=skip", "paths.runs_dir=skip")
    assert skipped.status == 0, skipped.err
    assert f"{name}); the step is skipped" in skipped.err
    state = torch.load(last(tmp_path / "skip"), weights_only=True)
    assert state["global_step"] == 8
    assert all(value.isfinite().all() for value in state["state_dict"].values())


@pytest.mark.slow
def test_wandb_that_cannot_be_reached_costs_nothing_but_the_wait(
    tmp_path: Path, data_dir: Path, whole: Path
) -> None:
    options = [*STEPS, f"paths.data_dir={data_dir}", "logger=wandb", "logger.timeout=5.0"]
    environment = {
        "WANDB_MODE": "online",
        "WANDB_API_KEY": "0" * 40,
        "WANDB_BASE_URL": "http://127.0.0.1:9",
    }
    status, said = Launched(tmp_path, *TRAIN, *options, **environment).wait(120)
    assert status == 0, said[-3000:]
    assert "W&B cannot be reached" in said
    assert list((run_folder(tmp_path / "runs") / "wandb").glob("offline-run-*/*.wandb"))
    assert_same_run(whole, tmp_path / "runs")
