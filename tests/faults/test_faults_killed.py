"""A run that is killed again and again ends as if nobody had touched it."""

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Command
from launched import (
    DYING,
    SHORT,
    TRAIN,
    Launched,
    assert_same_run,
    last,
    record,
    run_folder,
    saved_at,
)

MOMENTS = ("half", "written", "between", "renamed")


def finish(folder: Path, data_dir: Path, *options: str) -> None:
    status, said = Launched(folder, *TRAIN, *options, f"paths.data_dir={data_dir}").wait()
    assert status == 0, said[-3000:]


def kill_while_saving(folder: Path, data_dir: Path, moments: list[str], *options: str) -> None:
    for moment in moments:
        arguments = (*DYING, moment, "2", *options, f"paths.data_dir={data_dir}")
        status, said = Launched(folder, *arguments).wait()
        assert status == -signal.SIGKILL, said[-3000:]


@pytest.mark.slow
def test_a_run_killed_while_it_saves_ends_as_the_undisturbed_one(
    command: Command, tmp_path: Path, data_dir: Path
) -> None:
    options = (*SHORT, "trainer.max_steps=12", "validation.every=4", "checkpoint.every=1")
    assert command("train", *options, "paths.runs_dir=whole").status == 0
    killed = (*options, "paths.runs_dir=killed")
    kill_while_saving(tmp_path, data_dir, ["half", "between"], *killed)
    assert command("train", *killed).status == 0
    sessions = record(tmp_path / "killed")["sessions"]
    assert [one["from_step"] for one in sessions] == [0, 1, 2]
    assert_same_run(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.faults
def test_twenty_kills_at_random_and_a_dozen_while_saving(tmp_path: Path, data_dir: Path) -> None:
    options = (*SHORT, "trainer.max_steps=600", "validation.every=200", "checkpoint.every=3")
    finish(tmp_path, data_dir, *options, "paths.runs_dir=whole")
    runs = tmp_path / "killed"
    killed = (*options, f"paths.runs_dir={runs}")
    seed = time.time_ns()
    print(f"seed of the kills: {seed}")
    chance = random.Random(seed)
    for number in range(20):
        before = saved_at(runs)
        run = Launched(tmp_path, *TRAIN, *killed, f"paths.data_dir={data_dir}")
        if number % 4:  # the others die anywhere in their start
            run.until(lambda before=before: saved_at(runs) > before)
            time.sleep(chance.uniform(0, 0.6))
        else:
            time.sleep(chance.uniform(0, 12))
        assert run.process.poll() is None, run.wait()[1][-3000:]
        run.kill()
        if number % 2 == 0:
            kill_while_saving(tmp_path, data_dir, [chance.choice(MOMENTS)], *killed)
    finish(tmp_path, data_dir, *killed)
    assert_same_run(tmp_path / "whole", runs)


def test_a_damaged_checkpoint_is_skipped_for_the_one_before(
    command: Command, tmp_path: Path
) -> None:
    options = (*SHORT, "checkpoint.every=1", "trainer.max_steps=4")
    assert command("train", *options, "paths.runs_dir=whole").status == 0
    for damage in ("cut", "flipped", "empty"):
        damaged = tmp_path / damage
        shutil.copytree("whole", damaged)
        (run_folder(damaged) / "result.json").unlink()
        spoil(last(damaged), damage)

        done = command("train", *options, f"paths.runs_dir={damage}")
        assert done.status == 0, done.err
        assert "last.ckpt is damaged and is skipped" in done.err
        assert "at step 3" in done.err
        assert_same_run(tmp_path / "whole", damaged)
        best = best_score(last(damaged))  # kept although the folder was moved
        assert best["best_model_score"] == best_score(last(tmp_path / "whole"))["best_model_score"]
        assert list(best["best_k_models"]) == [best["best_model_path"]]
        assert Path(best["best_model_path"]).parent == run_folder(damaged) / "checkpoints"

    for name in ("last", "previous"):
        spoil(last(damaged).with_name(f"{name}.ckpt"), "cut")
    (run_folder(damaged) / "result.json").unlink()
    done = command("train", *options, f"paths.runs_dir={damage}")
    assert done.status == 2
    assert "are damaged; remove that folder" in done.err


def best_score(checkpoint: Path) -> dict[str, Any]:
    states = torch.load(checkpoint, weights_only=True)["callbacks"]
    (state,) = [state for key, state in states.items() if key.startswith("KeepBest")]
    return state


def spoil(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        tensor = torch.load(path, weights_only=True)["state_dict"]
        largest = max(tensor.values(), key=torch.Tensor.numel)
        content[content.index(largest.numpy().tobytes()) + 100] ^= 1  # torch.load sees nothing
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b""}.get(damage, content))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_the_step_in_progress_and_leaves_nobody_behind(
    tmp_path: Path, data_dir: Path, number: signal.Signals
) -> None:
    options = (*SHORT, "trainer.max_steps=4000", "validation.every=1000", "checkpoint.every=1000")
    more = ("data.num_workers=2", "logger=wandb", f"paths.data_dir={data_dir}")
    run = Launched(tmp_path, *TRAIN, *options, *more)
    run.until(lambda: list(tmp_path.glob("runs/*/metrics.csv")))
    time.sleep(0.5)
    os.killpg(run.process.pid, number)  # as a terminal or a cluster does, loaders included
    status, said = run.wait(60)
    assert status == 128 + number
    assert run.is_gone()
    saved = torch.load(last(tmp_path / "runs"), weights_only=True)["global_step"]
    assert f"stopped by {number.name}; at step {saved} of 4000" in said
    assert "goes on from the last checkpoint" in said
    assert "Traceback" not in said
    told = record(tmp_path / "runs")
    assert (told["status"], told["step"]) == ("interrupted", saved)
    (offline,) = (run_folder(tmp_path / "runs") / "wandb").glob("offline-run-*")
    assert list(offline.glob("*.wandb"))
