"""Files of a folder to DICOM series: slices grouped, all other files set aside with a reason."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pydicom

from amir_lightning.errors import InputError
from amir_lightning.io.dicom.file import NotDicomError
from amir_lightning.io.dicom.frames import Image, find_images
from amir_lightning.io.dicom.kind import is_derived, reason_to_skip
from amir_lightning.io.dicom.scan import DicomScan
from amir_lightning.io.volume import Volume

# What may tell two images at one position apart, from the most telling to the least: echoes,
# time frames, contrasts, kernels, diffusion weights, cardiac phases, repeated acquisitions.
_APART = (
    "EchoTime",
    "TemporalPositionIdentifier",
    "ImageType",
    "ConvolutionKernel",
    "DiffusionBValue",
    "TriggerTime",
    "FrameReferenceTime",
    "AcquisitionNumber",
)
_SAME_HEIGHT = 2  # decimals [mm]
_SAME_SPACING = 1e-3  # [mm]
_PARALLEL = 1e-2  # largest difference of direction cosines in one stack


@dataclass(frozen=True)
class Skipped:
    """A file of the raw folder that is not used.

    Attributes:
        path: The file.
        reason: Why, in a few words that are the same for all files of that kind.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class Damaged(Skipped):
    """A file that should hold a scan but cannot be read.

    Attributes:
        problem: What is wrong with it and what to do, as one sentence.
    """

    reason: str = field(default="unreadable", init=False)
    problem: str


def summarise(skipped: Iterable[Skipped]) -> str:
    """How many were left out for which reason, as one line."""
    counts = Counter(one.reason for one in skipped)
    return ", ".join(f"{count} x {reason}" for reason, count in sorted(counts.items()))


