"""``restore`` and ``export`` through their commands: scans in, scans out, portable weights."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import Command
from dicom_files import write_slice
from pydicom.uid import generate_uid

from amir_lightning import load_pretrained
from amir_lightning.engines import openvino
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.scan import DicomScan


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "runs"


@pytest.fixture
def weights(train: Command, kept: Path) -> Path:
    """A tiny all-in-one run, a copy for each test."""
    if kept.exists():
        shutil.copytree(kept, "runs")
    else:
        assert train("task=mri+ct", "trainer.max_steps=2").status == 0
        shutil.copytree("runs", kept)
    (folder,) = Path("runs").glob("mri+ct-*")
    return folder.absolute()


def brain(path: Path, slices: int = 5, size: int = 40) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(slices).uniform(0, 900, (size, size - 3, slices))
    voxels = voxels.astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([-0.9, -0.9, 3.0, 1.0])), path)
    return voxels


def body(folder: Path, count: int = 4, **tags: object) -> None:
    uid = generate_uid()
    for number in range(count):
        stored = np.random.default_rng(number).integers(900, 1200, (32, 40)).astype(np.int16)
        stored[:6], stored[:2, :2] = 24, -2000
        write_slice(
            folder / f"{number}.dcm",
            stored,
            (0.0, 0.0, 5.0 * number),
            SeriesInstanceUID=uid,
            PixelPaddingValue=-2000,
            PixelSpacing=[0.8, 0.8],
            **tags,
        )


def test_scans_in_scans_out(command: Command, weights: Path) -> None:
    brain(Path("in/deep/brain.nii.gz"))
    body(Path("in/ct"))
    Path("in/notes.txt").touch()
    Path("in/cut.nii.gz").write_bytes(b"cut")
    done = command("restore", f"weights={weights}", "input=in", "output=out", "pictures=2")
    assert "failed:   in/cut.nii.gz is not a readable NIfTI file" in done.out
    assert "skipped:  1 x not a NIfTI or DICOM image\n" in done.out
    # The NIfTI file does not say which of the two tasks it is; the series does.
    assert done.status == 2
    assert "brain.nii.gz does not say what it shows" in done.err
    assert "1 of 2 scans failed" in done.err
    assert "ct: task ct (DICOM modality CT)" in done.err
    source, restored = (
        DicomScan(Path(place).glob("*.dcm")) for place in ("in/ct", "out/ct_restored")
    )
    np.testing.assert_allclose(restored.affine, source.affine)
    padding = source.read().array < -1024
    np.testing.assert_array_equal(restored.read().array[padding], source.read().array[padding])
    record = json.loads(Path("out/restore.json").read_text())
    assert record["scans"][0]["slices"] == 4
    assert len(list(Path("out/pictures").iterdir())) == 1
    assert not [path for path in Path().iterdir() if path.name.startswith(".out")]
    assert "1 x not a NIfTI or DICOM image" in done.out


def test_where_one_stands_and_links_are_no_obstacle(
    command: Command, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    body(Path("store/here"), count=2)
    Path("in").mkdir()
    Path("in/linked").symlink_to("../store/here")
    Path("in/linked/back").symlink_to(tmp_path / "in")
    Path("in/gone.nii").symlink_to("nowhere.nii")
    usual = (f"weights={weights}", "batch_size=2")
    done = command("restore", *usual, "input=in", "output=by-link")
    assert done.status == 0, done.err
    assert len(list(Path("by-link/linked_restored").glob("*.dcm"))) == 2
    for reason in ("1 x dead link", "1 x folder that is found under another name"):
        assert reason in done.out
    Path("in/linked/back").unlink()
    monkeypatch.chdir("store/here")
    for number, source in enumerate((".", "0.dcm", "../here", f"{tmp_path}/store/here")):
        output = tmp_path / f"out{number}"
        done = command("restore", *usual, f"input={source}", f"output={output}")
        assert done.status == 0, done.err
        assert f"{source}: task ct" in done.err
        name = "0" if source == "0.dcm" else "here"  # a file is named by itself
        names = sorted(path.name for path in output.iterdir())
        assert names == [f"{name}_restored", "restore.json"]


def test_what_cannot_be_read_ends_with_a_sentence_after_the_others_are_done(
    command: Command, weights: Path
) -> None:
    brain(Path("in/brain.nii"))
    Path("in/cut.nii.gz").write_bytes(b"cut")
    done = command("restore", f"weights={weights}", "input=in", "output=out", "task=mri")
    assert "failed:   in/cut.nii.gz is not a readable NIfTI file" in done.out
    assert Path("out/brain_restored.nii").is_file()
    assert done.status == 2
    assert "error: 1 file could not be read, see above; the others are done" in done.err


def test_a_scan_that_fails_is_named(command: Command, weights: Path) -> None:
    brain(Path("in/brain.nii"))
    nib.save(nib.Nifti1Image(np.full((40, 3, 2), 300.0), np.eye(4)), "in/narrow.nii")
    Path("in/cut.nii.gz").write_bytes(b"cut")
    done = command("restore", f"weights={weights}", "input=in", "output=out", "task=mri")
    assert done.status == 2
    assert "failed: in/narrow.nii: the image is" in done.err
    assert "error: 1 of 2 scans failed and 1 file could not be read, see above" in done.err


def test_a_nifti_is_restored_by_the_network_itself(command: Command, weights: Path) -> None:
    voxels = brain(Path("brain.nii"))
    exported = command("export", f"run={weights}", "output=exported")
    assert exported.status == 0, exported.err
    done = command("restore", "weights=exported", "input=brain.nii", "output=out", "task=mri")
    assert done.status == 0, done.err
    image = nib.load("out/brain_restored.nii")
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.affine, nib.load("brain.nii").affine)
    restorer = load_pretrained("exported")
    expected = restorer.restore(voxels.transpose(2, 1, 0).astype(np.float32), task="mri")
    expected = np.clip(expected, 0, 4095)
    actual = image.get_fdata(dtype=np.float32).transpose(2, 1, 0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-3)
    again = command(
        "restore", "weights=exported", "input=brain.nii", "output=two", "task=mri", "batch_size=3"
    )
    assert again.status == 0
    batched = nib.load("two/brain_restored.nii").get_fdata(dtype=np.float32)
    np.testing.assert_allclose(batched.transpose(2, 1, 0), actual, rtol=0, atol=1e-2)


def test_a_simulated_scan_is_scored(command: Command, weights: Path) -> None:
    body(Path("ct"), count=3)
    options = (f"weights={weights}", "input=ct", "degrade=true", "pictures=1", "format=nifti")
    done = command("restore", *options, "output=out")
    assert done.status == 0, done.err
    assert "CT Denoising" in done.out
    rows = Path("out/scores/slices.csv").read_text().splitlines()
    assert len(rows) == 4
    names = sorted(path.name for path in Path("out").glob("*.nii.gz"))
    assert names == ["ct_lq.nii.gz", "ct_restored.nii.gz"]
    lq = nib.load("out/ct_lq.nii.gz").get_fdata().transpose(2, 1, 0)
    assert not np.allclose(lq, DicomScan(Path("ct").glob("*.dcm")).read().array, atol=1)
    same = command("restore", *options, "output=again")
    assert same.status == 0
    assert Path("again/scores/slices.csv").read_text() == Path("out/scores/slices.csv").read_text()


def test_slices_of_air_are_restored_but_not_scored(command: Command, weights: Path) -> None:
    voxels = brain(Path("brain.nii"))
    voxels[..., :2] = 0
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), "brain.nii")
    options = (f"weights={weights}", "task=mri", "degrade=true", "force_units=true")
    done = command("restore", *options, "input=brain.nii", "output=out")
    assert done.status == 0, done.err
    rows = Path("out/scores/slices.csv").read_text().splitlines()
    assert [row.split(",")[2] for row in rows] == ["slice", "2", "3", "4"]
    assert nib.load("out/brain_restored.nii").shape == voxels.shape
    nib.save(nib.Nifti1Image(0 * voxels, np.eye(4)), "air.nii")
    done = command("restore", *options, "input=air.nii", "output=air")
    assert done.status == 0, done.err
    assert "scores:   none, because every slice is air or constant" in done.out
    assert not Path("air/scores").exists()


def test_what_no_nifti_can_place_is_told_before_it_is_restored(
    command: Command, weights: Path
) -> None:
    body(Path("in/even"))
    for number, first in enumerate((0.0, 16.25)):  # two passes off each other's grid
        uid = {"SeriesInstanceUID": "1.2.3", "AcquisitionNumber": number}
        for index in range(4):
            stored = np.random.default_rng(index).integers(24, 1200, (32, 40)).astype(np.int16)
            place = (0.0, 0.0, first + 5.0 * index)
            write_slice(Path(f"in/passes/{number}{index}.dcm"), stored, place, **uid)
    options = (f"weights={weights}", "input=in", "format=nifti", "output=out")
    done = command("restore", *options)
    assert done.status == 2
    assert "mm off its place in a NIfTI file" in done.err
    assert "even: task ct" in done.err
    assert "passes: task ct" not in done.err  # as where the network starts
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "even_restored.nii.gz",
        "restore.json",
    ]
    (scan,) = json.loads(Path("out/restore.json").read_text())["scans"]
    assert scan["output"] == "even_restored.nii.gz"


def test_tiles_are_said_and_measured(command: Command, weights: Path) -> None:
    brain(Path("brain.nii"), slices=2, size=64)
    options = ("input=brain.nii", "task=mri")
    done = command("restore", f"weights={weights}", *options, "tile=[32,32]", "output=tiled")
    assert done.status == 0, done.err
    assert "in tiles of 32x32" in done.err
    assert "a.u. (mean absolute difference from the whole)" in done.err
    assert command("restore", f"weights={weights}", *options, "output=whole").status == 0
    tiled, whole = (
        nib.load(f"{name}/brain_restored.nii").get_fdata() for name in ("tiled", "whole")
    )
    assert not np.array_equal(tiled, whole)
    assert np.abs(tiled - whole).mean() < 100


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["weights=absent"], "there is no run 'absent'"),
        (["input=absent.nii"], "absent.nii does not exist"),
        (["input=empty"], "holds no scan (it is empty)"),
        (["input=four.nii"], "5x5x5x2; expected one 3-D scan"),
        (["input=unit.nii"], "which are not a.u."),
        (["task=pet"], "not trained on 'pet'; choose from mri, ct"),
        (["output=empty/../full"], "is not empty; type a new or empty folder"),
        (["output=/proc/x"], "output=/proc/x cannot be written"),
        (["tile=[8,8]"], "type for instance tile=[256,256]"),
        (["format=png"], "choose from same, nifti"),
        (["dtype=int16"], "choose from float32, source"),
        (["metrics=psnr"], "choose from paper, standard"),
        (["weights=brain.nii"], "is not a readable checkpoint"),
    ],
)
def test_a_mistake_is_one_sentence(
    command: Command, weights: Path, options: list[str], text: str
) -> None:
    brain(Path("brain.nii"))
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full/file").touch()
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5, 2), np.float32), np.eye(4)), "four.nii")
    unit = np.random.default_rng(0).uniform(0, 1, (12, 12, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(unit, np.eye(4)), "unit.nii")
    usual = [f"weights={weights}", "input=brain.nii", "output=out", "task=mri"]
    kept = [one for one in usual if one.split("=")[0] not in {o.split("=")[0] for o in options}]
    done = command("restore", *kept, *options)
    assert done.status == 2
    (sentence,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert text in sentence
    assert not Path("out").exists()


def test_exported_weights_travel(command: Command, weights: Path) -> None:
    options = ["onnx=true"]  # tests of the successors write model.pt2
    options += ["openvino=true"] if openvino.installed() else []
    done = command("export", f"run={weights}", "output=exported", *options)
    assert done.status == 0, done.err
    config = json.loads(Path("exported/config.json").read_text())
    for program in config["programs"].values():
        assert len(program["compared_on"]) == 3
        assert program["largest_difference"] <= 1e-4
    assert {path.name for path in Path("exported").iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "model.onnx",
        *(["model.xml", "model.bin"] if openvino.installed() else []),
    }
    card = Path("exported/README.md").read_text()
    assert "research only" in card
    assert "scale demo" in card
    assert ("`model.xml`" in card) == openvino.installed()
    image = torch.rand(1, 1, 37, 50)
    own = load_pretrained("exported")
    state = torch.load(weights / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    for name, tensor in own.network.state_dict().items():
        assert torch.equal(tensor, state[f"network.{name}"])
    assert own(image).shape == image.shape
    if openvino.installed():  # it once refused attention of several heads in model.onnx
        lq = torch.rand(1, 1, 40, 96)
        options = {"INFERENCE_PRECISION_HINT": "f32"}
        program = openvino.core().compile_model("exported/model.onnx", "CPU", options)
        restored = torch.from_numpy(program(lq.numpy())[0])
        torch.testing.assert_close(restored, own(lq), rtol=0, atol=1e-5)
    assert own.restore(np.zeros((2, 3, 40, 41)), "ct").shape == (2, 3, 40, 41)
    with pytest.raises(InputError, match="no task was given; choose from mri, ct"):
        own.restore(np.zeros((20, 20)))
    refused = command("export", f"run={weights}", "output=exported")
    assert refused.status == 2
    assert "is not empty" in refused.err


def test_loading_needs_no_training_code(command: Command, weights: Path) -> None:
    assert command("export", f"run={weights}", "output=exported").status == 0
    code = (
        "import sys; from amir_lightning import load_pretrained; load_pretrained('exported'); "
        "bad = {'lightning', 'hydra', 'omegaconf', 'wandb', 'h5py', 'pydicom'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_a_folder_that_does_not_fit_is_refused(command: Command, weights: Path) -> None:
    assert command("export", f"run={weights}", "output=exported").status == 0
    path = Path("exported/config.json")
    config = json.loads(path.read_text())

    def refused(change: dict[str, object], text: str) -> None:
        path.write_text(json.dumps({**config, **change}))
        with pytest.raises(InputError, match=text):
            load_pretrained("exported")

    arguments = config["network"]["arguments"]
    refused({"format": "x"}, "is not a weights folder")
    refused({"version": 99}, "reads up to 1; update")
    refused({"network": {"class": "system", "arguments": {}}}, "names the network 'system'")
    refused({"network": {"class": "Routing", "arguments": {}}}, "it has AMIR")
    refused(
        {"network": {"class": "AMIR", "arguments": {**arguments, "width": 16}}},
        r"does not fit config.json: .* is \(",
    )
    path.write_text(json.dumps(config))
    data = Path("exported/model.safetensors").read_bytes()
    Path("exported/model.safetensors").write_bytes(data[:-8])
    with pytest.raises(InputError, match="copy the folder again"):
        load_pretrained("exported")
    with pytest.raises(InputError, match="not a folder; expected a weights folder, or a hub name"):
        load_pretrained("nowhere")


def test_a_hub_name_is_found_in_its_cache(
    command: Command, weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    assert command("export", f"run={weights}", "output=exported").status == 0
    repository = tmp_path / "hub" / "models--lab--amir"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    (repository / "snapshots").mkdir()
    Path("exported").rename(repository / "snapshots" / ("a" * 40))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert set(load_pretrained("lab/amir").tasks) == {"mri", "ct"}
    with pytest.raises(InputError, match="neither a folder nor found on the hub"):
        load_pretrained("lab/other")
