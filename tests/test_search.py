"""Learning rates from a search: the same rates for all, chosen on validation patients alone."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Command
from omegaconf import OmegaConf
from written_runs import jobs, plain_scores, write_run

from amir_lightning.config import CONF_DIR
from amir_lightning.runs.folder import RunFolder
from amir_lightning.runs.sweep import Job

NAMED = ["experiment=search_table2", "scale=study", "network=restormer,airnet,amir"]
OUT = ["output=found", "rates_dir=my/network/rate"]
BEST = {
    "restormer": 3e-3,
    "airnet": 1e-2,
    "amir": 3e-3,
}


def gain_of(job: Job) -> float:
    """Two decibels at the best rate of each network, and half of it at the others."""
    return 2.0 if job.cfg.optimizer.learning_rate == BEST[job.network] else 1.0


def write_search(runs: Path, gain: Callable[[Job], float | None] = gain_of) -> None:
    """The finished runs of the search; None is a run that ended with an error."""
    for job in jobs("search_table2", *NAMED[1:]):
        name = f"{job.network}-{job.cfg.optimizer.learning_rate}"
        folder = write_run(job, runs, plain_scores, name=name)
        found = gain(job)
        if found is None:
            record = json.loads((folder / "run.json").read_text())
            (folder / "run.json").write_text(json.dumps(record | {"status": "failed"}))
            (folder / "result.json").unlink()
            continue
        scores = {f"val/{task}/input_psnr": 25.0 for task in job.tasks}
        scores |= {f"val/{task}/psnr": 25.0 + found for task in job.tasks}
        scores["val/mri/psnr"] += 0.3
        scores["val/ct/psnr"] -= 0.3
        (folder / "result.json").write_text(json.dumps(scores | {"metrics": "paper"}))


def rate(name: str) -> float:
    return float(OmegaConf.load(f"my/network/rate/{name}_study.yaml")["learning_rate"])


@pytest.mark.usefixtures("composing")
def test_the_rate_with_the_highest_gain_is_kept(command: Command, tmp_path: Path) -> None:
    write_search(tmp_path / "runs")
    ablation = tmp_path / "my" / "network" / "rate" / "amir_no_crm_study.yaml"
    ablation.parent.mkdir(parents=True)
    ablation.write_text("defaults: [amir_study]\n")
    done = command("search", *NAMED, *OUT)
    assert done.status == 0, done.err
    assert {name: rate(name) for name in BEST} == BEST
    page = Path("found/rates.md").read_text()
    assert "| restormer | mri+ct+pet | 1.00 | **2.00** | 1.00 | 0.003 | — |" in page
    assert "| amir | mri+ct+pet | 1.00 | **2.00** | 1.00 | 0.003 | amir_no_crm |" in page
    assert "at the edge of the search was chosen for: airnet" in page
    assert "No test patient" in page
    with Path("found/rates.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 * 3
    assert len([row for row in rows if row["chosen"] == "True"]) == 3 * 3
    (one,) = [
        row
        for row in rows
        if (row["network"], row["learning_rate"], row["task"]) == ("amir", "0.003", "mri")
    ]
    assert float(one["gain_psnr"]) == pytest.approx(2.3)


@pytest.mark.usefixtures("composing")
def test_a_kept_rate_is_that_of_the_next_training(command: Command, tmp_path: Path) -> None:
    write_search(tmp_path / "runs")
    ablation = tmp_path / "my" / "network" / "rate" / "amir_no_crm_study.yaml"
    ablation.parent.mkdir(parents=True)
    ablation.write_text("defaults: [amir_study]\n")
    assert command("search", *NAMED, *OUT).status == 0
    for network in ("amir", "amir_no_crm"):
        typed = ["--config-path", "my", f"network={network}", "scale=study"]
        assert "learning_rate: 0.003" in command("train", *typed, "--cfg", "job").out
        more = [*typed, "optimizer.learning_rate=0.5"]
        assert "learning_rate: 0.5" in command("train", *more, "--cfg", "job").out


@pytest.mark.usefixtures("composing")
def test_a_method_that_learns_nothing_is_a_fault_and_no_row(
    command: Command, tmp_path: Path
) -> None:
    write_search(tmp_path / "runs", lambda job: 0.05 if job.network == "airnet" else gain_of(job))
    done = command("search", *NAMED, *OUT)
    assert done.status == 2
    assert "airnet gained less than 0.1 dB over the input at every rate" in done.err
    assert "experiment=search_table2 scale=study" in done.err
    assert "optimizer.learning_rate=0.000333333,0.001,0.003,0.01" in done.err
    assert "| airnet |" not in Path("found/rates.md").read_text()
    assert not Path("my/network/rate/airnet_study.yaml").exists()
    assert rate("restormer") == 3e-3


@pytest.mark.usefixtures("composing")
def test_a_rate_at_which_training_fails_is_not_chosen(command: Command, tmp_path: Path) -> None:
    write_search(
        tmp_path / "runs",
        lambda job: None if job.cfg.optimizer.learning_rate == 3e-3 else gain_of(job),
    )
    done = command("search", *NAMED, *OUT)
    assert done.status == 0, done.err
    assert rate("amir") in (1e-3, 1e-2)
    assert "| amir | mri+ct+pet | " in done.out
    assert "| failed |" in done.out


@pytest.mark.usefixtures("composing")
def test_nothing_is_chosen_before_all_runs_have_finished(command: Command, tmp_path: Path) -> None:
    write_search(tmp_path / "runs")
    (tmp_path / "runs" / "airnet-0.003" / "result.json").unlink()
    done = command("search", *NAMED, *OUT)
    assert done.status == 2
    assert "1 of the 9 runs of search_table2 in runs have not finished; type python -m" in done.err
    assert not Path("my").exists()
    assert not Path("found").exists()


@pytest.mark.usefixtures("composing")
def test_kept_runs_of_a_search_choose_the_same_rates(command: Command, tmp_path: Path) -> None:
    write_search(tmp_path / "runs")
    (tmp_path / "runs" / "airnet-0.003" / "result.json").rename(tmp_path / "later.json")
    assert command("search", *NAMED, *OUT, "keep=true").status == 2  # what has finished is kept
    kept = tmp_path / "experiments" / "study" / "runs"
    assert len(list(kept.iterdir())) == 8
    (tmp_path / "later.json").rename(tmp_path / "runs" / "airnet-0.003" / "result.json")
    assert command("search", *NAMED, *OUT, "keep=true").status == 0
    pages = {path.name: path.read_bytes() for path in Path("found").iterdir()}
    shutil.rmtree("runs")
    shutil.rmtree("found")
    done = command("search", *NAMED, *OUT)
    assert done.status == 0, done.err
    assert {path.name: path.read_bytes() for path in Path("found").iterdir()} == pages


@pytest.mark.usefixtures("composing")
def test_several_data_and_test_scores_choose_nothing(command: Command, tmp_path: Path) -> None:
    write_search(tmp_path / "runs")
    record = tmp_path / "runs" / "amir-0.001" / "run.json"
    record.write_text(record.read_text().replace("mrifff", "mriabc"))
    assert "have several data of mri" in command("search", *NAMED, *OUT).err
    refused = command("search", "experiment=table2", *OUT)
    assert refused.status == 2
    assert "scored on test patients, by which nothing may be chosen" in refused.err
    assert not Path("my").exists()


def test_a_search_scores_validation_patients_and_no_test_patient(
    train: Command,
) -> None:
    done = train("task=mri", "scored=val")
    assert done.status == 0, done.err
    (folder,) = Path("runs").glob("mri-*")
    result = json.loads((folder / "result.json").read_text())
    assert {"val/mri/psnr", "val/mri/input_psnr"} <= result.keys()
    assert not [key for key in result if key.startswith("test/")]
    assert [path.name for path in (folder / "evaluation").iterdir()] == ["val"]
    assert "test/" not in (folder / "metrics.csv").read_text()
    assert "val scores" in done.out
    assert "finished before" in train("task=mri", "scored=val").err
    assert RunFolder(folder).scores == {}
    other = train("task=mri", "scored=train")
    assert other.status == 2
    assert "scored is 'train'; choose from test, val" in other.err
    assert len(list(Path("runs").glob("mri-*"))) == 1


def test_the_ablations_take_the_rate_of_amir() -> None:
    for path in (CONF_DIR / "network").glob("amir_*.yaml"):
        rate_file = CONF_DIR / "network" / "rate" / f"{path.stem}_study.yaml"
        assert OmegaConf.load(rate_file) == {"defaults": ["amir_study"]}
