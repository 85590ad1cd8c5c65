"""DICOM images that are not slices of a scan, each kind recognised by its header."""

import os
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import as_frames, enhanced, write_slice, write_stack
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    EnhancedMRImageStorage,
    MRImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RTDoseStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import find_dicom_series, read_dicom_series, summarise
from amir_lightning.io.scan import find_scans

TYPED = {
    "localizer": [
        ["ORIGINAL", "PRIMARY", "LOCALIZER", "CT_SOM5 TOP"],
        ["ORIGINAL", "PRIMARY", "SCOUT"],
    ],
    "dose report": [
        ["DERIVED", "SECONDARY", "DOSE_INFO"],
        ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"],
    ],
    "screen capture": [["DERIVED", "SECONDARY", "SCREEN SAVE"]],
    "montage": [["DERIVED", "SECONDARY", "MONTAGE"]],
    "mosaic": [["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]],
    "projection or rendering": [
        ["DERIVED", "SECONDARY", "MIP"],
        ["DERIVED", "SECONDARY", "REFORMATTED", "MIN IP"],
        ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MIP"],
        ["DERIVED", "PRIMARY", "MNIP", "ND"],
        ["DERIVED", "SECONDARY", "PROJECTION IMAGE"],
        ["DERIVED", "SECONDARY", "VRT"],
    ],
    "reformat": [
        ["DERIVED", "SECONDARY", "MPR"],
        ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"],
        ["DERIVED", "PRIMARY", "MPR", "CSA MPR"],
        ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MPR"],
    ],
}
COLOURED = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PixelData": bytes(144)}
TAGGED = {
    "secondary capture": [
        {"SOPClassUID": SecondaryCaptureImageStorage},
        {"SOPClassUID": MultiFrameGrayscaleWordSecondaryCaptureImageStorage},
    ],
    "image of another kind than CT, MR or PET": [
        {"SOPClassUID": RTDoseStorage},
        {"SOPClassUID": SegmentationStorage},
        {"SOPClassUID": ComputedRadiographyImageStorage},
    ],
    "localizer": [
        {"SeriesDescription": "3-plane Localizer"},
        {"SeriesDescription": "Survey_SENSE", "Modality": "MR", "SOPClassUID": MRImageStorage},
    ],
    "dose report": [
        {"SeriesDescription": "Dose Report"},
        {"SeriesDescription": "Patient Protocol"},
    ],
    "screen capture": [{"SeriesDescription": "Screen Save"}],
    "montage": [{"SeriesDescription": "Montage_1"}],
    "projection or rendering": [
        {"SeriesType": ["WHOLE BODY", "REPROJECTION"]},
        {"VolumeBasedCalculationTechnique": "MAX_IP"},
    ],
    "reformat": [{"VolumeBasedCalculationTechnique": "CURVED_MPR"}],
    "colour image": [{"PhotometricInterpretation": "PALETTE COLOR"}, COLOURED],
    "raw projections": [{"SeriesDescription": "Full Dose Projections"}],
    "CT values that are not HU": [{"RescaleType": "MGML"}],
}
NO_SLICE = [(reason, {"ImageType": kinds}) for reason, rows in TYPED.items() for kinds in rows]
NO_SLICE += [(reason, tags) for reason, rows in TAGGED.items() for tags in rows]


@pytest.mark.parametrize(("reason", "tags"), NO_SLICE, ids=str)
def test_it_is_set_aside_and_counted_with_its_reason(
    tmp_path: Path, reason: str, tags: dict[str, object]
) -> None:
    write_stack(tmp_path / "scan", [0.0, 3.0, 6.0])
    uid = generate_uid()
    for number in range(2):  # also where the patient has nothing else
        path = tmp_path / "other" / f"{number}.dcm"
        pixels = np.zeros((4, 6), np.uint16)
        position = (0.0, 0.0, 3.0 * number)
        tags = {"PatientID": "P2", "SeriesInstanceUID": uid, **tags}
        write_slice(path, pixels, position, **tags)
    (one,), skipped = find_dicom_series(tmp_path.rglob("*.dcm"))
    assert len(one.files) == 3
    assert summarise(skipped).startswith(f"2 x {reason}")
    with pytest.raises(InputError, match=rf"holds no scan \(2 x {reason}.*: type another"):
        find_scans(tmp_path / "other")
    with pytest.raises(InputError, match="cannot be a slice"):
        read_dicom_series(sorted((tmp_path / "other").iterdir()))


@pytest.mark.parametrize(
    "kinds",
    [
        ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
        ["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"],
        ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"],
        ["DERIVED", "SECONDARY", "AXIAL", "IMPRESSION"],
        ["ORIGINAL", "PRIMARY", "OTHER", "PROTON"],
    ],
)
def test_other_words_of_the_image_type_do_no_harm(tmp_path: Path, kinds: list[str]) -> None:
    description = {"SeriesDescription": "t1_mprage_sag outscouting"}
    files = write_stack(tmp_path, [0.0, 3.0], ImageType=kinds, **description)
    (one,), skipped = find_dicom_series(files)
    assert len(one.files) == 2
    assert not skipped


@pytest.mark.parametrize("name", ["t1_mpr_sag", "CT MPR cor 3mm", "MIP", "CT SKELETAL SURVEY 2.0"])
def test_words_of_a_description_that_scans_have_do_no_harm(tmp_path: Path, name: str) -> None:
    (one,), skipped = find_dicom_series(write_stack(tmp_path, [0.0, 3.0], SeriesDescription=name))
    assert len(one.files) == 2
    assert not skipped


def mosaic(path: Path, tiles: int | None, block: int = 0x10, **tags: object) -> Path:
    pixels = np.zeros((128, 128), np.uint16)
    write_slice(path, pixels, (0, 0, 0), Modality="MR", SOPClassUID=MRImageStorage, **tags)
    whole = pydicom.dcmread(path)
    if tiles is not None:
        whole.add_new((0x0019, block), "LO", "SIEMENS MR HEADER")
        whole.add_new((0x0019, block << 8 | 0x0A), "US", tiles)
    whole.save_as(path)
    return path


MOSAIC = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM", "MOSAIC"]}


@pytest.mark.parametrize(
    ("tiles", "tags", "text"),
    [
        (36, MOSAIC, "mosaic: 36 slices"),
        (36, {}, "mosaic: 36 slices"),  # whatever is left of its Image Type
        (None, MOSAIC, "mosaic: several slices"),  # whatever is left of its private tags
        (None, {**MOSAIC, "AcquisitionMatrix": [64, 0, 0, 64]}, "mosaic: several slices"),
        (None, {**MOSAIC, "AcquisitionMatrix": [0, 128, 128, 0]}, None),  # carries the word alone
        (1, MOSAIC, None),
    ],
)
@pytest.mark.parametrize("block", [0x10, 0x33])
def test_a_mosaic_is_known_by_its_tiles(
    tmp_path: Path, tiles: int | None, tags: dict[str, object], text: str | None, block: int
) -> None:
    series, skipped = find_dicom_series([mosaic(tmp_path / "a.IMA", tiles, block, **tags)])
    assert len(series) == (text is None)
    assert [one.reason.startswith(str(text)) for one in skipped] == [True] * (text is not None)


def csa(tiles: str | None, version: int = 2) -> bytes:
    """Siemens' CSA header with three attributes; the middle one is the number of tiles."""

    def attribute(name: str, vr: bytes, *texts: str) -> bytes:
        # What follows the zero of a name is whatever lay in memory.
        packed = f"{name}\0".encode().ljust(64, b"7") + struct.pack("<i4sii", 1, vr, 6, len(texts))
        packed += struct.pack("<i", 77)
        for text in texts:
            value = text.encode() + b"\0" if text else b""
            size = len(value)
            sizes = (size, size, 77, size) if version == 2 else (size + 1, size, 77, 0)
            packed += struct.pack("<4i", *sizes) + value + bytes(-size % 4)
        return packed

    start = b"SV10\4\3\2\1" if version == 2 else b""
    start += struct.pack("<II", 3, 77)
    texts = () if tiles is None else (tiles, "", "")
    return (
        start
        + attribute("EchoLinePosition", b"IS\0\0", "32")
        + attribute("NumberOfImagesInMosaic", b"US\0\0", *texts)
        + attribute("PhaseEncodingDirection", b"CS\0\0", "COL")
    )


def with_csa(path: Path, value: bytes, block: int = 0x10) -> Path:
    mosaic(path, None)
    whole = pydicom.dcmread(path)
    whole.add_new((0x0029, block), "LO", "SIEMENS CSA HEADER")
    whole.add_new((0x0029, block << 8 | 0x10), "OB", value + bytes(len(value) % 2))
    whole.save_as(path)
    return path


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("block", [0x10, 0x11])
@pytest.mark.parametrize("tiles", ["36", "36      ", None, "", "0", "1", "many"])
def test_a_mosaic_is_known_by_siemens_header_alone(
    tmp_path: Path, tiles: str | None, version: int, block: int
) -> None:
    path = with_csa(tmp_path / "a.IMA", csa(tiles, version), block)
    series, skipped = find_dicom_series([path])
    if tiles and "36" in tiles:
        assert not series
        assert [one.reason for one in skipped] == [
            "mosaic: 36 slices as tiles of one image (convert it to NIfTI)"
        ]
    else:
        assert [one.files for one in series] == [(path,)]


def test_siemens_header_may_end_anywhere(tmp_path: Path) -> None:
    whole = csa("36")
    end = whole.index(b"36\0") + 2
    for length in (0, 3, end - 60, end - 12, end - 2, end, len(whole)):
        path = with_csa(tmp_path / f"{length}.IMA", whole[:length])
        series, _ = find_dicom_series([path])
        assert len(series) == (length < end)


def test_united_imagings_tiles_are_counted(tmp_path: Path) -> None:
    path = mosaic(tmp_path / "a.dcm", None)
    whole = pydicom.dcmread(path)
    whole.private_block(0x0065, "Image Private Header", create=True).add_new(0x50, "DS", "24")
    whole.save_as(path)
    series, skipped = find_dicom_series([path])
    assert not series
    assert skipped[0].reason.startswith("mosaic: 24 slices")


def test_another_vendors_attribute_is_no_count_of_tiles(tmp_path: Path) -> None:
    path = mosaic(tmp_path / "a.dcm", 36)
    whole = pydicom.dcmread(path)
    whole[0x0019, 0x0010].value = "SOMEBODY"
    whole.save_as(path)
    (one,), _ = find_dicom_series([path])
    assert one.files == (path,)


def test_frames_of_an_enhanced_file_are_no_tiles_whatever_the_file_calls_itself(
    tmp_path: Path,
) -> None:
    files = [
        mosaic(tmp_path / f"{number}.dcm", 36, **MOSAIC, ImagePositionPatient=[0, 0, 4.0 * number])
        for number in range(3)
    ]
    path = as_frames(tmp_path / "enhanced" / "a.dcm", files, EnhancedMRImageStorage)
    (one,), skipped = find_dicom_series([path])
    assert not skipped
    assert read_dicom_series(one.files).array.shape == (3, 128, 128)


def test_a_frame_says_by_its_frame_type_that_it_is_no_slice(tmp_path: Path) -> None:
    enhanced(tmp_path / "a.dcm", [0.0, 3.0])
    whole = pydicom.dcmread(tmp_path / "a.dcm")
    kind = Dataset()
    kind.FrameType = ["DERIVED", "PRIMARY", "VOLUME", "MAXIMUM"]
    kind.VolumeBasedCalculationTechnique = "MAX_IP"
    whole.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence = Sequence([kind])
    whole.save_as(tmp_path / "a.dcm")
    series, skipped = find_dicom_series([tmp_path / "a.dcm"])
    assert not series
    assert summarise(skipped) == "1 x projection or rendering"


def test_two_stacks_in_one_file_are_refused_once_by_their_frames(tmp_path: Path) -> None:
    enhanced(tmp_path / "a.dcm", [0.0, 3.0, 0.0, 3.0])
    whole = pydicom.dcmread(tmp_path / "a.dcm")
    for number, groups in enumerate(whole.PerFrameFunctionalGroupsSequence):
        echo = Dataset()
        echo.EchoTime = 10.0 * (number // 2)
        groups.MREchoSequence = Sequence([echo])
    whole.save_as(tmp_path / "a.dcm")
    (one,), _ = find_dicom_series([tmp_path / "a.dcm"])
    with pytest.raises(InputError, match=r"frame 1, and a.dcm, frame 3, lie .* convert it to NIf"):
        read_dicom_series(one.files)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.nii")
    with pytest.raises(InputError, match="neither a file nor a folder; type a NIfTI file"):
        find_scans(tmp_path / "a.nii")


def test_a_reference_image_does_not_stop_its_series(tmp_path: Path) -> None:
    files = write_stack(tmp_path, [0.0, 3.0, 6.0])
    reference = write_slice(tmp_path / "r.dcm", np.zeros((8, 8), np.uint16), (0, 0, 3.0))
    (one,), skipped = find_dicom_series([*files, reference])
    assert one.files == tuple(files)
    assert [each.reason for each in skipped] == ["reference image: another size than its series"]
    with pytest.raises(InputError, match="leave the image out if it is a reference image"):
        read_dicom_series([*files, reference])


def test_two_sizes_in_one_series_are_two_scans(tmp_path: Path) -> None:
    files = write_stack(tmp_path / "a", [0.0, 3.0, 6.0])
    others = write_stack(tmp_path / "b", [0.0, 3.0, 6.0], PixelSpacing=[1.0, 1.0])
    series, skipped = find_dicom_series([*files, *others])
    assert sorted(one.files for one in series) == [tuple(files), tuple(others)]
    assert not skipped
