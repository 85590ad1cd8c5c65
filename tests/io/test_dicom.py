from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import write_slice, write_stack
from pydicom.uid import (
    BasicTextSRStorage,
    JPEG2000Lossless,
)

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.scan import DicomScan
from amir_lightning.io.dicom.series import find_dicom_series, read_dicom_series


def test_sorted_by_position_and_placed_in_the_world(tmp_path: Path) -> None:
    volume = read_dicom_series(write_stack(tmp_path, [6.0, 0.0, 9.0, 3.0]))
    assert volume.array[:, 0, 0].tolist() == [-24, 6, 36, 66]
    assert volume.array.shape == (4, 4, 6)
    assert volume.spacing_mm == pytest.approx((3.0, 2.0, 0.5))
    # DICOM's x and y axes point left and posterior, those of the affine right and anterior.
    np.testing.assert_allclose(volume.affine @ [0, 0, 0, 1], [10, 20, 0, 1])
    np.testing.assert_allclose(volume.affine @ [1, 0, 1, 1], [9.5, 20, 3, 1])
    assert volume.units == "HU"
    assert "Doe" not in volume.source


def test_flipped_axes_come_to_lps(tmp_path: Path) -> None:
    # Rows and columns run to the right and to anterior: the first voxel is left and posterior.
    stored = np.arange(24, dtype=np.int16).reshape(4, 6)
    files = [
        write_slice(
            tmp_path / f"{z}.dcm",
            stored + 100 * z,
            (10.0, 20.0, float(z)),
            ImageOrientationPatient=[-1, 0, 0, 0, -1, 0],
            RescaleIntercept=0,
        )
        for z in range(3)
    ]
    volume = read_dicom_series(files)
    np.testing.assert_array_equal(volume.array[1], stored[::-1, ::-1] + 100)
    # The left-most, posterior-most pixel keeps its world position.
    np.testing.assert_allclose(volume.affine @ [5, 3, 0, 1], [-10, -20, 0, 1])


def test_sagittal_series_is_turned(tmp_path: Path) -> None:
    files = [
        write_slice(
            tmp_path / f"{x}.dcm",
            np.full((4, 6), x, np.int16),
            (float(x), 0.0, 0.0),
            ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
            RescaleIntercept=0,
        )
        for x in range(3)
    ]
    volume = read_dicom_series(files)
    assert volume.array.shape == (4, 6, 3)
    assert volume.array[0, 0].tolist() == [0, 1, 2]
    assert volume.spacing_mm == pytest.approx((2.0, 0.5, 1.0))


def test_each_slice_has_its_own_slope(tmp_path: Path) -> None:
    stored = np.full((4, 6), 100, np.uint16)
    files = [
        write_slice(
            tmp_path / f"{z}.dcm",
            stored,
            (0.0, 0.0, float(z)),
            Modality="MR",
            RescaleSlope=slope,
            RescaleIntercept=0,
        )
        for z, slope in enumerate([1.0, 2.5, 0.1])
    ]
    volume = read_dicom_series(files)
    np.testing.assert_allclose(volume.array[:, 0, 0], [100, 250, 10], rtol=1e-6)
    assert volume.units == "a.u."


def test_signed_values_and_padding_below_air(tmp_path: Path) -> None:
    stored = np.array([[-2000, -1024], [0, 3071]], np.int16)
    path = write_slice(tmp_path / "a.dcm", stored, (0, 0, 0), PixelPaddingValue=-2000)
    volume = read_dicom_series([path])
    assert volume.array[0].tolist() == [[-3024, -2048], [-1024, 2047]]
    assert volume.spacing_mm[0] == pytest.approx(3.0)


def test_monochrome1_mirrors_only_values_without_a_unit(tmp_path: Path) -> None:
    stored = np.array([[0, 1], [2, 4095]], np.uint16)
    shown = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    mr = write_slice(
        tmp_path / "mr.dcm",
        stored,
        (0, 0, 0),
        Modality="MR",
        RescaleSlope=None,
        RescaleIntercept=None,
        **shown,
    )
    assert read_dicom_series([mr]).array[0].tolist() == [[4095, 4094], [4093, 0]]
    ct = write_slice(tmp_path / "ct.dcm", stored, (0, 0, 0), **shown)
    assert read_dicom_series([ct]).array[0].tolist() == [[-1024, -1023], [-1022, 3071]]


