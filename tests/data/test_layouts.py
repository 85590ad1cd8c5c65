import dataclasses
import json
import logging
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from torch import Tensor

from amir_lightning.data.layouts.folder import one_per_patient
from amir_lightning.data.splits import SPLITS
from amir_lightning.data.store import Store, patient_id
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import summarise
from amir_lightning.prepare.options import Options
from amir_lightning.prepare.pipeline import prepare
from amir_lightning.tasks import Task, load_task

MRI = load_task("mri")
FRACTIONS = {"train": 0.5, "val": 0.25, "test": 0.25}


class Noise:
    def degrade(self, hq: Tensor, spacing_mm: tuple[float, float, float], seed: int) -> Tensor:
        return hq + torch.randn(hq.shape, generator=torch.Generator().manual_seed(seed))


def nifti(path: Path, slices: int = 4, level: float = 500) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(path.name.encode()))
    voxels = rng.uniform(level / 2, level, (8, 10, slices)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([-0.5, -0.5, 3, 1])), path)
    return path


def dicom(folder: Path, slices: int, **tags: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    uid = generate_uid()
    for z in range(slices):
        dataset = pydicom.Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = generate_uid()
        values = {
            "Modality": "MR",
            "PatientID": folder.name,
            "PatientName": "Doe^Jane",
            "PatientBirthDate": "19700101",
            "AccessionNumber": "ACC4711",
            "SeriesInstanceUID": uid,
            "ImagePositionPatient": [0, 0, 3 * z],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "PixelSpacing": [1, 1],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": 8,
            "Columns": 8,
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 0,
            "PixelData": (np.arange(100, 164) + zlib.crc32(uid.encode()) % 500)
            .astype("<u2")
            .tobytes(),
            **tags,
        }
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        dataset["PixelData"].VR = "OW"
        dataset.save_as(folder / f"{uid[-6:]}-{z}.dcm", enforce_file_format=True)


def run(raw: Path, output: Path, task: Task = MRI, **options: object) -> Store:
    arguments = {"split": FRACTIONS, **options}
    prepare(task, Noise(), one_per_patient(raw, task), output, Options(**arguments))  # type: ignore
    return Store(output, task.name)


def test_files_and_folders_of_a_mixed_directory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = tmp_path / "raw"
    nifti(raw / "P1.nii.gz")
    nifti(raw / "P2" / "deep" / "t2.nii")
    dicom(raw / "P3", 2, PatientID="three")
    dicom(raw / "P3", 5, PatientID="three")
    dicom(raw / "P3", 7, PatientID="three", Modality="CT")
    (raw / "notes").mkdir()
    (raw / "notes" / "log.json").write_text("{}")
    (raw / "LICENSE.txt").write_text("CC BY")
    (raw / "._P1.nii.gz").write_bytes(b"macOS leftover")
    patients, skipped = one_per_patient(raw, MRI)
    assert [patient.key for patient in patients] == ["P1", "P2", "P3"]
    assert [len(patient.read().hq.array) for patient in patients] == [4, 4, 5]
    assert summarise(skipped) == (
        "7 x DICOM of modality CT, 1 x hidden file, 2 x not a NIfTI or DICOM image, "
        "2 x shorter series of a patient"
    )
    assert "taking the series with 5 slices" in caplog.text


def test_loose_dicom_files_are_told_apart_by_patient(tmp_path: Path) -> None:
    dicom(tmp_path / "raw", 3, PatientID="B")
    dicom(tmp_path / "raw", 2, PatientID="A")
    patients, _ = one_per_patient(tmp_path / "raw", MRI)
    assert [(p.key, len(p.read().hq.array)) for p in patients] == [("A", 2), ("B", 3)]


def test_one_patient_in_two_folders_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("visit1", "visit2"):
        dicom(tmp_path / name, 1, PatientID="same")
    patients, _ = one_per_patient(tmp_path, MRI)
    assert "same Patient ID" in caplog.text
    assert {patient.identity for patient in patients} == {"same"}


def test_scans_of_one_patient_never_fall_into_two_splits(tmp_path: Path) -> None:
    for number in range(8):
        dicom(tmp_path / "raw" / f"visit{number}", 1, PatientID=f"person{number // 2}")
    run(tmp_path / "raw", tmp_path / "mri.h5")
    store = Store(tmp_path / "mri.h5")
    for person in range(4):
        visits = {patient_id(f"visit{2 * person}"), patient_id(f"visit{2 * person + 1}")}
        splits = [split for split in SPLITS if visits & set(store.patients(split))]
        assert len(splits) == 1


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    only_ct = tmp_path / "only_ct"
    dicom(only_ct / "P", 2, Modality="CT")
    twice = tmp_path / "twice"
    nifti(twice / "P1.nii")
    nifti(twice / "P1.nii.gz")
    whole_set = tmp_path / "whole_set"
    nifti(whole_set / "IXI" / "P1.nii")
    nifti(whole_set / "IXI" / "P2.nii")
    patients = tmp_path / "patients"
    dicom(patients / "set", 1, PatientID="A")
    dicom(patients / "set", 1, PatientID="B")
    for folder, reason in [
        (tmp_path / "absent", "does not exist"),
        (nifti(tmp_path / "file.nii"), "is a file"),
        (empty, "it is empty"),
        (only_ct, "2 x DICOM of modality CT"),
        (twice, "two scans named P1"),
        (whole_set, "type raw_dir=.*IXI"),
        (patients, "of 2 patients.*type raw_dir=.*set"),
    ]:
        with pytest.raises(InputError, match=reason):
            one_per_patient(folder, MRI)


def test_prepare_splits_patients_and_says_what_it_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        nifti(tmp_path / "raw" / f"P{number}.nii.gz", slices=5)
    (tmp_path / "raw" / "README.md").touch()
    store = run(tmp_path / "raw", tmp_path / "out" / "mri.h5", central_slices=3)
    assert store.split_kind == "patients"
    assert [len(store.patients(split)) for split in SPLITS] == [3, 2, 1]
    groups = [set(store.patients(split)) for split in SPLITS]
    assert set.union(*groups) == {patient_id(f"P{number}") for number in range(6)}
    assert sum(map(len, groups)) == 6
    assert [ref.slice_index for ref in store.slices("test")] == [1, 2, 3]
    assert store.degradation["factor"] == 4
    assert store.degradation["seed"] == 0
    said = capsys.readouterr().out
    for text in ("10x8", "0.50x0.50", "1 x not a NIfTI", "amir_lightning.train task=mri"):
        assert text in said


def test_prepare_is_reproducible_and_seeded(tmp_path: Path) -> None:
    for number in range(4):
        nifti(tmp_path / "raw" / f"P{number}.nii.gz")
    first = run(tmp_path / "raw", tmp_path / "a.h5")
    assert run(tmp_path / "raw", tmp_path / "b.h5").fingerprint == first.fingerprint
    assert run(tmp_path / "raw", tmp_path / "c.h5", seed=1).fingerprint != first.fingerprint
    (tmp_path / "raw" / "P3.nii.gz").unlink()
    fewer = run(tmp_path / "raw", tmp_path / "d.h5")
    key = patient_id("P1")
    for one, other in zip(_lq(first, key), _lq(fewer, key), strict=True):
        np.testing.assert_array_equal(one, other)


def _lq(store: Store, patient: str) -> list[np.ndarray]:
    refs = [ref for split in SPLITS for ref in store.slices(split) if ref.patient == patient]
    return [store.read(ref)[0] for ref in sorted(refs)]


def test_too_few_patients_are_split_into_blocks_with_a_gap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("P1", "P2"):
        nifti(tmp_path / "raw" / f"{name}.nii.gz", slices=24)
    with caplog.at_level(logging.WARNING):
        store = run(tmp_path / "raw", tmp_path / "mri.h5", gap=2)
    assert store.split_kind == "slice blocks"
    assert "2 patients cannot fill the splits train, val, test" in caplog.text
    for key in (patient_id("P1"), patient_id("P2")):
        positions = {
            split: {ref.slice_index for ref in store.slices(split) if ref.patient == key}
            for split in SPLITS
        }
        assert all(positions.values())
        for one in SPLITS:
            for other in SPLITS:
                if one != other:
                    assert min(abs(a - b) for a in positions[one] for b in positions[other]) > 2


def test_a_split_file_decides(tmp_path: Path) -> None:
    for name in ("P1", "P2"):
        nifti(tmp_path / "raw" / f"{name}.nii.gz")
    (tmp_path / "splits.csv").write_text("patient,split\nP1,test\nP2,train\n")
    store = run(tmp_path / "raw", tmp_path / "mri.h5", split_file=tmp_path / "splits.csv")
    assert store.patients("test") == [patient_id("P1")]
    assert store.patients("train") == [patient_id("P2")]
    assert store.split_kind == "patients"


def test_a_damaged_file_stops_it_and_leaves_nothing(tmp_path: Path) -> None:
    for number in range(4):
        path = nifti(tmp_path / "raw" / f"P{number}.nii.gz")
    path.write_bytes(path.read_bytes()[:300])
    output = tmp_path / "out" / "mri.h5"
    with pytest.raises(InputError, match=r"P3\.nii\.gz"):
        run(tmp_path / "raw", output)
    assert not output.parent.exists()


def test_a_damaged_file_of_a_series_is_a_problem_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("P1", "P2", "P3"):
        dicom(tmp_path / "raw" / name, 3)
    path = min((tmp_path / "raw" / "P3").iterdir())
    path.write_bytes(path.read_bytes()[:200])
    (tmp_path / "raw" / "P3" / "notes.txt").touch()
    problem = rf"^{path} is not a readable DICOM image.*on_error=skip"
    with pytest.raises(InputError, match=problem):
        run(tmp_path / "raw", tmp_path / "mri.h5")
    run(tmp_path / "raw", tmp_path / "mri.h5", on_error="skip")
    assert "1 x not a NIfTI or DICOM image, 1 x unreadable; 1 x problem" in capsys.readouterr().out
    left_out = json.loads((tmp_path / "mri.manifest.json").read_text())["left_out"]
    assert left_out == {"not a NIfTI or DICOM image": 1, "unreadable": 1}


def test_wrong_units_are_told_from_an_empty_scan(tmp_path: Path) -> None:
    nifti(tmp_path / "raw" / "P1.nii.gz", level=1)
    with pytest.raises(InputError, match=r"P1 has values from 0\.5.*not a\.u\..*force_units=true"):
        run(tmp_path / "raw", tmp_path / "mri.h5")
    with pytest.raises(InputError, match=r"P1 has only air: values from 0\.5.* to .* a\.u\."):
        run(tmp_path / "raw", tmp_path / "mri.h5", force_units=True)
    assert run(tmp_path / "raw", tmp_path / "mri.h5", intensity_scale=1000.0).slices("train")


def test_nothing_personal_is_stored_or_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        dicom(tmp_path / "raw" / "P1", 9)
        task = dataclasses.replace(MRI, plane="coronal")
        store = run(tmp_path / "raw", tmp_path / "mri.h5", task=task)
    captured = capsys.readouterr()
    everything = captured.out + captured.err + caplog.text
    content = store.path.read_bytes()
    for private in ("Doe^Jane", "19700101", "ACC4711"):  # three letters may be part of a number
        assert private not in everything
        assert private.encode() not in content
    assert store.shape(store.slices("train")[0]) == (8, 9)
