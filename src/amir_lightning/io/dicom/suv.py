"""Body-weight SUV from the header of a PET slice, by the vendor-neutral recipe of QIBA.

SUVbw = activity [Bq/mL] x weight [g] / injected activity decayed to the reference time [Bq].
Source: QIBA, vendor-neutral pseudo-code for SUV (FDG-PET/CT Profile); DICOM PS3.3 C.8.9.1.
"""

import logging
import math
from datetime import datetime, timedelta

from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.private import (
    ACTIVITY_PER_COUNT,
    GE_SCAN_TIME,
    SIEMENS_DECAY_TIME,
    SUV_PER_COUNT,
    Private,
    find_private,
    private_text,
)

log = logging.getLogger(__name__)

_DISAGREEMENT = 0.1  # relative difference between two ways to the same SUV that gives a warning
# Voxels cannot be decay-corrected to a time after their acquisition began, but clocks differ.
_EARLY_SECONDS = 60.0
_ADVICE = "export it in BQML, or convert it to body-weight SUV yourself and give NIfTI"
_STALE_HALF_LIVES = 10.0  # an injection earlier than this cannot have been imaged


def suvbw_factor(dataset: Dataset, name: str = "the PET series") -> float:
    """Compute the factor from rescaled voxels to body-weight SUV [g/mL].

    Args:
        dataset: Header of a PET slice. If the series has several bed positions, this has to be the
            slice with the earliest acquisition time.
        name: Name of the slice in warnings.

    Raises:
        InputError: A tag that the recipe needs is absent, empty or not usable; the tag is named.
    """
    units = str(_required(dataset, "Units"))
    if units == "GML":
        kind = str(dataset.get("SUVType") or "BW")
        if kind != "BW":
            raise InputError(
                f"the PET series holds SUV of type {kind}, expected BW (body weight); {_ADVICE}"
            )
        return 1.0
    if units == "CNTS":
        return _counts_to_suv(dataset, name)
    if units != "BQML":
        raise InputError(
            f"the PET series has Units (0054,1001) {units}, expected BQML, GML or Philips CNTS; "
            f"{_ADVICE}"
        )
    return _activity_to_suv(dataset, name)


def count_factors(dataset: Dataset) -> tuple[float | None, float | None]:
    """Philips' factors from rescaled counts to SUV and to Bq/mL; None where the header lacks one.

    Raises:
        InputError: A factor is not a number.
    """
    return _positive_private(dataset, SUV_PER_COUNT), _positive_private(dataset, ACTIVITY_PER_COUNT)


def _counts_to_suv(dataset: Dataset, name: str) -> float:
    """Use the scanner's factor to SUV, as QIBA recommends; without it the factor to Bq/mL."""
    suv, activity = count_factors(dataset)
    if suv is None and activity is None:
        raise InputError(
            "the PET series is in counts (Units CNTS) without Philips' factors (7053,1000) or "
            f"(7053,1009); {_ADVICE}"
        )
    if suv is None or activity is None:
        return suv or (activity or 0.0) * _activity_to_suv(dataset, name)
    try:
        other = activity * _activity_to_suv(dataset, name)
    except InputError:  # the header does not allow the comparison
        return suv
    if abs(suv / other - 1) > _DISAGREEMENT:
        log.warning(
            "%s: Philips' factor to SUV (7053,1000) gives %.3g times the SUV that its factor to "
            "Bq/mL (7053,1009) gives with weight, dose and times of the header: using (7053,1000); "
            "check these tags",
            name,
            suv / other,
        )
    return suv


def _activity_to_suv(dataset: Dataset, name: str) -> float:
    weight = _positive(dataset, "PatientWeight")
    tracer = _tracer(dataset)
    dose = _positive(tracer, "RadionuclideTotalDose")
    correction = str(_required(dataset, "DecayCorrection"))
    corrected = dataset.get("CorrectedImage")
    if corrected is not None and "DECY" not in corrected:
        raise InputError(
            "Corrected Image (0028,0051) lacks DECY: the PET series is not decay-corrected; "
            "export the corrected one"
        )
    if correction == "START":
        half_life = _positive(tracer, "RadionuclideHalfLife")
        scan = _scan_start(dataset, half_life, name)
        seconds = (scan - _injection(tracer, scan, half_life, name)).total_seconds()
        dose *= 2.0 ** (-seconds / half_life)
    elif correction != "ADMIN":
        raise InputError(
            f"Decay Correction (0054,1102) is {correction}, expected START or ADMIN; export the "
            "corrected series"
        )
    return weight * 1000.0 / dose


