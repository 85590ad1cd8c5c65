"""Group DICOM files into series, and leave out all other files with a reason."""

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

# Tags that may separate images at one position, the most reliable first: echoes, time frames,
# contrasts, kernels, diffusion weights, cardiac phases, repeated acquisitions.
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
_HEIGHT_DECIMALS = 2  # slices whose heights [mm] agree after rounding lie at one position
_SAME_SPACING = 1e-3  # tolerance for equal pixel spacing [mm]
_PARALLEL = 1e-2  # tolerance for equal direction cosines


@dataclass(frozen=True)
class Skipped:
    """A file that is left out.

    Attributes:
        path: The file.
        reason: Reason in a few words, the same for all files of one kind so that they are counted.
    """

    path: Path
    reason: str


@dataclass(frozen=True)
class Damaged(Skipped):
    """A file that should hold a scan but cannot be read.

    Attributes:
        problem: Error message: what is wrong and what to do.
    """

    reason: str = field(default="unreadable", init=False)
    problem: str


def summarise(skipped: Iterable[Skipped]) -> str:
    """Number of files left out for each reason, as one line."""
    counts = Counter(one.reason for one in skipped)
    return ", ".join(f"{count} x {reason}" for reason, count in sorted(counts.items()))


class DicomSeries(NamedTuple):
    """Files that form one stack of slices, not sorted by position.

    Attributes:
        uid: Series Instance UID.
        modality: "CT", "PT", "MR" or another.
        patient_id: Patient ID; never written to a file.
        files: Image files.
        description: Series Description.
        thickness_mm: Slice Thickness [mm], 0 if absent.
        kernel: Convolution Kernel of a CT series.
        frame_ms: Actual Frame Duration of a PET series [ms], 0 if absent.
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
    """Header values that grouping needs; whole headers of a large archive would fill memory."""

    path: Path
    series: DicomSeries  # without files
    derived: bool
    orientation: tuple[float, ...]
    grid: tuple[float, ...]  # rows, columns and their spacing [mm]
    height: float  # position along the normal of the image plane [mm]
    apart: tuple[str, ...]  # values of the tags in _APART, and the folder


def find_dicom_series(
    files: Iterable[Path],
    on_error: Literal["stop", "collect"] = "stop",
    *,
    keep_derived: bool = False,
) -> tuple[list[DicomSeries], list[Skipped]]:
    """Read headers and group image files by series.

    A series with several images at one position is divided by echo, time frame, contrast, kernel or
    acquisition. Images that are not slices, copies and images without a position are left out. So
    are derived images, unless the patient has no other images of that modality.

    Args:
        files: Any files, in any order and with any suffix.
        on_error: "collect" lists a file that cannot be read as `Damaged` instead of raising.
        keep_derived: Keep images that were computed from other images of the patient, such as a
            simulated low dose.

    Returns:
        Series, the one with most slices first, and the files that belong to no series.

    Raises:
        InputError: A file is damaged, or has a DICOM suffix but other content.
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
    # A file whose frames form several stacks occurs in several series. It is listed once here and
    # refused when it is read.
    series = list({one.files: one for one in series}.values())
    return sorted(series, key=lambda one: (-len(one.files), one.uid, one.files)), skipped


def read_dicom_series(files: Iterable[Path]) -> Volume:
    """Read one series and open each file once: HU for CT, SUVbw for PET, rescaled values for MR.

    Raises:
        InputError: As in `DicomScan`.
    """
    return DicomScan(files, with_pixels=True).read()


def _slice(image: Image) -> _Slice:
    header = image.header
    orientation = np.array(header.ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])
    height = float(np.array(header.ImagePositionPatient, float) @ normal)
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
        height=round(height, _HEIGHT_DECIMALS),
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
    """Group slices whose keys agree within a tolerance; the largest group comes first."""
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
    """Divide slices into stacks with one image per position, by as few tags as possible."""
    if not slices:
        return []
    multiplicity = max(Counter(one.height for one in slices).values())
    if multiplicity == 1:
        return [slices]
    columns = range(len(slices[0].apart))
    for number in (1, 2, 3):
        for chosen in combinations(columns, number):
            stacks = _split_by(slices, chosen)
            # A tag that differs for every slice, such as its time, would give more stacks.
            if len(stacks) == multiplicity and not any(map(_overlap, stacks)):
                return stacks
    # Several passes along the body, which overlap at their ends.
    passes = _split_by(slices, (_APART.index("AcquisitionNumber"),))
    if min(map(len, passes)) > 1 and not any(map(_overlap, passes)):
        return passes
    return [slices]  # `DicomScan` refuses it and names two files at one position


def _split_by(slices: list[_Slice], columns: Iterable[int]) -> list[list[_Slice]]:
    """Divide slices by some of the values in `_Slice.apart`."""
    stacks: dict[tuple[str, ...], list[_Slice]] = defaultdict(list)
    for one in slices:
        stacks[tuple(one.apart[column] for column in columns)].append(one)
    return list(stacks.values())


def _overlap(slices: list[_Slice]) -> bool:
    return len({one.height for one in slices}) < len(slices)
