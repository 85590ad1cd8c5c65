"""Written scans read back with equal values and positions, also by other readers."""

import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import enhanced, write_slice
from pydicom.uid import (
    EnhancedCTImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    generate_uid,
)

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.scan import DicomScan
from amir_lightning.io.dicom.writer import check_dicom_series, write_dicom_series
from amir_lightning.io.nifti.scan import NiftiScan
from amir_lightning.io.nifti.writer import write_nifti_like


def oblique(code: str) -> np.ndarray:
    """Affine of an oblique, flipped scan with permuted axes."""
    turn = nib.orientations.axcodes2ornt(tuple(code))
    affine = np.eye(4)
    for axis, (target, sign) in enumerate(turn):
        affine[int(target), axis] = sign * (1.0 + 0.5 * axis)
    angle = np.deg2rad(10)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, 3] = 7, -5, 3
    return tilt @ affine


@pytest.mark.parametrize("code", ["LPS", "RAS", "PIR", "SAL"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_comes_back_in_its_own_order(tmp_path: Path, code: str, suffix: str) -> None:
    voxels = np.random.default_rng(0).uniform(-5, 5, (5, 6, 7)).astype(np.float32)
    image = nib.Nifti1Image(voxels, oblique(code))
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_intent("estimate", name="x")
    image.header["descrip"] = b"as it was"
    source = tmp_path / f"in{suffix}"
    nib.save(image, source)
    scan = NiftiScan(source)
    output = tmp_path / f"out{suffix}"
    write_nifti_like(scan, scan.read().array * 2, output)
    back = nib.load(output)
    np.testing.assert_array_equal(back.get_fdata(dtype=np.float32), voxels * 2)
    np.testing.assert_array_equal(back.affine, nib.load(source).affine)
    for key in ("sform_code", "qform_code", "xyzt_units", "intent_code", "descrip"):
        assert back.header[key] == nib.load(source).header[key]
    np.testing.assert_array_equal(NiftiScan(output).read().array, scan.read().array * 2)


def test_float_output_is_not_quantised_and_the_sources_type_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "in.nii")
    scan = NiftiScan(tmp_path / "in.nii")
    values = scan.read().array + np.float32(0.123)
    write_nifti_like(scan, values, tmp_path / "float.nii")
    np.testing.assert_array_equal(NiftiScan(tmp_path / "float.nii").read().array, values)
    values[0, 0, 0] = 1e6
    write_nifti_like(scan, values, tmp_path / "same.nii", "source")
    back = nib.load(tmp_path / "same.nii")
    assert back.get_data_dtype() == np.int16
    read = NiftiScan(tmp_path / "same.nii").read().array
    assert np.abs(read - values).ravel()[1:].max() <= 0.25
    assert "1 of them clipped" in caplog.text
    with pytest.raises(InputError, match="choose from float32, source"):
        write_nifti_like(scan, values, tmp_path / "x.nii", "int8")  # type: ignore[arg-type]


def ct(folder: Path, **tags: object) -> DicomScan:
    """Write three sagittal slices with -2000 in a corner, in reverse order of files."""
    uid = generate_uid()
    for number in range(3):
        stored = np.random.default_rng(number).integers(900, 1200, (5, 7)).astype(np.int16)
        stored[0, :2] = -2000
        values = {
            "SeriesInstanceUID": uid,
            "StudyInstanceUID": "1.2.826.0.1.1",
            "FrameOfReferenceUID": "1.2.826.0.1.2",
            "PixelPaddingValue": -2000,
            "SeriesDescription": "Abdomen",
            "SeriesNumber": 4,
            "WindowCenter": "40",
            "WindowWidth": "400",
            "SmallestImagePixelValue": 0,
            **tags,
        }
        position = (0.0, 0.0, 6.0 - 2 * number)
        write_slice(folder / f"{number}.dcm", stored, position, **values)
    return DicomScan(folder.glob("*.dcm"))


def test_a_derived_series_lies_where_its_source_lies(tmp_path: Path) -> None:
    scan = ct(tmp_path / "in")
    volume = scan.read()
    values = volume.array + np.float32(10.4)
    files = write_dicom_series(
        scan, values, tmp_path / "out", description="AMIR restored", derivation="CT Denoising"
    )
    assert [path.name for path in files] == ["0001.dcm", "0002.dcm", "0003.dcm"]
    back = DicomScan(files)
    padding = volume.array < -2000
    assert padding.sum() == 6
    np.testing.assert_array_equal(back.read().array[padding], volume.array[padding])
    assert np.abs(back.read().array - values)[~padding].max() <= 0.5
    np.testing.assert_allclose(back.affine, scan.affine)
    source, derived = scan.dataset(0), pydicom.dcmread(files[0])
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "WindowCenter"):
        assert derived[keyword].value == source[keyword].value
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID", "SeriesNumber"):
        assert derived[keyword].value != source[keyword].value
    assert derived.file_meta.MediaStorageSOPInstanceUID == derived.SOPInstanceUID
    assert list(derived.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert derived.SeriesDescription == "AMIR restored"
    assert derived.DerivationDescription == "CT Denoising"
    assert derived.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert "SmallestImagePixelValue" not in derived
    datasets = [pydicom.dcmread(path) for path in files]
    assert len({one.SOPInstanceUID for one in datasets}) == 3
    assert len({one.SeriesInstanceUID for one in datasets}) == 1
    assert [one.InstanceNumber for one in datasets] == [1, 2, 3]
    with pytest.raises(InputError, match="is not empty"):
        write_dicom_series(scan, values, tmp_path / "out", description="", derivation="")


def test_values_beyond_the_stored_type_are_clipped_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scan = ct(tmp_path / "in")
    values = scan.read().array.copy()
    values[0, 4, 4] = 1e6
    files = write_dicom_series(scan, values, tmp_path / "out", description="", derivation="")
    assert DicomScan(files).read().array[0, 4, 4] == 32767 - 1024
    assert "clipped 1 restored value beyond" in caplog.text


@pytest.mark.parametrize("signed", [False, True])
def test_values_beyond_the_used_bits_take_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, signed: bool
) -> None:
    stored = np.full((5, 7), 100, np.int16 if signed else np.uint16)
    tags = {"Modality": "MR", "BitsStored": 12, "HighBit": 11, "RescaleIntercept": 0}
    path = write_slice(tmp_path / "a.dcm", stored, (0, 0, 0), RescaleSlope="0.25", **tags)
    values = np.full((1, 5, 7), 1500, np.float32)
    scan = DicomScan([path])
    files = write_dicom_series(scan, values, tmp_path / "out", description="", derivation="")
    np.testing.assert_array_equal(DicomScan(files).read().array, values)
    assert pydicom.dcmread(files[0]).HighBit == 15
    assert "beyond" not in caplog.text