def _scan_start(dataset: Dataset, half_life: float, name: str) -> datetime:
    """Time to which voxels with decay correction START were corrected.

    This is the series time, unless it is later than the acquisition time. Then the series was
    reconstructed again later, and the time comes from the vendor's private tag, else from the frame
    times, else from the acquisition time.
    """
    series = _moment(dataset, "SeriesDate", "SeriesTime")
    if not dataset.get("AcquisitionTime"):
        return series
    acquisition = acquisition_time(dataset)
    if series <= acquisition:
        return series
    for private in (GE_SCAN_TIME, SIEMENS_DECAY_TIME):
        element = find_private(dataset, private)
        if element is None or not private_text(element):
            continue
        reference = _parse_datetime(private_text(element), str(private))
        if reference.date() != acquisition.date():  # anonymisation may have shifted one of them
            reference = datetime.combine(acquisition.date(), reference.time())
            if (reference - acquisition).total_seconds() > _EARLY_SECONDS:
                reference -= timedelta(days=1)
        before = (acquisition - reference).total_seconds()
        if -_EARLY_SECONDS <= before < _STALE_HALF_LIVES * half_life:
            return reference
        log.warning(
            "%s: %s is %s, which does not fit an acquisition at %s: using the public times",
            name,
            private,
            reference.time(),
            acquisition.time(),
        )
    frame_reference = float(dataset.get("FrameReferenceTime") or 0) / 1000.0
    duration = float(dataset.get("ActualFrameDuration") or 0) / 1000.0
    if frame_reference <= 0 or duration <= 0:
        return acquisition
    # The frame reference time runs from the start of the scan to the moment at which the decaying
    # count rate equals its mean over the frame, a little before the middle of the frame.
    decay = math.log(2.0) / half_life
    mean_rate = math.log(decay * duration / (-math.expm1(-decay * duration))) / decay
    return acquisition + timedelta(seconds=mean_rate - frame_reference)


def acquisition_time(dataset: Dataset) -> datetime:
    """Start of a slice's acquisition; the series date replaces a missing acquisition date."""
    date = "AcquisitionDate" if dataset.get("AcquisitionDate") else "SeriesDate"
    return _moment(dataset, date, "AcquisitionTime")


def _injection(tracer: Dataset, scan: datetime, half_life: float, name: str) -> datetime:
    """Time of the injection before the scan."""
    stamp = tracer.get("RadiopharmaceuticalStartDateTime")
    if stamp:
        injected = _parse_datetime(str(stamp), _named("RadiopharmaceuticalStartDateTime"))
        if 0 <= (scan - injected).total_seconds() < _STALE_HALF_LIVES * half_life:
            return injected
        log.warning(
            "%s: the date in %s does not fit the scan's (shifted by anonymisation?): "
            "using its time of day",
            name,
            _named("RadiopharmaceuticalStartDateTime"),
        )
        clock = injected.time()
    else:
        text = str(_required(tracer, "RadiopharmaceuticalStartTime"))
        clock = _parse_datetime(
            f"{scan:%Y%m%d}{text.replace(':', '')}", _named("RadiopharmaceuticalStartTime")
        ).time()
    injected = datetime.combine(scan.date(), clock)
    # An injection in the evening may precede a scan after midnight.
    return injected - timedelta(days=1) if injected > scan else injected


def _tracer(dataset: Dataset) -> Dataset:
    sequence = dataset.get("RadiopharmaceuticalInformationSequence")
    if not sequence:
        raise _missing("RadiopharmaceuticalInformationSequence")
    return sequence[0]


def _moment(dataset: Dataset, date: str, time: str) -> datetime:
    clock = str(_required(dataset, time)).replace(":", "")
    day = str(_required(dataset, date)).replace(".", "")
    return _parse_datetime(day + clock, f"{_named(date)} and {_named(time)}")


def _parse_datetime(text: str, name: str) -> datetime:
    """Parse ``YYYYMMDDHHMMSS.FFFFFF``; the time may be cut short, a time zone is ignored."""
    text = text.strip().split("+")[0].split("-")[0]
    whole, _, fraction = text.partition(".")
    try:
        moment = datetime.strptime(whole.ljust(14, "0")[:14], "%Y%m%d%H%M%S")
        return moment + timedelta(seconds=float(f"0.{fraction or 0}"))
    except ValueError as error:
        raise InputError(f"{name} is '{text}', expected a DICOM date and time") from error


def _positive_private(dataset: Dataset, wanted: Private) -> float | None:
    element = find_private(dataset, wanted)
    if element is None or not private_text(element):
        return None
    try:
        value = float(private_text(element))
    except ValueError as error:
        raise InputError(
            f"private tag {wanted} is not a number; export the series in BQML"
        ) from error
    return value if 0 < value < math.inf else None


def _positive(dataset: Dataset, keyword: str) -> float:
    value = float(_required(dataset, keyword))
    if not value > 0:
        raise _missing(keyword)
    return value


def _required(dataset: Dataset, keyword: str) -> str | float:
    value = dataset.get(keyword)
    if value is None or value == "":
        raise _missing(keyword)
    return value


def _missing(keyword: str) -> InputError:
    return InputError(
        f"SUV needs {_named(keyword)}, which the PET header lacks; "
        "export the series with it or convert to SUV yourself and give NIfTI"
    )


def _named(keyword: str) -> str:
    tag = Tag(tag_for_keyword(keyword) or 0)
    return f"{keyword_for_tag(tag)} ({tag.group:04X},{tag.element:04X})"
