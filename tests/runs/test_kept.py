"""Kept runs: small, whole, without names of the machine, and read like the runs themselves."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from conftest import Command
from written_runs import jobs, plain_scores, write_run

from amir_lightning.runs import kept
from amir_lightning.runs.figures import figure_rows
from amir_lightning.runs.folder import RunFolder, run_folders
from amir_lightning.runs.kept import keep
from amir_lightning.runs.sweep import locate

STEPS = 4000


@pytest.fixture
def run(composing: None, tmp_path: Path) -> Path:
    """A run as a machine leaves it, with weights, pictures, curves and figures."""
    folder = write_run(jobs("figure4")[0], tmp_path / "runs", plain_scores)
    record = json.loads((folder / "run.json").read_text())
    record |= {"platform": "my-computer", "wandb_id": "an-id", "git_commit": "abc"}
    record["sessions"] = [{"from_step": 0, "platform": "my-computer"}]
    record["data"]["mri"]["file"] = "/home/me/data/mri.h5"
    (folder / "run.json").write_text(json.dumps(record))
    for name in (
        "checkpoints/best.ckpt",
        "samples/mri.png",
        "figures/paths.png",
        "wandb/run.wandb",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"heavy")
    (folder / "figures" / "paths.csv").write_text("task,srm\nmri,1\n")
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "train/loss", "val/avg/psnr"])
        writer.writeheader()
        for step in range(9, STEPS, 10):
            writer.writerow({"step": step, "train/loss": 1 / 3 / step})
            if step % 100 == 99:
                writer.writerow({"step": step, "val/avg/psnr": 20.123456789 + step})
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_kept_run_has_the_small_files_alone(run: Path, tmp_path: Path) -> None:
    keep([RunFolder(run)], tmp_path / "kept")
    found = files(tmp_path / "kept" / run.name)
    assert set(found) == {
        "config.yaml",
        "run.json",
        "result.json",
        "metrics.csv",
        "evaluation/test/patients.csv",
        "figures/paths.csv",
    }
    assert sum(map(len, found.values())) < 100_000
    copy, own = RunFolder(tmp_path / "kept" / run.name), RunFolder(run)
    assert copy.finished
    assert copy.result == own.result
    assert copy.rows("test", table="patients") == own.rows("test", table="patients")
    assert figure_rows(copy, "paths") == figure_rows(own, "paths") != []
    assert copy.record["data"]["mri"] == own.record["data"]["mri"] | {"file": "mri.h5"}
    assert copy.record["git_commit"] == "abc"
    text = b"".join(found.values()).decode()
    for name in ("my-computer", "an-id", "/home/me", "runs_dir", "logger"):
        assert name not in text


def test_curves_keep_every_validation(run: Path, tmp_path: Path) -> None:
    keep([RunFolder(run)], tmp_path / "kept")
    copy, own = (RunFolder(one).logged() for one in (tmp_path / "kept" / run.name, run))
    validated = [(row["step"], float(row["val/avg/psnr"])) for row in copy if row["val/avg/psnr"]]
    assert validated == [
        (row["step"], pytest.approx(float(row["val/avg/psnr"]), rel=1e-5))
        for row in own
        if row["val/avg/psnr"]
    ]
    trained = [int(row["step"]) for row in copy if row["train/loss"]]
    assert len(trained) == 100
    assert trained[-1] == STEPS - 1
    assert [row["step"] for row in copy] == sorted((row["step"] for row in copy), key=int)


def test_keeping_again_writes_only_what_has_changed(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="amir_lightning")
    folder = tmp_path / "kept"
    told = []
    for change in (None, None, "task,srm\nmri,2\n"):
        if change:
            (run / "figures" / "paths.csv").write_text(change)
        caplog.clear()
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
        keep([RunFolder(run)], folder)
        told.append(caplog.text.split(",")[-1].strip())
        changed = {p.name for p, time in before.items() if p.stat().st_mtime_ns != time}
    assert told == ["1 new or changed", "0 new or changed", "1 new or changed"]
    assert changed - {run.name, "figures"} == {"paths.csv"}
    keep([RunFolder(folder / run.name)], folder)  # the copy itself
    assert caplog.text.endswith("0 new or changed\n")


def test_an_unfinished_run_is_not_kept(composing: None, tmp_path: Path) -> None:
    folder = write_run(jobs("figure4")[0], tmp_path / "runs", plain_scores, finished=False)
    keep([RunFolder(folder)], tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_an_interrupted_copy_is_no_finished_run(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = kept._write

    def stopped(path: Path, text: str) -> bool:
        if path.name == "patients.csv":
            raise KeyboardInterrupt
        return write(path, text)

    monkeypatch.setattr(kept, "_write", stopped)
    with pytest.raises(KeyboardInterrupt):
        keep([RunFolder(run)], tmp_path / "kept")
    assert not RunFolder(tmp_path / "kept" / run.name).finished


def test_jobs_find_kept_runs_after_the_runs_themselves(run: Path, tmp_path: Path) -> None:
    keep([RunFolder(run)], tmp_path / "kept")
    both = (tmp_path / "runs", tmp_path / "kept")
    assert locate(jobs("figure4"), *both) == [RunFolder(run)]
    assert locate(jobs("figure4"), *both[1:]) == [RunFolder(tmp_path / "kept" / run.name)]


def test_curves_of_a_kept_run_are_drawn(run: Path, command: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    keep([RunFolder(run)], tmp_path / "kept")
    done = command("draw", "draw=curves", f"run={tmp_path / 'kept' / run.name}", "output=out")
    assert done.status == 2
    assert "holds no curves" in done.err  # of a task: the run above has logged none
    path = tmp_path / "kept" / run.name / "metrics.csv"
    path.write_text("step,val/mri/psnr\n99,30.0\n199,31.0\n")
    done = command("draw", "draw=curves", f"run={path.parent}", "output=out")
    assert done.status == 0, done.err


@pytest.mark.parametrize("scored", ["test", "val"])
def test_a_sweep_goes_on_behind_kept_runs(
    train: Command, command: Command, tmp_path: Path, scored: str
) -> None:
    options = ("task=mri", f"scored={scored}", "trainer.max_steps=1")
    first = train(*options)
    assert first.status == 0, first.err
    runs = tmp_path / "runs"
    keep(run_folders(runs), tmp_path / "kept")
    shutil.rmtree(runs)
    shutil.copytree(tmp_path / "kept", runs)  # on another machine
    again = train(*options)
    assert again.status == 0, again.err
    assert "this run has finished before" in again.err
    (folder,) = runs.iterdir()
    assert not (folder / "checkpoints").exists()
    scores = [line for line in first.out.splitlines() if "restored" in line]
    assert scores == [line for line in again.out.splitlines() if "restored" in line] != []
    assert "weights" in first.out
    assert "weights" not in again.out
    assert "evaluate" not in again.out
    lost = command("evaluate", f"run={folder}", f"split={scored}")
    assert lost.status == 2
    assert "is a copy of a finished run without its weights; give the run that has" in lost.err
