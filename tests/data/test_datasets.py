"""Layouts of the paper's data sets, written with their real file names."""

import pickle
import zlib
from pathlib import Path

import cloudpickle
import nibabel as nib
import numpy as np
import pytest
import torch
from dicom_files import write_slice
from pydicom.uid import generate_uid

from amir_lightning.data.layouts import LAYOUTS, detect
from amir_lightning.data.layouts.archive import archive
from amir_lightning.data.layouts.ixi import ixi
from amir_lightning.data.layouts.mayo import mayo
from amir_lightning.data.layouts.paired import paired
from amir_lightning.data.layouts.pickles import read_array
from amir_lightning.data.layouts.roles import roles_of
from amir_lightning.data.layouts.table import table
from amir_lightning.data.pairs import AXES
from amir_lightning.errors import InputError
from amir_lightning.tasks import load_task

MRI, CT, PET = (load_task(name) for name in ("mri", "ct", "pet"))


def nifti(path: Path, shape: tuple[int, ...] = (8, 10, 6), origin: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(zlib.crc32(str(path).encode()))
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    affine[2, 3] = origin
    nib.save(nib.Nifti1Image(rng.uniform(0, 9, shape).astype(np.float32), affine), path)
    return path


def series(
    folder: Path, heights: list[float], level: int, names: str = "{:03d}.dcm", **tags: object
) -> None:
    """Write a CT series whose stored value is level plus height, in shuffled order of files."""
    uid = generate_uid()
    for number, height in enumerate(heights):
        stored = np.full((6, 8), level + round(height), np.uint16)
        place = (0.0, 0.0, float(height))
        values = {"SeriesInstanceUID": uid, "SliceThickness": 3.0, **tags}
        write_slice(folder / names.format(number), stored, place, **values)


def test_ixi_takes_one_sequence_and_knows_the_subject(tmp_path: Path) -> None:
    for name in ("IXI002-Guys-0828-T2", "IXI012-HH-1211-T2", "IXI002-Guys-0828-T1"):
        nifti(tmp_path / "IXI-T2" / f"{name}.nii.gz")
    nifti(tmp_path / "IXI-T2" / "IXI013-HH-1212-T2.nii")
    (tmp_path / "IXI.xls").touch()
    found = ixi(tmp_path, MRI)
    assert [one.identity for one in found.patients] == ["IXI002", "IXI012", "IXI013"]
    assert sorted(one.reason for one in found.skipped) == ["not a file of IXI", "sequence T1"]
    assert detect(tmp_path, MRI) == "ixi"
    assert [one.key for one in ixi(tmp_path, MRI, sequence="t1").patients] == [
        "IXI002-Guys-0828-T1"
    ]


def challenge(root: Path, patient: str = "L506", **tags: object) -> None:
    """Write the 2016 challenge: file numbers and order differ between the doses."""
    own = {"PatientID": patient, **tags}
    name = patient + "_{0}_3_1.CT.00{1}.{{:04d}}.2015.12.22.20.19.39.34094.358586575.IMA"
    series(root / patient / "full_3mm", [0, 3, 6, 9], 1000, name.format("FD", "01"), **own)
    series(root / patient / "quarter_3mm", [9, 6, 3, 0], 2000, name.format("QD", "03"), **own)


def test_mayo_challenge_pairs_by_position(tmp_path: Path) -> None:
    challenge(tmp_path)
    challenge(tmp_path, "L067")
    found = mayo(tmp_path, CT)
    assert [one.key for one in found.patients] == ["L067", "L506"]
    scan = cloudpickle.loads(cloudpickle.dumps(found.patients[1].read))()
    assert scan.lq is not None
    # Stored 1000 + height and 2000 + height, intercept -1024.
    np.testing.assert_array_equal(scan.hq.array[:, 0, 0], [-24, -21, -18, -15])
    np.testing.assert_array_equal(scan.lq.array - scan.hq.array, 1000)
    assert detect(tmp_path, CT) == "mayo"
    assert detect(tmp_path / "L506", CT) == "mayo"


def test_mayo_drops_slices_without_a_partner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    series(tmp_path / "L067" / "full_3mm", [0, 3, 6, 9], 1000)
    series(tmp_path / "L067" / "quarter_3mm", [3, 6, 9, 12], 2000)
    (patient,) = mayo(tmp_path, CT).patients
    scan = patient.read()
    assert scan.lq is not None
    np.testing.assert_array_equal(scan.lq.array - scan.hq.array, 1000)
    assert scan.hq.affine[2, 3] == scan.lq.affine[2, 3] == 3
    assert "left out 2 slices without a partner" in caplog.text


def test_mayo_refuses_what_does_not_belong_together(tmp_path: Path) -> None:
    for name, tags, reason in [
        ("shifted", {"heights": [1.5, 4.5, 7.5]}, "only 0 of 3"),
        ("spacing", {"PixelSpacing": [1.0, 1.0]}, "differ in size, spacing"),
        ("person", {"PatientID": "other"}, "different Patient IDs"),
    ]:
        heights = tags.pop("heights", [0.0, 3.0, 6.0])
        root = tmp_path / name
        series(root / "L067" / "full_3mm", [0, 3, 6], 1000)
        series(root / "L067" / "quarter_3mm", heights, 2000, **tags)
        (patient,) = mayo(root, CT).patients
        with pytest.raises(InputError, match=reason):
            patient.read()
    series(tmp_path / "both" / "L067" / "full_3mm", [0, 3], 1, SeriesDescription="Low Dose Images")
    with pytest.raises(InputError, match="says full and .* says reduced"):
        mayo(tmp_path / "both", CT)


def test_mayo_tcia_skips_projections_and_other_reconstructions(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = tmp_path / "LDCT-and-Projection-data" / "L123" / "08-23-2018-75696"
    own = {"PatientID": "L123"}
    series(study / "1.000000-Full dose images-67226", [0, 1, 2], 1000, "1-{:03d}.dcm", **own)
    series(study / "1.000000-Low Dose Images-07574", [0, 1, 2], 2000, "1-{:03d}.dcm", **own)
    thin = {"SliceThickness": 1.0, "ConvolutionKernel": "B30f", **own}
    series(study / "3.000000-Full Dose Images-1", [0, 1, 2, 3], 3000, **thin)
    series(study / "4.000000-low dose images-2", [0, 1, 2, 3], 4000, **thin)
    series(study / "2.000000-Full Dose Projections-3", [0, 1], 1, **own)
    (tmp_path / "LDCT-and-Projection-data" / "metadata.csv").write_text("Series UID\n")
    root = tmp_path / "LDCT-and-Projection-data"
    found = mayo(root, CT)
    (patient,) = found.patients
    assert len(patient.files) == 8
    assert "taking 1 mm B30f" in caplog.text
    reasons = [one.reason for one in found.skipped]
    assert reasons.count("raw projections") == 2
    assert reasons.count("another reconstruction") == 6
    (thick,) = mayo(root, CT, thickness_mm=3.0).patients
    assert len(thick.files) == 6
    assert detect(root, CT) == "mayo"


@pytest.mark.parametrize(
    "inside", ["", "LDCT-and-Projection-data", "manifest-1/LDCT-and-Projection-data"]
)
@pytest.mark.parametrize("classic", [False, True])
def test_tcia_as_its_downloader_unpacks_it(tmp_path: Path, inside: str, classic: bool) -> None:
    raw_dir = tmp_path / "LDCT-and-Projection-data"
    for number, patient in enumerate(("C004", "L012", "N003")):
        study = raw_dir / inside / patient / "08-30-2018-NA-NA-62464"
        for level, words in ((1000, "Full Dose Images"), (2000, "Low Dose Images")):
            # The downloader's classic names are UIDs, so only the header names the dose.
            name = generate_uid() if classic else f"1.000000-{words}-{level + number}"
            own = {"PatientID": patient, "SeriesDescription": words}
            series(study / name, [0, 1, 2], level, "1-{:03d}.dcm", **own)
    (raw_dir / inside / "metadata.csv").write_text("Series UID\n")
    (raw_dir / inside / "LICENSE").touch()
    found = mayo(raw_dir, CT)
    assert [one.key for one in found.patients] == ["C004", "L012", "N003"]
    for patient in found.patients:
        scan = patient.read()
        assert scan.lq is not None
        np.testing.assert_array_equal(scan.lq.array - scan.hq.array, 1000)
    assert classic or detect(raw_dir, CT) == "mayo"


def test_the_challenge_as_its_box_folder_unpacks(tmp_path: Path) -> None:
    for patient in ("L067", "L506"):
        for level, dose, letter in ((1000, "full", "FD"), (2000, "quarter", "QD")):
            folder = tmp_path / f"Training_Image_Data/1mm B30/{letter}_1mm/{dose}_1mm"
            name = f"{patient}_{letter}_1_1.CT.0001.{{:04d}}.2015.12.22.18.09.40.840353.358.IMA"
            own = {"PatientID": patient, "SeriesDescription": f"{letter} 1.0  B30f"}
            series(folder / patient / f"{dose}_1mm", [0, 1, 2], level, name, **own)
    for raw_dir in (
        tmp_path,
        tmp_path / "Training_Image_Data",
        tmp_path / "Training_Image_Data/1mm B30",
    ):
        assert detect(raw_dir, CT) == "mayo"
        found = mayo(raw_dir, CT)
        assert [one.key for one in found.patients] == ["L067", "L506"]
        scan = found.patients[0].read()
        assert scan.lq is not None
        np.testing.assert_array_equal(scan.lq.array - scan.hq.array, 1000)


@pytest.mark.parametrize(
    ("places", "roles"),
    [
        (["HQ/P1/low_dose.nii", "HQ/P2/x.nii"], ["lq", None]),  # HQ is around all
        (["HQ/P1/a", "LQ/P1/a", "LQ/P2/full/a"], ["hq", "lq", "hq"]),
        (["Low/P1/full/a", "Low/P1/low/a", "Low/P1/scout/a", "b/c"], ["hq", "lq", None, None]),
        (["full_and_low/P1/a", "full_and_low/P1/quarter"], [None, "lq"]),
        (["input/P1/a", "target/P1/a"], ["lq", "hq"]),
        (["HQ/a"], ["hq"]),
        ([], []),
    ],
)
def test_the_innermost_name_decides(places: list[str], roles: list[str | None]) -> None:
    assert roles_of([tuple(place.split("/")) for place in places]) == roles


@pytest.mark.parametrize("collection", ["", "my-low-dose-study", "a/LDCT"])
def test_a_collections_own_folder_is_neither_role_nor_patient(
    tmp_path: Path, collection: str
) -> None:
    for number in (1, 2):
        for name in ("full/scan.nii", "low/scan.nii", "scout.nii"):
            nifti(tmp_path / collection / f"P{number}" / name)
    found = paired(tmp_path, MRI)
    assert [one.key for one in found.patients] == ["P1", "P2"]
    assert [one.reason for one in found.skipped] == ["neither full nor reduced"] * 2
    assert detect(tmp_path, MRI) == "pairs"


def test_mayo_leaves_out_a_patient_with_one_dose(tmp_path: Path) -> None:
    challenge(tmp_path)
    series(tmp_path / "L096" / "full_3mm", [0, 3], 1000)
    found = mayo(tmp_path, CT)
    assert [one.key for one in found.patients] == ["L506"]
    assert {one.reason for one in found.skipped} == {"patient without quarter-dose series"}


@pytest.mark.parametrize(
    ("hq", "lq"),
    [
        ("P{}/full.nii.gz", "P{}/low.nii.gz"),
        ("HQ/P{}.nii.gz", "LQ/P{}.nii.gz"),
        ("P{}_full_dose.nii", "P{}_low_dose.nii"),
        ("P{}/NDCT/scan.nii", "P{}/LDCT/scan.nii"),
    ],
)
def test_pairs_are_told_by_words(tmp_path: Path, hq: str, lq: str) -> None:
    for number in (1, 2):
        nifti(tmp_path / hq.format(number))
        nifti(tmp_path / lq.format(number))
    found = paired(tmp_path, MRI)
    assert [one.key for one in found.patients] == ["P1", "P2"]
    scan = found.patients[0].read()
    stored = nib.load(tmp_path / hq.format(1)).get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(scan.hq.array, stored.transpose(2, 1, 0))
    assert scan.lq is not None
    assert not np.array_equal(scan.lq.array, scan.hq.array)
    assert detect(tmp_path, MRI) == "pairs"


PET_TAGS = {
    "Modality": "PT",
    "Units": "GML",
    "RescaleIntercept": 0,
    "PatientID": "P1",
    "SeriesDescription": "WB",
}


def test_pet_pairs_are_told_by_frame_duration_or_pattern(tmp_path: Path) -> None:
    series(tmp_path / "P1" / "a", [0, 2, 4], 100, ActualFrameDuration=15000, **PET_TAGS)
    series(tmp_path / "P1" / "b", [0, 2, 4], 500, ActualFrameDuration=180000, **PET_TAGS)
    (patient,) = paired(tmp_path, PET).patients
    scan = patient.read()
    assert scan.lq is not None
    assert scan.hq.units == scan.lq.units == "SUV"
    np.testing.assert_allclose(scan.hq.array - scan.lq.array, 400)
    (other,) = paired(tmp_path, PET, hq="*/a/*", lq="*/b/*").patients
    np.testing.assert_allclose(other.read().hq.array, scan.lq.array)


def test_a_simulated_low_dose_may_be_a_derived_series(tmp_path: Path) -> None:
    series(tmp_path / "P1" / "full", [0, 3, 6], 1000)
    derived = ["DERIVED", "SECONDARY", "AXIAL"]
    series(tmp_path / "P1" / "low", [0, 3, 6], 2000, ImageType=derived)
    (patient,) = paired(tmp_path, CT).patients
    scan = patient.read()
    assert scan.lq is not None
    np.testing.assert_array_equal(scan.lq.array - scan.hq.array, 1000)


def test_pairs_that_cannot_be_told_are_asked_about(tmp_path: Path) -> None:
    for name in ("one", "two"):
        nifti(tmp_path / "P1" / f"{name}.nii")
    with pytest.raises(InputError, match=r"nothing tells the full.*layout_options\.hq="):
        paired(tmp_path, MRI)


def test_nifti_pairs_are_cut_to_what_both_show(tmp_path: Path) -> None:
    nifti(tmp_path / "P1" / "full.nii", (8, 10, 6), origin=0)
    nifti(tmp_path / "P1" / "low.nii", (8, 10, 6), origin=4)
    (patient,) = paired(tmp_path, MRI).patients
    scan = patient.read()
    assert scan.lq is not None
    full = nib.load(tmp_path / "P1" / "full.nii").get_fdata(dtype=np.float32)
    low = nib.load(tmp_path / "P1" / "low.nii").get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(scan.hq.array, full.transpose(2, 1, 0)[2:])
    np.testing.assert_array_equal(scan.lq.array, low.transpose(2, 1, 0)[:4])
    assert scan.hq.affine[2, 3] == 4
    nifti(tmp_path / "P1" / "low.nii", (8, 10, 6), origin=1)
    with pytest.raises(InputError, match="resample one onto the other"):
        paired(tmp_path, MRI).patients[0].read()


def write_archive(root: Path) -> np.ndarray:
    """Write slices 2 and 10 of a patient as NumPy and torch pickles, and a test slice as NIfTI."""
    images = np.random.default_rng(0).uniform(0, 20, (2, 1, 6, 9)).astype(np.float32)
    for split, suffix in (("train", "bin"), ("test", "nii")):
        for role, factor in (("LQ", 0.5), ("HQ", 1.0)):
            folder = root / split / role
            folder.mkdir(parents=True)
            for image, index in zip(images * factor, (2, 10), strict=True):
                path = folder / f"IXI002-Guys_{split}_{index}.{suffix}"
                if suffix == "nii":  # the release writes arrays with x as the last axis
                    nib.save(nib.Nifti1Image(image[0].T.copy(), np.eye(4)), path)
                else:
                    content = torch.from_numpy(image) if index == 2 else image
                    path.write_bytes(pickle.dumps(content))
    return images[:, 0]


@pytest.mark.parametrize("name", ["All-in-One/PET", "PET"])
def test_the_archive_is_read_as_it_is(tmp_path: Path, name: str) -> None:
    images = write_archive(tmp_path / name)
    found = archive((tmp_path / name).parent, PET)
    assert [(one.key, one.split) for one in found.patients] == [
        ("IXI002-Guys_test", "test"),
        ("IXI002-Guys_train", "train"),
    ]
    for patient in found.patients:
        scan = patient.read()
        assert scan.lq is not None
        # Cutting along the plane of the task gives the slices of the files, in numeric order.
        np.testing.assert_array_equal(scan.hq.array.transpose(AXES[PET.plane]), images)
        np.testing.assert_array_equal(scan.lq.array * 2, scan.hq.array)
    assert detect(tmp_path / name, PET) == detect((tmp_path / name).parent, PET) == "archive"
    (tmp_path / name / "train" / "LQ" / "IXI002-Guys_train_2.bin").unlink()
    with pytest.raises(InputError, match="slice 2 of IXI002-Guys_train in only one of LQ and HQ"):
        archive((tmp_path / name).parent, PET)


class Runs:
    """A pickle that calls a function when it is loaded."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


def test_a_malicious_pickle_is_refused_and_does_nothing(tmp_path: Path) -> None:
    import os
    import subprocess

    touched = tmp_path / "touched"
    tricks = [
        Runs(os.system, f"touch {touched}"),
        Runs(eval, f"open({str(touched)!r}, 'w')"),
        Runs(subprocess.call, ["touch", str(touched)]),
        Runs(np.save, str(touched), [1]),
        Runs(np.load, str(touched), None, True),
        Runs(torch.load, str(touched)),
        Runs(torch.save, [1], str(touched)),
        [np.zeros(3), Runs(os.mkdir, str(touched))],
        Runs(getattr, dict, "pop"),
    ]
    for number, trick in enumerate(tricks):
        for protocol in (2, 4):
            path = tmp_path / f"{number}.bin"
            path.write_bytes(pickle.dumps(trick, protocol))
            with pytest.raises(InputError, match=r"asks to run .*nothing was run"):
                read_array(path)
    torch.save(Runs(os.system, f"touch {touched}"), tmp_path / "zip.bin")
    with pytest.raises(InputError, match="not a pickled array"):
        read_array(tmp_path / "zip.bin")
    assert not touched.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_arrays_and_tensors_come_out_of_pickles(
    tmp_path: Path, protocol: int, dtype: type[np.generic]
) -> None:
    array = np.arange(12).reshape(1, 3, 4).astype(dtype)
    contents = [array, torch.from_numpy(array), np.asfortranarray(array)]
    for content in contents:
        (tmp_path / "a.bin").write_bytes(pickle.dumps(content, protocol))
        np.testing.assert_array_equal(read_array(tmp_path / "a.bin"), array)
    torch.save(torch.from_numpy(array), tmp_path / "b.bin")
    np.testing.assert_array_equal(read_array(tmp_path / "b.bin"), array)


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    for name, data, reason in [
        ("text", b"hello", "not a pickled array"),
        ("dict", pickle.dumps({"a": 1}), "holds a dict"),
        ("words", pickle.dumps(np.array(["a"])), "not numbers"),
        ("objects", pickle.dumps(np.array([{}])), "not numbers"),
        ("cut", pickle.dumps(np.zeros(100))[:60], "not a pickled array"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=reason):
            read_array(tmp_path / name)


def test_a_table_names_files_and_splits(tmp_path: Path) -> None:
    nifti(tmp_path / "raw" / "a.nii")
    nifti(tmp_path / "raw" / "b" / "full.nii")
    nifti(tmp_path / "raw" / "b" / "low.nii.gz")
    csv = tmp_path / "list.csv"
    csv.write_text("patient,hq,lq,split\nA,a.nii,,train\nB,b/full.nii,b/low.nii.gz,testing\n")
    found = table(tmp_path / "raw", MRI, csv)
    assert [(one.key, one.split) for one in found.patients] == [("A", "train"), ("B", "test")]
    assert found.patients[0].read().lq is None
    assert found.patients[1].read().lq is not None
    for text, reason in [
        ("patient,hq\nA,absent.nii\n", "row 2 .* names 'absent.nii', which does not exist"),
        ("patient,scan\nA,a.nii\n", "columns patient, scan"),
        ("patient,hq,split\nA,a.nii,trian\n", "row 2 .*'trian'; choose from train, val, test"),
        ("patient,hq\nA,a.nii\nA,a.nii\n", "two scans named A"),
        ("patient,hq\nA,b\n", "holds 2 NIfTI files"),
        ("patient,hq\n,a.nii\n", "row 2 .* names no patient"),
    ]:
        csv.write_text(text)
        with pytest.raises(InputError, match=reason):
            table(tmp_path / "raw", MRI, csv)
    with pytest.raises(InputError, match="table=<csv>"):
        table(tmp_path / "raw", MRI)


def test_a_plain_folder_is_detected_as_such(tmp_path: Path) -> None:
    nifti(tmp_path / "raw" / "P1.nii.gz")
    nifti(tmp_path / "raw" / "fullerton" / "scan.nii")
    assert detect(tmp_path / "raw", MRI) == "folder"
    assert set(LAYOUTS) == {"ixi", "mayo", "pairs", "archive", "table", "folder", "fastmri", "bids"}