def test_pet_goes_back_to_its_units_with_a_slope_for_each_slice(tmp_path: Path) -> None:
    for number, slope in enumerate((0.5, 2.0, 0.0625)):
        stored = np.random.default_rng(number).integers(0, 32767, (5, 7)).astype(np.int16)
        write_slice(
            tmp_path / "in" / f"{number}.dcm",
            stored,
            (0.0, 0.0, 3.0 * number),
            SOPClassUID=PositronEmissionTomographyImageStorage,
            Modality="PT",
            Units="GML",
            RescaleSlope=slope,
            RescaleIntercept=0,
        )
    scan = DicomScan((tmp_path / "in").glob("*.dcm"))
    values = scan.read().array * np.float32(0.97)
    files = write_dicom_series(scan, values, tmp_path / "out", description="", derivation="")
    back = DicomScan(files)
    for index in range(3):
        step = float(scan.dataset(index).RescaleSlope)
        where = scan.placement.where(index)
        assert np.abs(back.read().array[where] - values[where]).max() <= step / 2
    assert back.units == "SUV"


def test_tissue_is_not_written_as_padding(tmp_path: Path) -> None:
    scan = ct(tmp_path / "in", PixelPaddingValue=1064)  # 40 HU
    values = scan.read().array
    values[values > -1500] = 40
    files = write_dicom_series(scan, values, tmp_path / "out", description="", derivation="")
    back = DicomScan(files).read().array
    np.testing.assert_array_equal(back[values == 40], 41)


