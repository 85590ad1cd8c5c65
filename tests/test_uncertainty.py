"""``restore uncertainty=``: the spread over flips and rotations, or over the seeds of a run."""

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from conftest import TINY_DATA, Command
from dicom_files import write_slice
from pydicom.uid import generate_uid

from amir_lightning.io.dicom.scan import DicomScan
from amir_lightning.io.dicom.writer import write_dicom_series
from amir_lightning.tasks import load_task
from amir_lightning.weights.source import load_weights

MRI = load_task("mri")


@pytest.fixture
def runs(command: Command) -> list[Path]:
    """Two seeds of one method, and a run that differs in another way."""
    for options in (["seed=0"], ["seed=1"], ["seed=2", "trainer.max_steps=4"]):
        done = command(
            "train", *TINY_DATA, "task=mri", "network=srcnn", "trainer.max_steps=2", *options
        )
        assert done.status == 0, done.err
    found = sorted(Path("runs").glob("mri-srcnn-*"))
    assert len(found) == 3
    return found


def brain(path: Path) -> np.ndarray:
    voxels = np.random.default_rng(3).uniform(0, 900, (40, 30, 3)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([-0.9, -0.9, 3.0, 1.0])), path)
    return voxels.transpose(2, 1, 0).astype(np.float32)  # canonical


