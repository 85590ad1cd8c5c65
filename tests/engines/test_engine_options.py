"""The commands restore, evaluate and load_pretrained with both engines."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from conftest import TINY_DATA, Command
from dicom_files import write_slice
from omegaconf import OmegaConf
from pydicom import dcmread
from pydicom.uid import generate_uid

from amir_lightning import load_pretrained, networks
from amir_lightning.config import CONF_DIR, plain
from amir_lightning.engines import openvino
from amir_lightning.export.formats import write_weights_folder

pytestmark = pytest.mark.skipif(
    not openvino.installed(), reason="OpenVINO is not installed; make setup installs it"
)

NEW = {
    "ContentTime",
    "DerivationDescription",
    "InstanceCreationTime",
    "PixelData",
    "SOPInstanceUID",
    "SeriesInstanceUID",
}
"""What differs between two derived series."""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights of a network that is traced quickly."""
    folder = tmp_path / "exported"
    folder.mkdir()
    tasks = {
        name: plain(OmegaConf.load(CONF_DIR / "tasks" / f"{name}.yaml")) for name in ("mri", "ct")
    }
    torch.manual_seed(0)
    write_weights_folder(folder, networks.SRCNN(), {}, tasks, {})
    return folder


def nifti(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.diag([-0.9, -0.9, 3.0, 1.0])), path)


def brain(path: Path, slices: int) -> None:
    nifti(path, np.random.default_rng(0).uniform(0, 900, (40, 37, slices)))


def test_both_engines_restore_the_same_scans(command: Command, weights: Path) -> None:
    stored = np.random.default_rng(0).integers(900, 1200, (3, 32, 40)).astype(np.int16)
    stored[:, :6] = 24  # air
    nifti(Path("in/body.nii"), stored.T - 1024.0)
    uid = generate_uid()
    for number, one in enumerate(stored):
        place = (0.0, 0.0, 5.0 * number)
        write_slice(Path(f"in/ct/{number}.dcm"), one, place, SeriesInstanceUID=uid)
    for engine in ("torch", "openvino"):
        options = (f"weights={weights}", "input=in", "task=ct", f"engine={engine}")
        done = command("restore", *options, f"output={engine}")
        assert done.status == 0, done.err
        records = json.loads(Path(f"{engine}/restore.json").read_text())["scans"]
        assert [record["engine"]["name"] for record in records] == [engine] * 2
        assert [record["engine"]["precision"] for record in records] == ["float32"] * 2
        assert done.err.count(f" is restored by {engine} ") == 2
    own, other = (nib.load(f"{engine}/body_restored.nii") for engine in ("torch", "openvino"))
    assert own.header.binaryblock == other.header.binaryblock
    np.testing.assert_allclose(own.get_fdata(), other.get_fdata(), rtol=0, atol=4095 * 1e-5)
    for number in range(3):
        own, other = (
            dcmread(sorted(Path(f"{engine}/ct_restored").glob("*.dcm"))[number])
            for engine in ("torch", "openvino")
        )
        assert np.abs(own.pixel_array.astype(int) - other.pixel_array.astype(int)).max() <= 1
        assert " in float32" in other.DerivationDescription
        assert "openvino" in other.DerivationDescription
        assert own.keys() == other.keys()
        assert {one.keyword for one in own if one != other[one.tag]} <= NEW


def test_auto_takes_the_faster_engine_and_says_so(
    command: Command, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "_WORTH_SECONDS", 0.0)
    seconds = iter([2.0, 1.0])  # of torch and a program
    monkeypatch.setattr(openvino, "_timed", lambda run, _: (run(), next(seconds)))
    brain(Path("in/few.nii"), 2)
    brain(Path("in/many.nii"), 20)
    options = (f"weights={weights}", "input=in", "task=mri", "engine=auto")
    done = command("restore", *options, "output=out", "paths.cache_dir=mine")
    assert done.status == 0, done.err
    scans = json.loads(Path("out/restore.json").read_text())["scans"]
    assert [scan["engine"]["name"] for scan in scans] == ["torch", "openvino"]
    assert len(list(Path("mine/programs").iterdir())) == 1
    monkeypatch.setattr(openvino, "installed", lambda: False)
    done = command("restore", *options, "output=again")
    assert done.status == 0, done.err
    assert "restoring by torch, not by OpenVINO: it is not installed; type" in done.err
    refused = command("restore", *options[:-1], "engine=openvino", "output=never")
    assert refused.status == 2
    assert "error: OpenVINO cannot restore: it is not installed" in refused.err
    assert not Path("never").exists()


def test_scores_say_which_engine_they_are_of(command: Command) -> None:
    options = [*TINY_DATA, "task=mri", "network=srcnn", "trainer.max_steps=2"]
    assert command("train", *options).status == 0
    (run,) = Path("runs").glob("mri-*")
    folders = {"test": run / "evaluation" / "test"}  # of train, by torch
    for name, options in {
        "test-openvino": [],
        "test-openvino-bf16-extract": ["engine_precision=bf16", "engine_float32=[extract]"],
    }.items():
        done = command("evaluate", "engine=openvino", *options)
        assert done.status == 0, done.err
        folders[name] = run / "evaluation" / name
        record = yaml.safe_load((folders[name] / "evaluate.yaml").read_text())
        assert record["engine"] == "openvino"
        assert record["engine_version"]
        assert record["engine_precision"] == ("bf16" if options else "float32")
        assert f"openvino {record['engine_version']} in" in done.out
    own, same, half = ((one / "slices.csv").read_text() for one in folders.values())
    psnr = [
        [float(line.split(",")[3]) for line in text.splitlines()[1:]] for text in (own, same, half)
    ]
    np.testing.assert_allclose(psnr[0], psnr[1], atol=1e-3)
    np.testing.assert_allclose(psnr[0], psnr[2], atol=0.5)
    assert psnr[0] != psnr[2]


def test_pretrained_weights_restore_by_openvino(command: Command, weights: Path) -> None:
    lq = np.random.default_rng(0).uniform(0, 900, (2, 33, 40)).astype(np.float32)
    own = load_pretrained(weights).restore(lq, "mri")
    other = load_pretrained(weights, engine="openvino").restore(lq, "mri")
    np.testing.assert_allclose(own, other, rtol=0, atol=4095 * 1e-5)
    assert len(list(Path("cache/amir_lightning/programs").iterdir())) == 1
    assert {path.name for path in weights.iterdir()} == {
        "config.json",
        "README.md",
        "model.safetensors",
    }
