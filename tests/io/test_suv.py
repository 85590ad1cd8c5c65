import json
import math
import os
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import find_dicom_series, read_dicom_series
from amir_lightning.io.dicom.suv import suvbw_factor

SAMPLES = Path(
    os.environ.get("AMIR_REAL_SAMPLES", Path(__file__).parents[3] / "shared" / "real_samples")
)
HALF_LIFE = 6588.0
TRACER = {
    "RadionuclideTotalDose",
    "RadionuclideHalfLife",
    "RadiopharmaceuticalStartTime",
    "RadiopharmaceuticalStartDateTime",
}


def pet_header(**changes: object) -> Dataset:
    values = {
        "Units": "BQML",
        "DecayCorrection": "START",
        "PatientWeight": "70",
        "SeriesDate": "20240131",
        "SeriesTime": "130000",
        "AcquisitionDate": "20240131",
        "AcquisitionTime": "130000",
        "RadionuclideTotalDose": "300000000",
        "RadionuclideHalfLife": str(HALF_LIFE),
        "RadiopharmaceuticalStartTime": "120000.00",
        **changes,
    }
    dataset, tracer = Dataset(), Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(tracer if keyword in TRACER else dataset, keyword, value)
    dataset.RadiopharmaceuticalInformationSequence = [tracer]
    return dataset


def decayed(seconds: float) -> float:
    return 70e3 / (300e6 * 2 ** (-seconds / HALF_LIFE))


def test_start_correction_decays_the_dose_from_injection_to_scan() -> None:
    assert suvbw_factor(pet_header()) == pytest.approx(decayed(3600), rel=1e-12)


def test_administration_correction_needs_no_times() -> None:
    header = pet_header(DecayCorrection="ADMIN", SeriesTime=None, RadiopharmaceuticalStartTime=None)
    assert suvbw_factor(header) == pytest.approx(70e3 / 300e6)


def test_injection_before_midnight() -> None:
    header = pet_header(
        SeriesTime="003000", AcquisitionTime="003000", RadiopharmaceuticalStartTime="233000"
    )
    assert suvbw_factor(header) == pytest.approx(decayed(3600))


def test_injection_date_and_time_wins_over_time_alone() -> None:
    header = pet_header(
        SeriesTime="003000",
        AcquisitionTime="003000",
        RadiopharmaceuticalStartDateTime="20240130233000.00",
        RadiopharmaceuticalStartTime="010203",
    )
    assert suvbw_factor(header) == pytest.approx(decayed(3600))


def test_shifted_injection_date_keeps_the_time_of_day(caplog: pytest.LogCaptureFixture) -> None:
    header = pet_header(RadiopharmaceuticalStartDateTime="19990505120000")
    assert suvbw_factor(header, "P7/001.dcm") == pytest.approx(decayed(3600))
    assert "P7/001.dcm: the date in" in caplog.text
    assert "anonymisation" in caplog.text


@pytest.mark.filterwarnings("ignore:Invalid value for VR TM")  # what older scanners write
@pytest.mark.parametrize("text", ["1300", "13:00:00", "130000.000000"])
def test_times_may_be_short_or_in_the_old_form(text: str) -> None:
    assert suvbw_factor(pet_header(SeriesTime=text)) == pytest.approx(decayed(3600))


def test_reprocessed_ge_series_uses_the_private_scan_time() -> None:
    header = pet_header(SeriesTime="180000")
    header.private_block(0x0009, "GEMS_PETD_01", create=True)
    header.add_new((0x0009, 0x100D), "DT", "20240131124500.00")
    assert suvbw_factor(header) == pytest.approx(decayed(2700))


def test_reprocessed_series_uses_the_frame_times() -> None:
    header = pet_header(
        SeriesTime="180000",
        AcquisitionTime="132000",
        FrameReferenceTime=str((1200 + 90) * 1000),
        ActualFrameDuration=str(180 * 1000),
    )
    decay = math.log(2) / HALF_LIFE
    mean_rate = math.log(decay * 180 / (1 - math.exp(-decay * 180))) / decay
    assert 89 < mean_rate < 90
    expected = decayed(3600 + 1200 + mean_rate - 1290)
    assert suvbw_factor(header) == pytest.approx(expected, rel=1e-9)


def test_reprocessed_series_falls_back_to_the_acquisition() -> None:
    assert suvbw_factor(pet_header(SeriesTime="180000")) == pytest.approx(decayed(3600))


def test_philips_counts() -> None:
    header = pet_header(Units="CNTS")
    header.add_new((0x7053, 0x1009), "DS", "2.5")
    assert suvbw_factor(header) == pytest.approx(2.5 * decayed(3600))
    header.add_new((0x7053, 0x1000), "UN", b"0.000551 ")
    assert suvbw_factor(header) == 0.000551


@pytest.mark.parametrize("block", [0x10, 0x11, 0xFF])
@pytest.mark.parametrize("raw", [False, True])
def test_private_factors_are_found_by_their_owner(block: int, raw: bool) -> None:
    def given(owner: str, factor: str = "2.5") -> Dataset:
        header = pet_header(Units="CNTS")
        header.add_new((0x7053, 0x10 if block > 0x10 else 0x20), "LO", "SOMEBODY")
        header.add_new((0x7053, block), "LO", owner)
        value = factor.encode() if raw else factor
        header.add_new((0x7053, block << 8 | 0x09), "UN" if raw else "DS", value)
        return header

    assert suvbw_factor(given("Philips PET Private Group ")) == pytest.approx(2.5 * decayed(3600))
    for header in (given("SOMEBODY"), given("Philips PET Private Group", "0")):
        with pytest.raises(InputError, match="without Philips' factors"):
            suvbw_factor(header)


