"""Weights that come with the package: found by name, hidden by the user's own, small enough."""

import csv
import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import TINY, Command
from weights_folders import write_weights

from amir_lightning import config, load_pretrained
from amir_lightning.metrics import SCORES
from amir_lightning.tasks import load_task
from amir_lightning.weights.source import load_weights

LIMIT = 5_000_000  # bytes of each folder


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that ships the weights "study"."""
    folder = tmp_path / "package"
    monkeypatch.setattr(config, "SHIPPED_DIR", folder)
    write_weights(folder / "study", seed=0)
    return folder / "study"


def scan(path: str = "brain.nii") -> None:
    voxels = np.random.default_rng(0).uniform(0, 900, (24, 20, 2)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)


def test_a_scan_is_restored_without_a_training(command: Command, shipped: Path) -> None:
    scan()
    options = ("input=brain.nii", "task=mri")
    done = command("restore", "weights=study", *options, "output=out")
    assert done.status == 0, done.err
    assert f"study: weights that come with this package ({shipped}/README.md)" in done.err
    assert not Path("runs").exists()
    record = json.loads(Path("out/restore.json").read_text())
    assert record["weights"] == "study, as shipped"

    write_weights(Path("study"), seed=1)
    own = command("restore", "weights=study", *options, "output=own")
    assert own.status == 0, own.err
    (line,) = [line for line in own.err.splitlines() if "your own" in line]
    assert "is used, not the weights that come with this package" in line
    found = json.loads(Path("own/restore.json").read_text())
    assert found["weights_fingerprint"] != record["weights_fingerprint"]
    a, b = (nib.load(f"{name}/brain_restored.nii").get_fdata() for name in ("out", "own"))
    assert not np.array_equal(a, b)


def test_an_own_run_of_that_name_comes_first(command: Command, shipped: Path) -> None:
    done = command("train", *TINY, "task=mri", "trainer.max_steps=2")
    assert done.status == 0, done.err
    (run,) = Path("runs").glob("mri-*")
    run.rename("runs/study")
    scan()
    done = command("restore", "weights=study", "input=brain.nii", "output=out")
    assert done.status == 0, done.err
    assert "your own folder or run of that name is used" in done.err
    own = load_weights("runs/study/checkpoints/best.ckpt", Path("runs"))
    record = json.loads(Path("out/restore.json").read_text())
    assert record["weights_fingerprint"] == own.fingerprint


def test_a_folder_of_something_else_hides_nothing(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study").mkdir()
    Path("study/notes.txt").touch()
    assert load_weights("study", Path("runs")).origin == "study, as shipped"
    assert set(load_pretrained("study").tasks) == {"mri", "ct"}


def test_what_is_not_shipped_is_told_with_what_is(command: Command, shipped: Path) -> None:
    scan()
    options = ("weights=study-unet", "input=brain.nii", "output=out", "task=mri")
    done = command("restore", *options)
    assert done.status == 2
    assert "there is no run 'study-unet'" in done.err
    assert "or the name of shipped weights (study)" in done.err
    done = command("train", *TINY, "task=mri", "network.pretrained=study-unet")
    assert done.status == 2
    assert "or the name of shipped weights (study)" in done.err
    (shipped / "config.json").unlink()
    assert "(this version ships none)" in command("restore", *options).err


def test_a_training_starts_from_them_and_is_named_by_their_content(
    command: Command, shipped: Path
) -> None:
    still = ["optimizer.learning_rate=0.0", "optimizer.final_learning_rate=0.0"]
    options = [*TINY, *still, "task=mri", "trainer.max_steps=2"]
    done = command("train", *options, "network.pretrained=study")
    assert done.status == 0, done.err
    (run,) = Path("runs").glob("mri-*")
    weights = shipped / "model.safetensors"
    record = json.loads((run / "run.json").read_text())
    assert (
        record["identity"]["network.pretrained"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    )
    state = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in load_pretrained("study").network.state_dict().items():
        assert torch.equal(state[f"network.{name}"], value)
    again = command("train", *options, f"network.pretrained={weights}")
    assert "finished before" in again.err

    larger = command("train", *options, "network.pretrained=study", "network.width=16")
    assert larger.status == 2
    assert "change scale= or network.*" in larger.err


def test_a_card_tells_phantoms_and_real_scans_apart(command: Command, train: Command) -> None:
    assert train("task=mri+ct", "trainer.max_steps=2").status == 0
    (run,) = Path("runs").glob("mri+ct-*")
    done = command("export", f"run={run}", "output=plain")
    assert done.status == 0, done.err
    card = Path("plain/README.md").read_text()
    assert "It was trained on phantoms" in card
    assert "have not been scored on scans" in card

    own = load_weights("plain", Path("runs")).fingerprint
    rows = [
        {"task": "mri", "weights": own, **dict.fromkeys(SCORES, 30), "psnr": 31},
        {"task": "mri", "weights": own, **dict.fromkeys(SCORES, 30), "psnr": 34},
        {"task": "ct", "weights": "others", **dict.fromkeys(SCORES, 99)},
    ]
    with Path("scans.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["task", "weights", *SCORES])
        writer.writeheader()
        writer.writerows(rows)
    done = command("export", f"run={run}", "output=scored", "scans=scans.csv")
    assert done.status == 0, done.err
    before, after = Path("scored/README.md").read_text().split("## Scores on real scans")
    assert "32.50" not in before
    assert "| MRI Super-Resolution | restored | 32.50 |" in after
    assert "Scans: 2 of mri." in after
    assert "99" not in after.split("## Data")[0]

    Path("other.csv").write_text(Path("scans.csv").read_text().replace(own, "0"))
    for file, text in (
        ("other.csv", f"other.csv has no scores of these weights ({own})"),
        ("absent.csv", "absent.csv cannot be read"),
        (str(run / "metrics.csv"), "metrics.csv has no scores of scans"),
    ):
        done = command("export", f"run={run}", "output=refused", f"scans={file}")
        assert done.status == 2
        assert text in done.err
        assert not Path("refused").exists()


def test_shipped_weights_are_small_and_say_what_they_are() -> None:
    """Of the folders that lie in this package."""
    names = config.shipped_names()
    if not names:
        pytest.skip("no weights are shipped yet")
    for name in names:
        folder = config.SHIPPED_DIR / name
        assert sum(path.stat().st_size for path in folder.iterdir()) <= LIMIT
        card = (folder / "README.md").read_text()
        assert "It was trained on phantoms" in card
        assert "research only" in card
        assert "These weights have not been scored" not in card
        pretrained = load_pretrained(folder)
        assert {"mri", "ct", "pet"} <= set(pretrained.tasks)
        about = pretrained.config
        assert {facts["source"] for facts in about["data"].values()} == {"phantoms"}
        for task in ("mri", "ct", "pet"):
            assert about["scores"][f"test/{task}/psnr"] > about["scores"][f"test/{task}/input_psnr"]
            assert load_task(task).value_range == pretrained.tasks[task].value_range
