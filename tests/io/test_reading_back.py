"""Restored series have the values of their source, for this package and for plain pydicom."""

import itertools
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import pytest
from dicom_files import as_frames, write_slice
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedPETImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RLELossless,
    generate_uid,
)

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.scan import DicomScan
from amir_lightning.io.dicom.writer import write_dicom_series
from amir_lightning.io.scan import find_scans

CLASSES = {
    "CT": (CTImageStorage, EnhancedCTImageStorage),
    "MR": (MRImageStorage, EnhancedMRImageStorage),
    "PT": (PositronEmissionTomographyImageStorage, LegacyConvertedEnhancedPETImageStorage),
}
REPROCESSED = {"SeriesTime": "112500", "AcquisitionTime": "102500"}
PHILIPS = (0x7053, "Philips PET Private Group")
# Tags that define PET values: public ones, and private ones by group, creator and element.
PET = {
    "start": ({}, {}),
    "below zero": ({"RescaleIntercept": "-20"}, {}),
    "admin": ({"DecayCorrection": "ADMIN"}, {}),
    "reprocessed": (REPROCESSED, {}),
    "ge": (REPROCESSED, {(0x0009, "GEMS_PETD_01", 0x0D): ("DT", "20240305101500.00")}),
    "siemens": (REPROCESSED, {(0x0071, "SIEMENS MED PT", 0x22): ("DT", "20240305101700.00")}),
    "philips": (
        {"Units": "CNTS"},
        {(*PHILIPS, 0x00): ("DS", "0.00035"), (*PHILIPS, 0x09): ("DS", "1.2")},
    ),
    "philips suv": (
        {"Units": "CNTS", "DecayCorrection": "NONE"},
        {(*PHILIPS, 0x00): ("DS", "0.00035")},
    ),
    "philips activity": ({"Units": "CNTS"}, {(*PHILIPS, 0x09): ("DS", "1.5")}),
    "philips bqml": ({}, {(*PHILIPS, 0x00): ("DS", "0.5"), (*PHILIPS, 0x09): ("DS", "7")}),
    "suv": ({"Units": "GML", "SUVType": "BW", "DecayCorrection": "NONE"}, {}),
}
OTHERS = {
    "ct": ("CT", {}),
    "ct padded": ("CT", {"PixelPaddingValue": 3}),
    "mr": ("MR", {"RescaleSlope": None, "RescaleIntercept": None}),
    "mr scaled": ("MR", {"RescaleSlope": "0.25", "RescaleIntercept": "-3", "RescaleType": "US"}),
    "mr dark": ("MR", {"PhotometricInterpretation": "MONOCHROME1", "RescaleIntercept": "0"}),
}
ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "feet up": (-1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": (0.96, 0.28, 0, -0.28, 0.96, 0),
    "tilted": (1, 0, 0, 0, 0.96, -0.28),
}
MEANING = (
    "PatientID",
    "PatientWeight",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
    "Units",
    "SUVType",
    "DecayCorrection",
    "CorrectedImage",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "FrameReferenceTime",
    "ActualFrameDuration",
    "RadiopharmaceuticalInformationSequence",
    "RescaleType",
    "Modality",
    "Rows",
    "Columns",
    "PhotometricInterpretation",
)


class Case(NamedTuple):
    """Kind of one source and the way in which it is stored."""

    kind: str
    orientation: str
    framed: bool
    compressed: bool
    signed: bool
    bits: int
    block: int


def cases() -> list[Case]:
    """Each kind in each orientation, cycling through the other ways of storing."""
    ways = itertools.cycle(
        itertools.product((False, True), (False, True), (False, True), (16, 12), (0x10, 0x42))
    )
    found = []
    for number, kind in enumerate([*PET, *OTHERS]):
        for orientation in ORIENTATIONS:
            framed, compressed, signed, bits, block = next(ways)
            found.append(Case(kind, orientation, framed, compressed, signed, bits, block))
        for _ in range(number % 5):  # otherwise a kind would always be stored in the same ways
            next(ways)
    return found


