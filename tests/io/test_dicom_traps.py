"""Real DICOM folders, which hold more than one clean series."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import enhanced, write_slice, write_stack
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.scan import DicomScan
from amir_lightning.io.dicom.series import Damaged, Skipped, find_dicom_series, read_dicom_series
from amir_lightning.io.dicom.writer import write_dicom_series
from amir_lightning.io.scan import find_scans


def reasons(folder: Path) -> list[str]:
    return sorted(
        one.reason for one in find_dicom_series(path for path in folder.rglob("*.dcm"))[1]
    )


def test_what_is_no_slice_is_listed_with_its_reason(tmp_path: Path) -> None:
    write_stack(tmp_path / "scan", [0.0, 3.0, 6.0])
    pixels = np.zeros((4, 6), np.uint16)
    for name, tags in {
        "scout": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "mip": {"ImageType": ["DERIVED", "SECONDARY", "MIP"]},
        "mpr": {"ImageType": ["DERIVED", "SECONDARY", "MPR"]},
        "capture": {"SOPClassUID": SecondaryCaptureImageStorage},
        "projection": {"SeriesDescription": "Full Dose Projections"},
        "nowhere": {"ImagePositionPatient": None},
    }.items():
        uid = generate_uid()
        write_slice(tmp_path / f"{name}.dcm", pixels, (0, 0, 0), SeriesInstanceUID=uid, **tags)
    (one,), _ = find_dicom_series(tmp_path.rglob("*.dcm"))
    assert len(one.files) == 3
    assert reasons(tmp_path) == sorted(
        [
            "localizer",
            "projection or rendering",
            "reformat",
            "secondary capture",
            "raw projections",
            "image without ImagePositionPatient",
        ]
    )


def test_a_derived_series_is_read_where_the_patient_has_no_other(tmp_path: Path) -> None:
    derived = {"ImageType": ["DERIVED", "SECONDARY", "PROCESSED"]}
    write_stack(tmp_path / "a", [0.0, 3.0], PatientID="A")
    write_stack(tmp_path / "b", [0.0, 3.0], PatientID="B", SeriesInstanceUID="1.9", **derived)
    series, skipped = find_dicom_series(tmp_path.rglob("*.dcm"))
    assert {one.patient_id for one in series} == {"A", "B"}
    assert not skipped


def test_echoes_at_one_place_become_series_of_their_own(tmp_path: Path) -> None:
    for echo in (20.0, 80.0):
        write_stack(tmp_path / f"{echo:g}", [0.0, 3.0, 6.0], Modality="MR", EchoTime=echo)
    series, _ = find_dicom_series(tmp_path.rglob("*.dcm"))
    assert [len(one.files) for one in series] == [3, 3]
    for one in series:
        assert read_dicom_series(one.files).array.shape == (3, 4, 6)


@pytest.mark.parametrize("intercept", [-1024, 0])
def test_unsigned_padding_does_not_shine(tmp_path: Path, intercept: int) -> None:
    # -2000 in two's complement, in a file that says unsigned.
    stored = np.array([[63536, 1024], [1000, 2000]], np.uint16)
    path = write_slice(tmp_path / "a.dcm", stored, (0, 0, 0), RescaleIntercept=intercept)
    values = read_dicom_series([path]).array[0]
    assert values[0, 0] == -2000 + intercept
    np.testing.assert_array_equal(values.ravel()[1:], stored.ravel()[1:].astype(int) + intercept)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_the_value_are_not_the_value(tmp_path: Path, signed: bool) -> None:
    values = np.array([[-5, 7], [100, 2047]]) if signed else np.array([[0, 7], [100, 4095]])
    stored = (values & 0x0FFF).astype(np.uint16) | 0x1000  # an overlay in bit 12
    path = write_slice(
        tmp_path / "a.dcm",
        stored.view(np.int16) if signed else stored,
        (0, 0, 0),
        BitsStored=12,
        HighBit=11,
        RescaleIntercept=0,
    )
    np.testing.assert_array_equal(read_dicom_series([path]).array[0], values)


def test_a_file_without_preamble_is_read(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "a.dcm", np.full((4, 6), 1030, np.uint16), (0, 0, 0))
    whole = pydicom.dcmread(path)
    del whole.file_meta
    whole.preamble = None
    pydicom.dcmwrite(tmp_path / "bare", whole, implicit_vr=True, little_endian=True)
    assert (tmp_path / "bare").read_bytes()[:2] == b"\x08\x00"
    assert read_dicom_series([tmp_path / "bare"]).array.max() == 6


@pytest.mark.parametrize("kind", ["text", "cut header", "cut pixels", "encrypted"])
def test_damage_is_told_in_one_sentence_without_names(tmp_path: Path, kind: str) -> None:
    path = write_slice(tmp_path / "a.dcm", np.zeros((40, 60), np.uint16), (0, 0, 0))
    data = path.read_bytes()
    if kind == "text":
        path.write_text("patient Doe^Jane")
    elif kind == "encrypted":
        whole = pydicom.dcmread(path)
        sealed = Dataset()
        sealed.file_meta = whole.file_meta
        sealed.SOPClassUID, sealed.SOPInstanceUID = whole.SOPClassUID, whole.SOPInstanceUID
        sealed.EncryptedAttributesSequence = Sequence([Dataset()])
        sealed.save_as(path)
    else:
        path.write_bytes(data[: 500 if kind == "cut header" else len(data) - 100])
    with pytest.raises(InputError, match=r"a\.dcm is not a readable DICOM image") as caught:
        find_dicom_series([path])
    assert "Doe" not in str(caught.value)
    assert "force" not in str(caught.value)
    _, skipped = find_dicom_series([path], on_error="collect")
    assert skipped == [Damaged(path, str(caught.value))]
    if kind == "encrypted":
        assert "is encrypted" in str(caught.value)


def test_what_is_damaged_is_told_from_what_is_no_scan(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", np.zeros((40, 60), np.uint16), (0, 0, 0))
    whole = write_slice(tmp_path / "b.dcm", np.zeros((40, 60), np.uint16), (0, 0, 0)).read_bytes()
    (tmp_path / "b.dcm").write_bytes(whole[:500])
    (tmp_path / "c.nii.gz").write_bytes(b"cut")
    (tmp_path / "notes.txt").touch()
    (scan,), skipped = find_scans(tmp_path)
    assert scan.files == (tmp_path / "a.dcm",)
    damaged = {one.path.name: one.problem for one in skipped if isinstance(one, Damaged)}
    assert sorted(damaged) == ["b.dcm", "c.nii.gz"]
    assert all(name in problem for name, problem in damaged.items())
    assert [one for one in skipped if not isinstance(one, Damaged)] == [
        Skipped(tmp_path / "notes.txt", "not a NIfTI or DICOM image")
    ]


def test_an_enhanced_file_is_a_stack_of_frames(tmp_path: Path) -> None:
    stored = enhanced(tmp_path / "a.dcm", [6.0, 0.0, 3.0])
    (scan,), skipped = find_scans(tmp_path)
    assert not skipped
    assert isinstance(scan, DicomScan)
    volume = scan.read()
    np.testing.assert_array_equal(volume.array, stored[[1, 2, 0]].astype(np.float32) - 1024)
    assert volume.spacing_mm == pytest.approx((3.0, 2.0, 0.5))
    files = write_dicom_series(scan, volume.array, tmp_path / "out", description="", derivation="")
    assert [pydicom.dcmread(path).SOPClassUID for path in files] == [CTImageStorage] * 3
    back = read_dicom_series(files)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, volume.affine)


def test_a_copy_is_taken_once(tmp_path: Path) -> None:
    files = write_stack(tmp_path / "scan", [0.0, 3.0])
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "again.dcm").write_bytes(files[0].read_bytes())
    (one,), skipped = find_dicom_series(tmp_path.rglob("*.dcm"))
    assert len(one.files) == 2
    assert [each.reason for each in skipped] == ["copy of another file"]