def test_a_missing_slice_is_warned_about_with_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = read_dicom_series(write_stack(tmp_path, [0.0, 3.0, 9.0, 12.0]))
    assert "missing slice" in caplog.text
    assert "001.dcm and 002.dcm" in caplog.text
    assert volume.spacing_mm[0] == pytest.approx(3.0)


def test_uneven_spacing_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_dicom_series(write_stack(tmp_path, [0.0, 3.0, 6.5, 9.5, 12.5]))
    assert "uneven spacing in 1 gap," in caplog.text


@pytest.mark.parametrize(
    ("heights", "off"),
    [
        ([0.0, 3.0, 6.0, 9.0], None),
        (
            [0.0, 0.62, 1.25, 1.88, 2.5, 3.12, 3.75, 4.38, 5.0, 5.62, 6.25, 6.88, 7.5],
            None,
        ),  # rounded, as 0.625 often is
        ([0.0, 3.0, 9.0, 12.0], "3.00 mm off"),  # one is missing
        ([0.0, 2.0, 4.0, 6.0, 5.0, 7.0, 9.0], "3.00 mm off"),  # two passes off each other's grid
    ],
)
def test_a_stack_that_one_affine_cannot_place_is_no_nifti(
    tmp_path: Path, heights: list[float], off: str | None
) -> None:
    scan = DicomScan(write_stack(tmp_path, heights))
    if off is None:
        scan.check_grid()
        last = scan.affine @ [0, 0, len(heights) - 1, 1]
        assert last[2] == pytest.approx(max(heights), abs=0.05 * scan.spacing_mm[0])
        return
    with pytest.raises(InputError, match=off) as caught:
        scan.check_grid()
    assert "format=same" in str(caught.value)


def test_a_stack_that_steps_sideways_is_no_nifti(tmp_path: Path) -> None:
    files = [
        write_slice(tmp_path / f"{z}.dcm", np.zeros((4, 6), np.uint16), (float(z > 2), 0.0, z))
        for z in range(6)
    ]
    with pytest.raises(InputError, match="mm off its place"):
        DicomScan(files).check_grid()


def test_passes_that_share_a_position_are_told_apart_by_acquisition(tmp_path: Path) -> None:
    for number, heights in enumerate([[0.0, 3.0, 6.0], [9.0, 12.0], [12.0, 15.0, 18.0]]):
        write_stack(tmp_path / str(number), heights, AcquisitionNumber=number)
    files = []
    for number, path in enumerate(sorted(tmp_path.rglob("*.dcm"))):  # all in one folder
        files.append(path.rename(tmp_path / f"{number}.dcm"))
    series, skipped = find_dicom_series(files)
    assert sorted(len(one.files) for one in series) == [2, 3, 3]
    assert not skipped


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"RescaleIntercept": "nan"}, "RescaleIntercept that is not a number"),
        ({"RescaleSlope": "inf"}, "RescaleSlope that is not a number"),
        ({"RescaleSlope": "0"}, r"RescaleSlope \(0028,1053\) 0"),
    ],
)
@pytest.mark.parametrize("modality", ["MR", "CT", "PT"])
def test_a_rescale_that_says_nothing_is_refused(
    tmp_path: Path, tags: dict[str, str], reason: str, modality: str
) -> None:
    files = write_stack(tmp_path, [0.0, 3.0], Modality=modality, Units="GML", **tags)
    with pytest.raises(InputError, match=reason) as caught:
        read_dicom_series(files)
    assert "truncated" not in str(caught.value)


