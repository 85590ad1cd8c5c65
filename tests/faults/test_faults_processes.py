"""Two processes: one run, whoever starts them, and neither outlives the other."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import Command
from launched import SHORT, TRAIN, Launched, record, run_folder, saved_at

COMMON = [option for option in SHORT if not option.startswith(("trainer.acc", "data.batch"))]
# In double precision sums in another order agree to the digits that show a wrong formula.
EXACT = ["trainer.precision=64-true", "loss.balance_weight=1", "checkpoint.every=1"]
TWO = ["trainer=ddp_sim", "data.batch_size=2"]
ONE = ["trainer=cpu", "data.batch_size=4"]


def weights(runs: Path, name: str = "last") -> dict[str, torch.Tensor]:
    path = run_folder(runs) / "checkpoints" / f"{name}.ckpt"
    return torch.load(path, weights_only=True)["state_dict"]


def assert_close(one: Path, other: Path) -> None:
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(other)[name], value, atol=1e-9, rtol=0, msg=name)


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in path.read_text().split()]
    return [child for child in found if b"amir_lightning" in _line(child)]


def _line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def free_port() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.mark.slow
def test_several_processes_train_what_one_trains_balance_and_noise_included(
    command: Command, tmp_path: Path, data_dir: Path
) -> None:
    shared = [*COMMON, *EXACT, "trainer.max_steps=4", "validation.every=4"]
    one = [*shared, "trainer.accelerator=cpu", "data.batch_size=6", "paths.runs_dir=one"]
    assert command("train", *one).status == 0
    cases = {
        "three": ["trainer=ddp_sim", "trainer.devices=3", "data.batch_size=2"],
        "own": ["trainer=ddp_sim", "data.batch_size=3", "loss.global_balance=false"],
    }
    said = {}
    for name, options in cases.items():
        more = [f"paths.runs_dir={name}", f"paths.data_dir={data_dir}"]
        status, said[name] = Launched(tmp_path, *TRAIN, *shared, *options, *more).wait()
        assert status == 0, said[name][-3000:]
    assert "of 6 patches (3 processes x 2 x 1 accumulated), learning rate 0.002" in said["three"]
    assert_close(tmp_path / "one", tmp_path / "three")
    assert run_folder(tmp_path / "three").name == run_folder(tmp_path / "one").name
    assert scored(tmp_path / "three") == scored(tmp_path / "one")
    assert routed(tmp_path / "three") == pytest.approx(routed(tmp_path / "one"), abs=1e-6)
    with pytest.raises(AssertionError):
        assert_close(tmp_path / "one", tmp_path / "own")


def scored(runs: Path) -> list[tuple[str, str, str]]:
    """Every slice of the table of test scores, once for each time it was scored."""
    with (run_folder(runs) / "evaluation" / "test" / "slices.csv").open() as file:
        return [(row["task"], row["patient"], row["slice"]) for row in csv.DictReader(file)]


def routed(runs: Path) -> dict[str, float]:
    """Expert shares and balance losses of the last validation."""
    with (run_folder(runs) / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["router/srm1/mri/expert0"]]
    values = {key: float(one) for key, one in rows[-1].items() if key.startswith("router/")}
    assert len(values) == 3 * 4 + 1
    return values


@pytest.mark.slow
def test_whichever_process_dies_the_other_ends_with_a_message(
    tmp_path: Path, data_dir: Path
) -> None:
    options = [*COMMON, *TWO, "trainer.max_steps=4000", "validation.every=2000"]
    options += ["checkpoint.every=1", f"paths.data_dir={data_dir}"]
    for victim in (1, 0):
        before = saved_at(tmp_path / "runs")
        run = Launched(tmp_path, *TRAIN, *options)
        run.until(lambda before=before: saved_at(tmp_path / "runs") > before)
        (child,) = children(run.process.pid)
        os.kill(child if victim else run.process.pid, signal.SIGKILL)
        status, said = run.wait(60)
        assert status == (1 if victim else -signal.SIGKILL), said[-3000:]
        assert run.is_gone(20)
        said = run.said()
        assert "error: " in said
        assert "Traceback" not in said
        if victim:
            assert "another process of this run ended" in said
            assert record(tmp_path / "runs")["status"] == "interrupted"


@pytest.mark.faults
def test_every_way_to_start_goes_on_with_the_same_run(tmp_path: Path, data_dir: Path) -> None:
    shared = [*COMMON, *EXACT, "trainer.max_steps=100", "validation.every=50"]
    shared += [f"paths.data_dir={data_dir}"]
    whole = [*shared, "trainer.accelerator=cpu", "data.batch_size=4", "paths.runs_dir=whole"]
    status, said = Launched(tmp_path, *TRAIN, *whole).wait()
    assert status == 0, said[-3000:]
    name = run_folder(tmp_path / "whole").name

    runs = tmp_path / "runs"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    torchrun += [f"--master-port={free_port()}", "-m", "amir_lightning.train"]
    for start in ("plain", "torchrun", "srun"):
        before = saved_at(runs)
        options = [*shared, *TWO]
        if start == "srun":
            started = [Launched(tmp_path, *TRAIN, *options, **task) for task in _srun(2)]
        else:
            command = TRAIN if start == "plain" else torchrun
            started = [Launched(tmp_path, *command, *options)]
        started[0].until(lambda before=before: saved_at(runs) > before, 200)
        time.sleep(1)
        for one in started:
            os.killpg(one.process.pid, signal.SIGTERM)
        ends = [one.wait(90) for one in started]
        assert all(one.is_gone(20) for one in started)
        assert any("stopped by SIGTERM" in said for _, said in ends), ends[0][1][-3000:]
        assert run_folder(runs).name == name

    resumed = [*TRAIN, "run=last", *ONE, f"paths.data_dir={data_dir}"]
    status, said = Launched(tmp_path, *resumed).wait()
    assert status == 0, said[-3000:]
    assert_close(tmp_path / "whole", runs)


def _srun(tasks: int) -> list[dict[str, str]]:
    """What Slurm tells each task of a job on one node."""
    shared = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": str(tasks),
        "SLURM_NTASKS_PER_NODE": str(tasks),
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "localhost",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
    }
    return [shared | {"SLURM_PROCID": str(i), "SLURM_LOCALID": str(i)} for i in range(tasks)]


def test_another_batch_of_all_processes_is_refused(
    command: Command, tmp_path: Path, data_dir: Path
) -> None:
    assert command("train", *SHORT).status == 0
    again = [*TRAIN, "run=last", "trainer.devices=3", f"paths.data_dir={data_dir}"]
    done = subprocess.run(again, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "is trained on batches of 4 patches and these options make 12" in done.stderr


@pytest.mark.slow
def test_slurm_is_asked_to_queue_the_job_again_before_any_task_ends(
    tmp_path: Path, data_dir: Path
) -> None:
    """Two tasks as srun starts them; srun would end both when the first one has ended."""
    asked = tmp_path / "asked"
    slow = tmp_path / "bin" / "scontrol"
    slow.parent.mkdir()
    slow.write_text(f'#!/bin/sh\nsleep 4\necho "$@" > {asked}\n')
    slow.chmod(0o755)
    slurm = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "localhost",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
        "PATH": f"{slow.parent}:{os.environ['PATH']}",
    }
    options = [*COMMON, *TWO, "trainer.max_steps=4000", "validation.every=1000"]
    options += ["checkpoint.every=2", f"paths.data_dir={data_dir}"]
    tasks = [
        Launched(tmp_path, *TRAIN, *options, **slurm, SLURM_PROCID=rank, SLURM_LOCALID=rank)
        for rank in ("0", "1")
    ]
    try:
        tasks[0].until(lambda: saved_at(tmp_path / "runs") > 0)
        for task in tasks:
            os.kill(task.process.pid, signal.SIGUSR1)
        tasks[0].until(lambda: any(task.process.poll() is not None for task in tasks), 60)
        assert asked.read_text() == "requeue 7\n"
        for task in tasks:
            status, said = task.wait(30)
            assert status == 128 + signal.SIGUSR1, said
        assert "job 7 is queued again" in tasks[0].said()
    finally:
        for task in tasks:
            task.kill()
