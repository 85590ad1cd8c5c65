"""Runs in W&B, read back from their offline files: no account, no network."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY, Command
from power_cut import power_cut

from amir_lightning.dashboard.offline import offline_history
from amir_lightning.errors import InputError

pytestmark = pytest.mark.slow

WANDB = ["logger=wandb", "logger.offline=true"]


def offline_files() -> list[Path]:
    return sorted(Path("runs").glob("*/wandb/offline-run-*/run-*.wandb"))


def inspect(path: Path, *options: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, path],
        capture_output=True,
        text=True,
        check=True,
    )
    if options:
        return [json.loads(done.stdout)]
    return [json.loads(line) for line in done.stdout.splitlines()]


def started(path: Path) -> dict[str, Any]:
    """What a run was opened with."""
    (run,) = [record["run"] for record in inspect(path) if record["type"] == "run"]
    return run


def test_a_run_shows_who_it_is_and_all_that_it_measured(
    train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    done = train("task=mri+ct", *WANDB)
    assert done.status == 0, done.err
    assert "wandb sync runs/mri+ct-" in done.out
    (path,) = offline_files()
    run = started(path)
    assert run["project"] == "amir_lightning"
    assert run["display_name"] == "mri+ct-amir-s0"
    assert run["tags"] == ["mri", "ct", "demo", "phantoms"]
    assert "run_group" not in run, "no experiment was chosen"
    (shown,) = inspect(path, "--summary")
    assert shown["state"] == "finished"
    assert shown["config"]["network"]["width"] == 8
    assert set(shown["config"]["tasks"]) == {"mri", "ct"}
    summary = shown["summary"]
    (result,) = Path("runs").glob("*/result.json")
    expected = json.loads(result.read_text())
    for key in ("test/mri/psnr", "test/ct/input_ssim", "test/avg/rmse"):
        assert summary[key] == pytest.approx(expected[key], rel=1e-5)
    assert 0 <= summary["router/srm1/mri/expert0"] <= 1
    assert 0 < summary["train/learning_rate"] < shown["config"]["optimizer"]["learning_rate"]
    for kind in ("samples", "routing"):
        for task in ("mri", "ct"):
            (name,) = summary[f"{kind}/{task}"]["filenames"]
            assert (path.parent / "files" / name).stat().st_size > 100
    table = json.loads((path.parent / "files" / summary["test/cases"]["path"]).read_text())
    assert table["columns"][:4] == ["task", "patient", "slice", "psnr"]
    assert {row[0] for row in table["data"]} == {"mri", "ct"}
    assert len(table["data"]) == 4
    records = inspect(path)
    metrics = [record["metric"] for record in records if record["type"] == "metric"]
    assert [one["step_metric"] for one in metrics if "glob_name" in one] == ["trainer/global_step"]
    assert any(record["type"] == "stats" for record in records), "of the machine"


def test_two_jobs_of_a_sweep_are_two_runs_of_their_experiment(
    command: Command, tmp_path: Path, data_dir: Path
) -> None:
    group = tmp_path / "own" / "experiment"
    group.mkdir(parents=True)
    (group / "seeds.yaml").write_text("# @package _global_\nseed: 7\n")
    options = [*TINY, "experiment=seeds", "task=mri", "seed=0,1", f"paths.data_dir={data_dir}"]
    done = command("train", "-m", f"--config-dir={tmp_path / 'own'}", *options, *WANDB)
    assert done.status == 0, done.err
    first, second = map(started, offline_files())
    assert first["run_id"] != second["run_id"]
    assert {run["display_name"] for run in (first, second)} == {"mri-amir-s0", "mri-amir-s1"}
    assert {run["run_group"] for run in (first, second)} == {"seeds"}
    for path in offline_files():
        steps = [row["step"] for row in offline_history(path) if "val/avg/psnr" in row]
        assert len(steps) == 2, "the validations of one run, not of both"


def test_a_resumed_run_goes_on_as_the_same_run(train: Command, command: Command) -> None:
    with power_cut(3):
        train("task=mri", *WANDB)
    (before,) = offline_files()
    (shown,) = inspect(before, "--summary")
    assert (shown["state"], shown["exit_code"]) == ("failed", 1)
    (record,) = Path("runs").glob("*/run.json")
    seconds = json.loads(record.read_text())["seconds"]
    assert command("train", "run=last").status == 0
    first, second = map(started, offline_files())
    assert first["run_id"] == second["run_id"]
    assert second["resume"]
    assert json.loads(record.read_text())["seconds"] > seconds


def test_a_file_that_was_cut_off_is_read_up_to_the_cut(train: Command) -> None:
    assert train("task=mri", *WANDB).status == 0
    (path,) = offline_files()
    whole = offline_history(path)
    shutil.copy(path, "cut.wandb")
    with Path("cut.wandb").open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    read = offline_history(Path("cut.wandb"))
    assert 0 < len(read) < len(whole)
    assert read == whole[: len(read)]
    Path("junk.wandb").write_bytes(b"not W&B's" * 999)
    with pytest.raises(InputError, match=r"junk\.wandb cannot be read .*damaged"):
        offline_history(Path("junk.wandb"))


def test_the_dashboard_reads_the_offline_file_if_the_curves_are_lost(
    train: Command, command: Command
) -> None:
    pytest.importorskip("plotly")
    assert train("task=mri", *WANDB).status == 0
    (metrics,) = Path("runs").glob("*/metrics.csv")
    pages = []
    for _ in range(2):
        assert command("dashboard").status == 0
        html = Path("runs/dashboard.html").read_text()
        data = html[html.index('id="data">') + 10 :]
        pages.append(json.loads(data[: data.index("</script>")])["comparisons"]["psnr"][0])
        metrics.unlink(missing_ok=True)
    assert pages[0]["data"]
    assert pages[0] == pages[1]