def test_files_that_do_not_form_a_stack_are_refused(tmp_path: Path) -> None:
    stack = write_stack(tmp_path / "stack", [0.0, 3.0])
    pixels = np.zeros((4, 6), np.uint16)
    others = {
        "same position": {"position": (-10.0, -20.0, 3.0)},
        "PixelSpacing": {"PixelSpacing": [2.0, 0.6]},
        "ImageOrientationPatient": {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
        "PatientID": {"PatientID": "P2"},
        "localizer": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "ImagePositionPatient": {"ImagePositionPatient": None},
    }
    for reason, changes in others.items():
        position = changes.pop("position", (-10.0, -20.0, 6.0))
        other = write_slice(tmp_path / "other.dcm", pixels, position, **changes)
        with pytest.raises(InputError, match=reason) as caught:
            read_dicom_series([*stack, other])
        assert "other.dcm" in str(caught.value)
    small = write_slice(tmp_path / "small.dcm", pixels[:2], (-10.0, -20.0, 6.0))
    with pytest.raises(InputError, match="Rows"):
        read_dicom_series([*stack, small])


@pytest.mark.parametrize("keep", [0.05, 0.5, 0.97])
def test_truncated_files_are_refused_by_name(tmp_path: Path, keep: float) -> None:
    path = write_slice(tmp_path / "cut.dcm", np.zeros((64, 64), np.uint16), (0, 0, 0))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(InputError, match=r"cut\.dcm"):
        read_dicom_series(find_dicom_series([path])[0][0].files)


def test_a_missing_codec_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_slice(tmp_path / "a.dcm", np.zeros((4, 6), np.uint16), (0, 0, 0))
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.PixelData = pydicom.encaps.encapsulate([b"\0" * 32])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)

    class NoCodec:
        is_available = False

    monkeypatch.setattr("amir_lightning.io.dicom.pixels.get_decoder", lambda _: NoCodec())
    with pytest.raises(InputError, match=r"JPEG 2000.*pip install"):
        read_dicom_series([path])


def test_rle_needs_no_extra_codec(tmp_path: Path) -> None:
    stored = np.arange(24, dtype=np.uint16).reshape(4, 6)
    path = write_slice(tmp_path / "a.dcm", stored, (0, 0, 0), RescaleIntercept=0)
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_dicom_series([path]).array[0], stored)


def test_a_mixed_folder_is_sorted_into_series(tmp_path: Path) -> None:
    write_stack(tmp_path / "short", [0.0, 3.0], SeriesInstanceUID="1.1")
    write_stack(tmp_path / "long", [0.0, 3.0, 6.0], SeriesInstanceUID="1.2", Modality="MR")
    pixels = np.zeros((4, 6), np.uint16)
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_slice(tmp_path / "scout.IMA", pixels, (0, 0, 0), **scout)
    (tmp_path / "LICENSE.txt").write_text("CC BY")
    report = pydicom.dcmread(tmp_path / "scout.IMA")
    for keyword in ("Rows", "Columns", "PixelData"):
        delattr(report, keyword)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    report.save_as(tmp_path / "report")
    series, skipped = find_dicom_series(p for p in tmp_path.rglob("*") if p.is_file())
    assert [(one.uid, one.modality, len(one.files)) for one in series] == [
        ("1.2", "MR", 3),
        ("1.1", "CT", 2),
    ]
    assert {one.path.name: one.reason for one in skipped} == {
        "LICENSE.txt": "not a NIfTI or DICOM image",
        "report": "DICOM without an image",
        "scout.IMA": "localizer",
    }


def test_a_pet_series_becomes_suv(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracer = pydicom.Dataset()
    tracer.RadionuclideTotalDose = 70e6
    tracer.RadionuclideHalfLife = 6588
    tracer.RadiopharmaceuticalStartTime = "120000"
    files = [
        write_slice(
            tmp_path / f"{z}.dcm",
            np.full((4, 6), 1000, np.int16),
            (0.0, 0.0, float(z)),
            Modality="PT",
            Units="BQML",
            DecayCorrection="ADMIN",
            PatientWeight=70,
            RescaleSlope=slope,
            RescaleIntercept=0,
            RadiopharmaceuticalInformationSequence=[tracer],
        )
        for z, slope in enumerate([1.0, 5.0])
    ]
    volume = read_dicom_series(files)
    np.testing.assert_allclose(volume.array[:, 0, 0], [1.0, 5.0], rtol=1e-6)
    assert volume.units == "SUV"
    for path in files:  # corrected to the start of the scan, with a date of injection years before
        header = pydicom.dcmread(path)
        header.SeriesDate, header.SeriesTime, header.DecayCorrection = "20240131", "130000", "START"
        (
            header.RadiopharmaceuticalInformationSequence[0]
        ).RadiopharmaceuticalStartDateTime = "19990101120000"
        header.save_as(path)
    read_dicom_series(files)
    assert f"{files[0]}: the date in RadiopharmaceuticalStartDateTime" in caplog.text
    for path in files:
        header = pydicom.dcmread(path)
        del header.PatientWeight
        header.save_as(path)
    with pytest.raises(InputError, match=r"PatientWeight \(0010,1030\)"):
        read_dicom_series(files)