def test_what_cannot_be_written_again_leaves_nothing(tmp_path: Path) -> None:
    scan = ct(tmp_path / "in")
    path = scan.files[2]
    whole, table = pydicom.dcmread(path), pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "HU"
    table.add_new("LUTData", "US", [0, 10, 20, 30])
    whole.ModalityLUTSequence = [table]
    whole.save_as(path)
    for existing in (False, True):
        if existing:
            (tmp_path / "out").mkdir()
        with pytest.raises(InputError, match="lookup table"):
            write_dicom_series(
                scan, np.zeros(scan.shape), tmp_path / "out", description="", derivation=""
            )
        assert list(tmp_path.glob("out*")) == [tmp_path / "out"] * existing
        assert not list(tmp_path.glob("out/*"))
    del whole.ModalityLUTSequence
    del whole.SOPInstanceUID
    whole.save_as(path)
    with pytest.raises(InputError, match="cannot be written again"):
        check_dicom_series(scan)


def test_a_private_copy_in_a_frame_replaces_nothing_public(tmp_path: Path) -> None:
    stored = enhanced(tmp_path / "a.dcm", [6.0, 0.0, 3.0])
    whole = pydicom.dcmread(tmp_path / "a.dcm")
    for number, frame in enumerate(whole.PerFrameFunctionalGroupsSequence):
        copy = pydicom.Dataset()
        copy.ImagePositionPatient = [0, 0, 100 - number]
        copy.SOPClassUID, copy.SOPInstanceUID = MRImageStorage, generate_uid()
        copy.Rows, copy.RescaleSlope, copy.RescaleIntercept = 2, "9", "9"
        copy.ImageType = ["DERIVED", "SECONDARY", "MPR"]
        block = frame.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        block.add_new(0x0F, "SQ", [copy])
    whole.save_as(tmp_path / "a.dcm")
    scan = DicomScan([tmp_path / "a.dcm"])
    values = scan.read().array
    np.testing.assert_array_equal(values, stored[[1, 2, 0]].astype(np.float32) - 1024)
    files = write_dicom_series(scan, values, tmp_path / "out", description="", derivation="")
    for path, frame in zip(files, (2, 3, 1), strict=True):
        (source,) = pydicom.dcmread(path).SourceImageSequence
        assert source.ReferencedSOPClassUID == EnhancedCTImageStorage
        assert source.ReferencedSOPInstanceUID == whole.SOPInstanceUID
        assert source.ReferencedFrameNumber == frame


def test_monochrome1_and_compressed_sources(tmp_path: Path) -> None:
    for number in range(2):
        stored = np.random.default_rng(number).integers(0, 4095, (6, 8)).astype(np.uint16)
        path = write_slice(
            tmp_path / "in" / f"{number}.dcm",
            stored,
            (0.0, 0.0, float(number)),
            Modality="MR",
            PhotometricInterpretation="MONOCHROME1",
            BitsStored=12,
            HighBit=11,
            RescaleIntercept=0,
        )
        dataset = pydicom.dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
    scan = DicomScan((tmp_path / "in").glob("*.dcm"))
    values = scan.read().array
    files = write_dicom_series(scan, values, tmp_path / "out", description="", derivation="")
    np.testing.assert_array_equal(DicomScan(files).read().array, values)
    assert not pydicom.dcmread(files[0]).file_meta.TransferSyntaxUID.is_compressed


def test_dciodvfy_finds_no_new_error(tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian: dicom3tools) is not installed")
    scan = ct(tmp_path / "in")
    files = write_dicom_series(
        scan, scan.read().array, tmp_path / "out", description="x", derivation="y"
    )

    def errors(path: Path) -> set[str]:
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        return {line for line in (done.stdout + done.stderr).splitlines() if "Error" in line}

    assert errors(files[0]) <= errors(scan.files[0])