class DicomSeries(NamedTuple):
    """Files that form one stack of slices, unsorted.

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


class _Slice(NamedTuple):
    """What sorting files into series needs of an image; headers of a whole archive fill memory."""

    path: Path
    series: DicomSeries  # without files
    derived: bool
    orientation: tuple[float, ...]
    grid: tuple[float, ...]  # rows, columns and their spacing
    height: float
    apart: tuple[str, ...]  # values of _APART, and the folder


def find_dicom_series(
    files: Iterable[Path],
    on_error: Literal["stop", "collect"] = "stop",
    *,
    keep_derived: bool = False,
) -> tuple[list[DicomSeries], list[Skipped]]:
    """Read headers and group image files by series.

    Where a series has several images at one position, its echoes, time frames, contrasts, kernels
    or acquisitions become series of their own. Images that are no slices, copies and files without
    a place in space are set aside; so are derived images, unless the patient has nothing else of
    that modality.

    Args:
        files: Any files, in any order and with any suffix.
        on_error: "collect" lists a file that cannot be read as `Damaged` instead of raising.
        keep_derived: Keep images that were computed from others of the patient, as a simulated low
            dose may be.

    Returns:
        Series, that with most slices first, and the files that belong to none of them.

    Raises:
        InputError: A file is named as DICOM or is DICOM, but cannot be read.
    """
    groups: dict[tuple[str, bool], list[_Slice]] = defaultdict(list)
    seen: dict[tuple[str, int | None, float], Path] = {}
    skipped: list[Skipped] = []
    for path in sorted(files):
        try:
            images = find_images(path)
        except NotDicomError:
            skipped.append(Skipped(path, "not a NIfTI or DICOM image"))
            continue
        except InputError as error:
            if on_error == "stop":
                raise
            skipped.append(Damaged(path, str(error)))
            continue
        reason = next(filter(None, (reason_to_skip(image.header) for image in images)), None)
        if reason:
            skipped.append(Skipped(path, reason))
            continue
        for image in images:
            one = _slice(image)
            uid = str(image.header.get("SOPInstanceUID") or path)
            if seen.setdefault((uid, image.frame, one.height), path) != path:
                skipped.append(Skipped(path, "copy of another file"))
                break
            groups[one.series.uid or str(path.parent), one.derived].append(one)
    originals = {_source(group[0]) for (_, derived), group in groups.items() if not derived}
    series = []
    for (_, derived), group in groups.items():
        if derived and not keep_derived and _source(group[0]) in originals:
            skipped += [Skipped(path, "derived image") for path in _files(group)]
            continue
        stacks = _alike(group, lambda one: one.orientation, _PARALLEL)
        if 2 * len(stacks[0]) <= len(group):
            stacks.insert(0, [])
        for other in stacks[1:]:
            skipped += [
                Skipped(path, "localizer of several orientations") for path in _files(other)
            ]
        sizes = _alike(stacks[0], lambda one: one.grid, _SAME_SPACING)
        for other in sizes:
            if 2 * len(other) < len(sizes[0]):
                skipped += [
                    Skipped(path, "reference image: another size than its series")
                    for path in _files(other)
                ]
            else:
                series += [part[0].series._replace(files=_files(part)) for part in _separate(other)]
    # A file whose frames belong to several stacks is refused once, when it is read.
    series = list({one.files: one for one in series}.values())
    return sorted(series, key=lambda one: (-len(one.files), one.uid, one.files)), skipped


def read_dicom_series(files: Iterable[Path]) -> Volume:
    """Read one series: HU for CT, body-weight SUV for PET, rescaled values for MR.

    Raises:
        InputError: As `DicomScan`.
    """
    return DicomScan(files, with_pixels=True).read()


def _slice(image: Image) -> _Slice:
    header = image.header
    orientation = np.array(header.ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])
    series = DicomSeries(
        uid=str(header.get("SeriesInstanceUID") or ""),
        modality=str(header.Modality),
        patient_id=str(header.get("PatientID") or ""),
        files=(),
        description=str(header.get("SeriesDescription") or ""),
        thickness_mm=float(header.get("SliceThickness") or 0),
        kernel=_text(header, "ConvolutionKernel"),
        frame_ms=float(header.get("ActualFrameDuration") or 0),
    )
    return _Slice(
        path=image.path,
        series=series,
        derived=is_derived(header),
        orientation=tuple(orientation.tolist()),
        grid=(header.Rows, header.Columns, *map(float, header.PixelSpacing)),
        height=round(float(np.array(header.ImagePositionPatient, float) @ normal), _SAME_HEIGHT),
        apart=(*(_text(header, keyword) for keyword in _APART), str(image.path.parent)),
    )


def _text(header: pydicom.Dataset, keyword: str) -> str:
    value = header.get(keyword)
    if value is None:
        return ""
    return value if isinstance(value, str) else "\\".join(map(str, np.atleast_1d(value)))


def _source(one: _Slice) -> tuple[str, str]:
    return one.series.patient_id, one.series.modality


def _files(slices: list[_Slice]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(one.path for one in slices))


def _alike(
    slices: list[_Slice], key: Callable[[_Slice], tuple[float, ...]], tolerance: float
) -> list[list[_Slice]]:
    """Slices sorted into groups of about the same key, the largest group first."""
    groups: list[list[_Slice]] = []
    for one in slices:
        for group in groups:
            if np.allclose(key(group[0]), key(one), rtol=0, atol=tolerance):
                group.append(one)
                break
        else:
            groups.append([one])
    return sorted(groups, key=len, reverse=True)


def _separate(slices: list[_Slice]) -> list[list[_Slice]]:
    """Stacks with one image per position, as few values as possible telling them apart."""
    if not slices:
        return []
    multiplicity = max(Counter(one.height for one in slices).values())
    if multiplicity == 1:
        return [slices]
    columns = range(len(slices[0].apart))
    for number in (1, 2, 3):
        for chosen in combinations(columns, number):
            parts = _parts(slices, chosen)
            alike = len(parts) == multiplicity  # not one part per slice, as by its own time
            if alike and not any(map(_overlap, parts)):
                return parts
    # Passes along the body that overlap at their ends, each an acquisition.
    passes = _parts(slices, (_APART.index("AcquisitionNumber"),))
    if min(map(len, passes)) > 1 and not any(map(_overlap, passes)):
        return passes
    return [slices]  # reading refuses it and names two files


def _parts(slices: list[_Slice], columns: Iterable[int]) -> list[list[_Slice]]:
    parts: dict[tuple[str, ...], list[_Slice]] = defaultdict(list)
    for one in slices:
        parts[tuple(one.apart[column] for column in columns)].append(one)
    return list(parts.values())


def _overlap(slices: list[_Slice]) -> bool:
    return len({one.height for one in slices}) < len(slices)