def test_philips_factors_that_contradict_the_public_tags_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    header = pet_header(Units="CNTS")
    header.add_new((0x7053, 0x1009), "DS", "2.5")
    agreed = 2.5 * decayed(3600)
    for share, said in [(1.05, False), (2.0, True)]:
        header.add_new((0x7053, 0x1000), "DS", f"{share * agreed:.9g}")
        assert suvbw_factor(header) == pytest.approx(share * agreed)
        sentence = "the PET series: Philips' factor to SUV (7053,1000) gives 2 times the SUV"
        assert (sentence in caplog.text) == said


def test_private_factors_never_replace_public_units() -> None:
    header = pet_header()
    header.add_new((0x7053, 0x1000), "DS", "0.5")
    header.add_new((0x7053, 0x1009), "DS", "2.5")
    assert suvbw_factor(header) == pytest.approx(decayed(3600))


@pytest.mark.parametrize(
    ("group", "owner", "element"),
    [(0x0009, "GEMS_PETD_01", 0x0D), (0x0071, "SIEMENS MED PT", 0x22)],
)
def test_a_private_time_counts_where_it_fits_the_acquisition(
    group: int, owner: str, element: int, caplog: pytest.LogCaptureFixture
) -> None:
    for series, time, seconds, said in [
        ("180000", "20240131124500", 2700, False),
        ("180000", "20190131124500", 2700, False),  # a date that was not shifted with the others
        ("125000", "20240131124500", 3000, False),  # not reprocessed: the public time decides
        ("180000", "20240131140000", 3600, True),  # after the acquisition
    ]:
        header = pet_header(SeriesTime=series)
        header.add_new((group, 0x0042), "LO", owner)
        header.add_new((group, 0x4200 | element), "DT", time)
        assert suvbw_factor(header) == pytest.approx(decayed(seconds))
        sentence = f"the PET series: ({group:04X},xx{element:02X}) of {owner} is "
        assert (sentence in caplog.text) == said
        assert ("does not fit an acquisition at 13:00:00" in caplog.text) == said


def test_voxels_that_are_suv_already() -> None:
    assert suvbw_factor(pet_header(Units="GML")) == 1
    with pytest.raises(InputError, match="LBM"):
        suvbw_factor(pet_header(Units="GML", SUVType="LBM"))


@pytest.mark.parametrize(
    ("keyword", "tag"),
    [
        ("PatientWeight", "0010,1030"),
        ("RadionuclideTotalDose", "0018,1074"),
        ("RadionuclideHalfLife", "0018,1075"),
        ("RadiopharmaceuticalStartTime", "0018,1072"),
        ("SeriesTime", "0008,0031"),
        ("DecayCorrection", "0054,1102"),
        ("Units", "0054,1001"),
    ],
)
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_tag_is_named(keyword: str, tag: str, value: str | None) -> None:
    with pytest.raises(InputError, match=rf"{keyword} \({tag}\)"):
        suvbw_factor(pet_header(**{keyword: value}))


def test_unusable_units_and_corrections_are_named() -> None:
    for changes, expected in [
        ({"Units": "CNTS"}, "7053,1000"),
        ({"Units": "PROPCPS"}, "PROPCPS"),
        ({"DecayCorrection": "NONE"}, "NONE"),
        ({"CorrectedImage": ["ATTN", "NORM"]}, "DECY"),
        ({"PatientWeight": "0"}, "PatientWeight"),
    ]:
        with pytest.raises(InputError, match=expected):
            suvbw_factor(pet_header(**changes))


def real_headers() -> list[str]:
    expected = SAMPLES / "pet" / "suv_metadata" / "expected_suvbw_factors.json"
    if not expected.exists():
        return []
    return [name for name in json.loads(expected.read_text()) if not name.startswith("_")]


@pytest.mark.parametrize("name", real_headers() or [None])
def test_published_factors_of_real_headers(name: str | None) -> None:
    if name is None:
        pytest.skip(f"no real samples in {SAMPLES}; set AMIR_REAL_SAMPLES")
    folder = SAMPLES / "pet" / "suv_metadata"
    expected = json.loads((folder / "expected_suvbw_factors.json").read_text())[name]
    for values in json.loads((folder / f"{name}-instances.json").read_text()):
        philips = values.pop("PhilipsPETPrivateGroup", {})
        header = pet_header(**{"RadiopharmaceuticalStartTime": None, **values})
        for element, key in [
            (0x1000, "SUVScaleFactor"),
            (0x1009, "ActivityConcentrationScaleFactor"),
        ]:
            if key in philips:
                header.add_new((0x7053, element), "DS", philips[key])
        assert suvbw_factor(header) == pytest.approx(expected, rel=1e-6)


def test_real_series() -> None:
    folder = SAMPLES / "pet" / "sts_STS_001_GE"
    if not folder.exists():
        pytest.skip(f"no real samples in {SAMPLES}; set AMIR_REAL_SAMPLES")
    (series,), skipped = find_dicom_series(folder.iterdir())
    volume = read_dicom_series(series.files)
    assert not skipped
    assert volume.array.shape == (180, 128, 128)
    assert volume.units == "SUV"
    assert volume.array.max() == pytest.approx(66.5, abs=0.05)
    assert volume.spacing_mm == pytest.approx((3.27, 4.6875, 4.6875))