def write_source(case: Case, folder: Path) -> list[Path]:
    """Write three slices, not in the order of positions; PET slices differ in their slope."""
    modality, tags = OTHERS[case.kind] if case.kind in OTHERS else ("PT", pet_tags(case.kind))
    orientation = np.array(ORIENTATIONS[case.orientation], float)
    step = np.cross(orientation[:3], orientation[3:]) * 4
    if case.orientation == "tilted":
        step = np.array([0.0, 0.0, 4.0])  # the gantry tilts, the table does not
    series, files = generate_uid(), []
    for number in range(3):
        rng = np.random.default_rng(number)
        high = min(1 << (case.bits - case.signed), 3000 if modality == "CT" else 1 << 16)
        stored = rng.integers(0, high, (6, 8)).astype(np.int16 if case.signed else np.uint16)
        values = {
            "SOPClassUID": CLASSES[modality][0],
            "Modality": modality,
            "StudyInstanceUID": "1.2.826.0.1.1",
            "FrameOfReferenceUID": "1.2.826.0.1.2",
            "SeriesInstanceUID": series,
            "ImageOrientationPatient": list(ORIENTATIONS[case.orientation]),
            "PixelSpacing": [2.0, 1.5],
            "SliceThickness": 4.0,
            "BitsStored": case.bits,
            "HighBit": case.bits - 1,
            **tags,
        }
        if modality == "PT":
            values["RescaleSlope"] = f"{0.5 + number:g}"
        x, y, z = np.round(10 + (2 - number) * step, 6).tolist()
        path = write_slice(folder / f"{number}.dcm", stored, (x, y, z), **values)
        add_private(path, case)
        files.append(path)
    if case.framed:
        files = [as_frames(folder / "framed" / "a.dcm", files, CLASSES[modality][1])]
    if case.compressed:
        for path in files:
            whole = pydicom.dcmread(path)
            whole.compress(RLELossless, generate_instance_uid=False)
            whole.save_as(path)
    return files


def pet_tags(kind: str) -> dict[str, object]:
    tracer = Dataset()
    tracer.RadionuclideTotalDose, tracer.RadionuclideHalfLife = "350000000", "6586.2"
    tracer.RadiopharmaceuticalStartTime = "091500"
    return {
        "Units": "BQML",
        "DecayCorrection": "START",
        "RescaleIntercept": "0",
        "CorrectedImage": ["DECY", "ATTN"],
        "PatientWeight": "70",
        "SeriesDate": "20240305",
        "AcquisitionDate": "20240305",
        "SeriesTime": "101500",
        "AcquisitionTime": "101500",
        "FrameReferenceTime": "60000",
        "ActualFrameDuration": "120000",
        "RadiopharmaceuticalInformationSequence": Sequence([tracer]),
        **PET[kind][0],
    }


def add_private(path: Path, case: Case) -> None:
    """Add the vendor's attributes in any block, among other private attributes."""
    whole = pydicom.dcmread(path)
    for (group, owner, element), (vr, value) in PET.get(case.kind, ({}, {}))[1].items():
        whole.add_new((group, case.block), "LO", owner)
        whole.add_new((group, case.block << 8 | element), vr, value)
    whole.private_block(0x0019, "SOMEBODY", create=True).add_new(0x0D, "LO", "Doe^Jane")
    whole.RealWorldValueMappingSequence = Sequence([Dataset()])
    (mapping,) = whole.RealWorldValueMappingSequence
    mapping.RealWorldValueSlope = 3.0 * float(whole.get("RescaleSlope") or 1)
    mapping.RealWorldValueIntercept = 3.0 * float(whole.get("RescaleIntercept") or 0)
    mapping.add_new("RealWorldValueFirstValueMapped", "US", 0)
    mapping.add_new("RealWorldValueLastValueMapped", "US", 100)
    whole.save_as(path)


def private(dataset: Dataset) -> dict[tuple[str, int], str]:
    """Private values by creator and element number."""
    found = {}
    for element in dataset:
        if element.tag.is_private and element.tag.element > 0xFF:
            owner = dataset[element.tag.group, element.tag.element >> 8].value
            found[owner, element.tag.element & 0xFF] = str(element.value)
    return found


def rescaled(dataset: Dataset) -> np.ndarray:
    return dataset.pixel_array * float(dataset.get("RescaleSlope") or 1) + float(
        dataset.get("RescaleIntercept") or 0
    )


