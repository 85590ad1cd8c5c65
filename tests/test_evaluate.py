"""The evaluate command: scores from a run folder, as files and as a table."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import TINY, Command

from amir_lightning.metrics import paper_scores


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_evaluate_repeats_the_test_of_the_training(train: Command, command: Command) -> None:
    assert train("task=mri+ct").status == 0
    (folder,) = Path("runs").glob("mri*")
    evaluation = folder / "evaluation"
    before = (evaluation / "test" / "slices.csv").read_text()
    shutil.rmtree(evaluation)

    done = command("evaluate", "run=last", "split=test")
    assert done.status == 0, done.err
    assert (evaluation / "test" / "slices.csv").read_text() == before
    assert "MRI Super-Resolution" in done.out

    slices, tasks = (rows(evaluation / "test" / name) for name in ("slices.csv", "tasks.csv"))
    result = json.loads((folder / "result.json").read_text())
    for task in tasks:
        own = [row for row in slices if row["task"] == task["task"]]
        mean = sum(float(row["psnr"]) for row in own) / len(own)
        assert float(task["psnr"]) == pytest.approx(mean)
        assert result[f"test/{task['task']}/psnr"] == pytest.approx(mean)
    patients = rows(evaluation / "test" / "patients.csv")
    assert {row["task"] for row in patients} == {"mri", "ct"}


def test_splits_checkpoints_and_definitions_have_their_own_folder(
    train: Command, command: Command
) -> None:
    assert train("task=ct").status == 0
    for options in (["split=val"], ["checkpoint=last"], ["metrics=standard"]):
        assert command("evaluate", *options).status == 0
    (folder,) = Path("runs").glob("ct*")
    names = {path.name for path in (folder / "evaluation").iterdir()}
    assert names == {"test", "val", "test-last", "test-standard"}
    paper, standard = (
        rows(folder / "evaluation" / name / "tasks.csv") for name in ("test", "test-standard")
    )
    assert paper[0]["rmse"] == standard[0]["rmse"]
    assert paper[0]["ssim"] != standard[0]["ssim"]


def test_bf16_scores_as_float32_does(command: Command) -> None:
    """To a tenth of what a few steps change; a network of use is in experiments/performance."""
    learns = [
        "trainer.max_steps=40",
        "validation.every=40",
        "optimizer.learning_rate=0.003",
        "data.batch_size=4",
    ]
    assert command("train", *TINY, "task=ct", *learns).status == 0
    done = command("evaluate", "trainer.precision=bf16-mixed")
    assert done.status == 0, done.err
    (folder,) = Path("runs").glob("ct*")
    (plain,), (half,) = (
        rows(folder / "evaluation" / name / "tasks.csv") for name in ("test", "test-bf16-mixed")
    )
    restored, given, other = (
        float(row[name]) for row, name in ((plain, "psnr"), (plain, "input_psnr"), (half, "psnr"))
    )
    assert other == pytest.approx(restored, abs=abs(restored - given) / 10)
    assert other != restored
    assert f"torch {torch.__version__} in bf16-mixed" in done.out
    record = yaml.safe_load((folder / "evaluation/test-bf16-mixed/evaluate.yaml").read_text())
    assert (record["engine"], record["engine_precision"]) == ("torch", "bf16-mixed")


def test_input_scores_are_those_of_the_stored_pair(train: Command, data_dir: Path) -> None:
    from amir_lightning.data.store import Store

    assert train("task=ct").status == 0
    (folder,) = Path("runs").glob("ct*")
    record = json.loads((folder / "run.json").read_text())
    store = Store(Path(record["data"]["ct"]["file"]), "ct")
    for row, ref in zip(
        rows(folder / "evaluation" / "test" / "slices.csv"), store.slices("test"), strict=True
    ):
        assert (row["patient"], int(row["slice"])) == (ref.patient, ref.slice_index)
        lq, hq = store.read(ref)
        scores = paper_scores(lq, hq, "ct")
        for name, value in scores.items():
            assert float(row[f"input_{name}"]) == pytest.approx(value, rel=1e-4)


def test_mistakes_are_one_sentence(train: Command, command: Command) -> None:
    nothing = command("evaluate", "run=last")
    assert nothing.status == 2
    assert "there is no run in runs; train one" in nothing.err

    assert train("task=mri").status == 0
    (folder,) = Path("runs").glob("mri*")
    for options, text in (
        (["run=nonsense"], "there is no run 'nonsense'"),
        (["split=tst"], "choose from test, val, train"),
        (["checkpoint=nowhere.ckpt"], "nowhere.ckpt does not exist"),
        (["metrics=psnr"], "choose from paper, standard"),
        (["source=internet"], "source is 'internet'; choose from"),
        (["source=prepared"], "first, or source=phantoms for embedded patients"),
        (["source=prepared", "paths.prepared_dir=own"], "<folder> paths.prepared_dir=own first"),
    ):
        done = command("evaluate", *options)
        assert done.status == 2, options
        assert text in done.err
        assert "data.source" not in done.err  # an option of train
        assert "Traceback" not in done.err


def test_a_checkpoint_of_another_network_or_a_damaged_one_is_refused(
    train: Command, command: Command
) -> None:
    assert train("task=mri").status == 0
    (folder,) = Path("runs").glob("mri*")
    best = folder / "checkpoints" / "best.ckpt"
    content = torch.load(best, weights_only=True)
    name = next(iter(content["state_dict"]))
    content["state_dict"][name] = torch.zeros(3, 3)
    torch.save(content, "other.ckpt")
    Path("damaged.ckpt").write_bytes(best.read_bytes()[:1000])

    other = command("evaluate", "checkpoint=other.ckpt")
    assert other.status == 2
    assert "holds another network" in other.err
    assert name in other.err
    damaged = command("evaluate", "checkpoint=damaged.ckpt")
    assert damaged.status == 2
    assert "not a readable checkpoint" in damaged.err
