"""Files of a folder to DICOM series: image files grouped, all others set aside with a reason."""

import logging
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import pydicom

from amir_lightning.errors import InputError
from amir_lightning.io.dicom_file import NotDicomError, is_derived, read_header, unusable
from amir_lightning.io.dicom_scan import DicomScan
from amir_lightning.io.volume import Volume

log = logging.getLogger(__name__)


class Skipped(NamedTuple):
    """Something in the raw folder that does not enter the store, and why."""

    path: Path
    reason: str


class DicomSeries(NamedTuple):
    """Files that share a Series Instance UID, unsorted.

    Attributes:
        uid: Series Instance UID.
        modality: "CT", "PT", "MR" or another.
        patient_id: Patient ID; never written anywhere.
        files: Its image files.
        description: Series Description.
        thickness_mm: Slice Thickness, 0 if not given.
        kernel: Convolution Kernel of a CT.
        frame_ms: Actual Frame Duration of a PET, 0 if not given.
    """

    uid: str
    modality: str
    patient_id: str
    files: tuple[Path, ...]
    description: str = ""
    thickness_mm: float = 0.0
    kernel: str = ""
    frame_ms: float = 0.0


def find_dicom_series(
    files: Iterable[Path], on_error: Literal["stop", "collect"] = "stop"
) -> tuple[list[DicomSeries], list[Skipped]]:
    """Read headers and group image files by series.

    Echoes and time frames of one series become series of their own. Localizers, secondary captures
    and files without a place in space are set aside; so are derived images, unless the patient has
    nothing else of that modality.

    Args:
        files: Any files, in any order and with any suffix.
        on_error: "collect" lists a damaged file as skipped instead of raising.

    Returns:
        Series, that with most slices first, and the files that belong to none of them.

    Raises:
        InputError: A file is named as DICOM or is DICOM, but cannot be read.
    """
    groups: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    first: dict[tuple[str, ...], pydicom.Dataset] = {}
    skipped: list[Skipped] = []
    for path in sorted(files):
        try:
            header = read_header(path)
        except NotDicomError:
            skipped.append(Skipped(path, "not a NIfTI or DICOM image"))
            continue
        except InputError as error:
            if on_error == "stop":
                raise
            skipped.append(Skipped(path, f"unreadable: {error}"))
            continue
        reason = unusable(header)
        if reason:
            skipped.append(Skipped(path, reason))
            continue
        key = _group(header)
        groups[key].append(path)
        first.setdefault(key, header)
    originals = {_source(header) for header in first.values() if not is_derived(header)}
    series = []
    for key, members in groups.items():
        header = first[key]
        if is_derived(header) and _source(header) in originals:
            skipped += [Skipped(path, "derived image") for path in members]
            continue
        series.append(_series(header, tuple(members)))
    return sorted(series, key=lambda one: (-len(one.files), one.uid, one.files)), skipped


def read_dicom_series(files: Iterable[Path]) -> Volume:
    """Read one series: HU for CT, body-weight SUV for PET, rescaled values for MR.

    Raises:
        InputError: As `DicomScan`.
    """
    return DicomScan(files).read()


def _group(header: pydicom.Dataset) -> tuple[str, ...]:
    parts = [
        str(header.get("SeriesInstanceUID", "")),
        str(header.get("EchoTime") or ""),
        str(header.get("TemporalPositionIdentifier") or ""),
        str(is_derived(header)),
    ]
    if header.Modality == "MR":  # magnitude and phase
        parts.append("\\".join(map(str, header.get("ImageType") or ())))
    return tuple(parts)


def _source(header: pydicom.Dataset) -> tuple[str, str]:
    return str(header.get("PatientID") or ""), str(header.Modality)


def _series(header: pydicom.Dataset, files: tuple[Path, ...]) -> DicomSeries:
    kernel = header.get("ConvolutionKernel") or ""
    return DicomSeries(
        uid=str(header.get("SeriesInstanceUID", "")),
        modality=str(header.Modality),
        patient_id=str(header.get("PatientID") or ""),
        files=files,
        description=str(header.get("SeriesDescription") or ""),
        thickness_mm=float(header.get("SliceThickness") or 0),
        kernel=kernel if isinstance(kernel, str) else "\\".join(map(str, kernel)),
        frame_ms=float(header.get("ActualFrameDuration") or 0),
    )