def restored_by(run: Path) -> Callable[[np.ndarray], np.ndarray]:
    network = load_weights(str(run), Path("runs")).network

    def restore(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            lq = torch.from_numpy(np.ascontiguousarray(image))[None, None] / 4095
            return network(lq)[0, 0].numpy().clip(0, 1) * 4095

    return restore


def read(path: str) -> np.ndarray:
    return nib.load(path).get_fdata(dtype=np.float32).transpose(2, 1, 0)


def test_flips_and_rotations_of_a_nifti(command: Command, runs: list[Path]) -> None:
    slices = brain(Path("brain.nii"))
    usual = (f"weights={runs[0]}", "input=brain.nii", "batch_size=2")
    done = command("restore", *usual, "output=out", "uncertainty=flips", "dtype=source")
    assert done.status == 0, done.err
    assert command("restore", *usual, "output=plain", "dtype=source").status == 0
    restored = Path("out/brain_restored.nii").read_bytes()
    assert restored == Path("plain/brain_restored.nii").read_bytes()
    assert not Path("plain/brain_uncertainty.nii").exists()
    restore = restored_by(runs[0])
    expected = []
    for one in slices:
        results = []
        for image in (one, np.fliplr(one)):
            for quarters in range(4):
                result = np.rot90(restore(np.rot90(image, quarters)), -quarters)
                results.append(result if image is one else np.fliplr(result))
        expected.append(np.std(results, axis=0, ddof=1))
    image = nib.load("out/brain_uncertainty.nii")
    np.testing.assert_allclose(read("out/brain_uncertainty.nii"), np.stack(expected), atol=2e-2)
    assert np.mean(expected) > 1  # the test would not see a spread of nothing
    assert image.get_data_dtype() == np.float32  # whatever the type of the restored scan
    text = b"Standard deviation over 8 flips and rotations [a.u.]"
    assert image.header["descrip"].item() == text
    np.testing.assert_array_equal(image.affine, nib.load("brain.nii").affine)
    (record,) = json.loads(Path("out/restore.json").read_text())["scans"]
    assert record["uncertainty"] == {
        "output": "brain_uncertainty.nii",
        "over": "8 flips and rotations",
        "units": "a.u.",
    }


def test_seeds_of_one_method(command: Command, runs: list[Path]) -> None:
    slices = brain(Path("brain.nii.gz"))
    by_seed = {json.loads((run / "run.json").read_text())["identity"]["seed"]: run for run in runs}
    usual = ("input=brain.nii.gz", "uncertainty=seeds", "intensity_scale=2.0")
    done = command("restore", f"weights={by_seed[0].name}", *usual, "output=out")
    assert done.status == 0, done.err
    results = [[restored_by(by_seed[seed])(2 * one) for one in slices] for seed in (0, 1)]
    expected = np.std(results, axis=0, ddof=1) / 2
    np.testing.assert_allclose(read("out/brain_uncertainty.nii.gz"), expected, atol=2e-2)
    assert expected.mean() > 1
    (record,) = json.loads(Path("out/restore.json").read_text())["scans"]
    assert record["uncertainty"]["over"] == "2 seeds"
    assert record["uncertainty"]["weights"] == [
        f"runs/{by_seed[seed].name}/checkpoints/best.ckpt" for seed in (0, 1)
    ]
    assert f"over the seeds of {by_seed[0].name} and {by_seed[1].name}" in done.err + done.out
    done = command("restore", f"weights={by_seed[2].name}", *usual, "output=none")
    assert done.status == 2
    assert f"needs a finished run like {by_seed[2].name} with another seed" in done.err
    assert not Path("none").exists()


def test_mistakes_are_one_sentence(command: Command, runs: list[Path]) -> None:
    brain(Path("brain.nii"))
    assert command("export", f"run={runs[0]}", "output=exported").status == 0
    for options, text in (
        (
            ["weights=exported", "uncertainty=seeds"],
            "weights=exported names none; type weights=<run>",
        ),
        ([f"weights={runs[0]}", "uncertainty=noise"], "choose from flips, seeds"),
    ):
        done = command("restore", "input=brain.nii", "output=out", *options)
        assert done.status == 2
        (sentence,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
        assert text in sentence
    done = command(
        "restore", "weights=exported", "input=brain.nii", "output=out", "uncertainty=flips",
        "tile=[16,24]",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert read("out/brain_uncertainty.nii").mean() > 1


def test_a_series_keeps_small_deviations_and_pads_nothing(command: Command, tmp_path: Path) -> None:
    uid = generate_uid()
    for number in range(3):
        stored = np.random.default_rng(number).integers(900, 1200, (32, 40)).astype(np.int16)
        stored[:6], stored[:2, :2] = 24, -2000
        write_slice(
            Path("ct") / f"{number}.dcm", stored, (0.0, 0.0, 5.0 * number), SeriesInstanceUID=uid,
            PixelPaddingValue=-2000, PixelSpacing=[0.8, 0.8], WindowCenter=40, WindowWidth=400,
            SeriesDescription="Abdomen", StudyInstanceUID=generate_uid(), RescaleType="HU",
        )  # fmt: skip
    done = command("train", *TINY_DATA, "task=ct", "network=srcnn", "trainer.max_steps=2")
    assert done.status == 0, done.err
    usual = ("weights=last", "input=ct", "uncertainty=flips")
    assert command("restore", *usual, "output=dicom").status == 0
    assert command("restore", *usual, "output=nifti", "format=nifti").status == 0
    expected = read("nifti/ct_uncertainty.nii.gz")
    scan = DicomScan(sorted(Path("dicom/ct_uncertainty").glob("*.dcm")))
    found = scan.read().array
    np.testing.assert_allclose(found, expected, atol=expected.max() / 2**14)
    assert (found[:, :2, :2] == 0).all()  # outside the field of view nothing is restored
    header = pydicom.dcmread(scan.files[0])
    assert header.SeriesDescription == "Standard deviation over 8 flips and rotations [HU]"
    assert header.DerivationDescription.startswith("Standard deviation over 8 flips")
    assert header.RescaleType == "HU"
    assert header.RescaleIntercept == 0
    for keyword in ("WindowCenter", "WindowWidth", "PixelPaddingValue"):
        assert keyword not in header
    restored = pydicom.dcmread(min(Path("dicom/ct_restored").glob("*.dcm")))
    assert restored.WindowCenter == 40
    assert restored.RescaleIntercept == -1024


def test_any_modality_takes_the_finest_slope(tmp_path: Path) -> None:
    for kind, tags in (("MR", {"RescaleSlope": None, "RescaleIntercept": None}), ("CT", {})):
        folder = tmp_path / kind
        for number in range(2):
            write_slice(
                folder / f"{number}.dcm", np.full((4, 6), 500, np.uint16), (0, 0, 3.0 * number),
                Modality=kind, BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1",
                **tags,
            )  # fmt: skip
        scan = DicomScan(sorted(folder.glob("*.dcm")))
        values = np.linspace(0, 0.5, 48, dtype=np.float32).reshape(2, 4, 6)
        written = write_dicom_series(
            scan, values, tmp_path / f"{kind}-out", description="", derivation="", own_scale=True
        )
        np.testing.assert_allclose(DicomScan(written).read().array, values, atol=0.5 / 4000)