@pytest.mark.parametrize("case", cases(), ids=lambda case: "-".join(map(str, case)))
def test_what_is_written_means_what_its_source_means(tmp_path: Path, case: Case) -> None:
    files = write_source(case, tmp_path / "in")
    classic = [pydicom.dcmread(path) for path in sorted((tmp_path / "in").glob("?.dcm"))]
    scan = DicomScan(files)
    given = scan.read().array
    assert given.shape == scan.shape
    restored = np.float32(0.97) * given if scan.modality != "CT" else np.rint(0.9 * given)
    padding = np.zeros_like(given, bool)
    if case.kind == "ct padded":
        padding = given == 3 - 1024
        restored[padding] = given[padding]
    written = write_dicom_series(scan, restored, tmp_path / "out", description="", derivation="")

    # Read by this package.
    (back,), skipped = find_scans(tmp_path / "out")
    assert isinstance(back, DicomScan)
    assert not skipped
    assert back.units == scan.units
    assert back.scale == pytest.approx(scan.scale, rel=1e-9)
    np.testing.assert_allclose(back.affine, scan.affine, atol=1e-6)
    again = back.read().array
    for index in range(3):
        where = scan.placement.where(index)
        step = float(back.dataset(index).get("RescaleSlope") or 1) * scan.scale
        np.testing.assert_allclose(again[where], restored[where], rtol=1e-6, atol=step * 0.501)

    # Read by plain pydicom.
    for path in written:
        image = pydicom.dcmread(path)
        (source,) = image.SourceImageSequence
        whole = pydicom.dcmread(files[0])
        if case.framed:
            assert source.ReferencedSOPClassUID == whole.SOPClassUID
            assert source.ReferencedSOPInstanceUID == whole.SOPInstanceUID
            origin = classic[int(source.ReferencedFrameNumber) - 1]
        else:
            (origin,) = (
                one for one in classic if one.SOPInstanceUID == source.ReferencedSOPInstanceUID
            )
            assert source.ReferencedSOPClassUID == origin.SOPClassUID
            assert "ReferencedFrameNumber" not in source
        assert image.SOPClassUID == origin.SOPClassUID == image.file_meta.MediaStorageSOPClassUID
        assert image.SeriesInstanceUID != origin.SeriesInstanceUID
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            np.testing.assert_allclose(image[keyword].value, origin[keyword].value)
        for keyword in MEANING:
            assert image.get(keyword) == origin.get(keyword), keyword
        known = private(origin)
        known.pop(("SOMEBODY", 0x0D))
        assert private(image) == known
        step = float(image.get("RescaleSlope") or 1)
        values = rescaled(image)
        if case.kind == "mr dark":
            top = -1 if case.signed else (1 << case.bits) - 1
            expected = top - (top - rescaled(origin)) * 0.97
        else:
            expected = 0.97 * rescaled(origin) if scan.modality != "CT" else 0.9 * rescaled(origin)
            expected = np.rint(expected) if scan.modality == "CT" else expected
        kept = origin.pixel_array == 3 if case.kind == "ct padded" else np.zeros(values.shape, bool)
        np.testing.assert_allclose(values[~kept], expected[~kept], rtol=1e-6, atol=step * 0.501)
        np.testing.assert_array_equal(image.pixel_array[kept], 3)
        (given_map,) = (whole if case.framed else origin).RealWorldValueMappingSequence
        (mapping,) = image.RealWorldValueMappingSequence
        mapped = image.pixel_array * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
        stored = (values - float(origin.get("RescaleIntercept") or 0)) / float(
            origin.get("RescaleSlope") or 1
        )  # as the source would store them
        again = stored * given_map.RealWorldValueSlope + given_map.RealWorldValueIntercept
        np.testing.assert_allclose(mapped, again, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"Units": "PROPCNTS"}, "Units (0054,1001) PROPCNTS"),
        ({"Units": "PROPCPS"}, "Units (0054,1001) PROPCPS"),
        ({"Units": "CNTS"}, "counts (Units CNTS) without Philips' factors"),
        ({"Units": "CM2ML"}, "Units (0054,1001) CM2ML"),
        ({"Units": "GML", "SUVType": "LBM"}, "SUV of type LBM"),
        ({"DecayCorrection": "NONE"}, "Decay Correction (0054,1102) is NONE"),
        ({"RescaleSlope": None}, "lacks RescaleSlope"),
        ({"RescaleIntercept": "nan"}, "RescaleIntercept that is not a number"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_pet_that_means_no_suv_is_refused_before_anything_is_written(
    tmp_path: Path, tags: dict[str, object], reason: str
) -> None:
    for number in range(2):
        stored = np.full((6, 8), 100, np.int16)
        values = {
            "SOPClassUID": PositronEmissionTomographyImageStorage,
            "Modality": "PT",
            **pet_tags("start"),
            **tags,
        }
        write_slice(tmp_path / f"{number}.dcm", stored, (0.0, 0.0, 4.0 * number), **values)
    with pytest.raises(InputError) as caught:
        find_scans(tmp_path)[0][0].read()
    assert reason in str(caught.value)
    assert re.search("; (export|correct) ", str(caught.value))  # what to do
