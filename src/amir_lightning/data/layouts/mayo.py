"""Layout ``mayo``: AAPM-Mayo CT of the 2016 challenge or of TCIA's LDCT-and-Projection-data."""

import logging
import re
from collections import defaultdict
from functools import partial
from pathlib import Path

from amir_lightning.data.layouts.layout import (
    RawDataset,
    RawPatient,
    check_folder,
    raw_dataset,
    series_of_task,
)
from amir_lightning.data.layouts.matching import read_pair
from amir_lightning.data.layouts.roles import Role, roles_of, with_description
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import DicomSeries, Skipped
from amir_lightning.io.files import find_files
from amir_lightning.tasks import Task

log = logging.getLogger(__name__)

_PATIENT = re.compile(r"(?<![A-Za-z0-9])([LCN]\d{3})(?![0-9])")
_CHALLENGE_FILE = re.compile(r"^[LCN]\d{3}_(FD|QD)_")
_KIND_FOLDER = re.compile(r"(full|quarter|fd|qd)[_ -]?(dose)?[_ -]?\d ?mm", re.IGNORECASE)
_PROJECTIONS = re.compile(r"dose[ _-]?projections", re.IGNORECASE)
_TCIA_FOLDER = re.compile(r"(full|low)[ _-]?dose[ _-]?(images|projections)", re.IGNORECASE)


def mayo(
    raw_dir: Path, task: Task, thickness_mm: float | None = None, kernel: str | None = None
) -> RawDataset:
    """Find the patients with a full-dose and a reduced-dose series.

    The dose is read from folders, file names and series descriptions; the patient is a name such as
    L506 in the path. If there are several reconstructions, the one with the thinnest slices is
    used. Among equally thin ones, the kernel decides in alphabetical order: B (soft) before D
    (sharp).

    Args:
        raw_dir: The folder of the data set.
        task: The task.
        thickness_mm: Use reconstructions of this slice thickness only [mm].
        kernel: Use only kernels whose name starts with this text, such as "B30".

    Raises:
        InputError: There is no patient with both doses, or names contradict each other.
    """
    check_folder(raw_dir)
    found, skipped = find_files(raw_dir)
    files: list[Path] = []
    projections: list[Path] = []
    for path in found:
        below = str(path.parent.relative_to(raw_dir))
        (projections if _PROJECTIONS.search(below) else files).append(path)
    skipped += [Skipped(path, "raw projections") for path in projections]
    by_patient: dict[str, dict[Role, list[DicomSeries]]] = defaultdict(lambda: {"hq": [], "lq": []})
    series = series_of_task(files, task, skipped, keep_derived=True)
    roles = roles_of([_names(one, raw_dir) for one in series])
    for one, named in zip(series, roles, strict=True):
        role = with_description(named, one.description, str(one.files[0]))
        if role is None:
            skipped += [
                Skipped(path, "series that is neither full nor low dose") for path in one.files
            ]
            continue
        by_patient[_patient(one, raw_dir)][role].append(one)
    patients = []
    for key, doses in sorted(by_patient.items()):
        chosen = _choose(key, doses, thickness_mm, kernel, skipped)
        if chosen:
            hq, lq = chosen
            read = partial(read_pair, hq.files, lq.files, task.units)
            patients.append(RawPatient(key, read, (*hq.files, *lq.files), key))
    expected = (
        "folders such as L506/full_3mm and L506/quarter_3mm, or TCIA's LDCT-and-Projection-data"
    )
    return raw_dataset(raw_dir, task, patients, skipped, expected)


def looks_like_mayo(path: Path) -> bool:
    """Whether a file or its folders are named as in one of the two releases."""
    folders = [part.name for part in path.parents]
    return bool(
        _CHALLENGE_FILE.match(path.name)
        or any(_KIND_FOLDER.search(name) or _TCIA_FOLDER.search(name) for name in folders)
    )


def _names(series: DicomSeries, raw_dir: Path) -> tuple[str, ...]:
    path = series.files[0].relative_to(raw_dir)
    marked = re.search(r"_(FD|QD)_", path.name)
    return (*path.parts[:-1], marked[1] if marked else "")


def _patient(series: DicomSeries, raw_dir: Path) -> str:
    path = series.files[0].relative_to(raw_dir)
    for part in path.parts:
        match = _PATIENT.search(part)
        if match:
            return match[1]
    match = _PATIENT.search(series.patient_id)
    if match:
        return match[1]
    raise InputError(
        f"{path} does not say whose scan it is; expected a patient such as L506 in the folder or "
        "file name: type dataset=pairs for another data set"
    )


def _choose(
    key: str,
    doses: dict[Role, list[DicomSeries]],
    thickness_mm: float | None,
    kernel: str | None,
    skipped: list[Skipped],
) -> tuple[DicomSeries, DicomSeries] | None:
    def wanted(one: DicomSeries) -> bool:
        thick = thickness_mm is None or abs(one.thickness_mm - thickness_mm) < 0.05
        return thick and (kernel is None or one.kernel.upper().startswith(kernel.upper()))

    def settings(one: DicomSeries) -> tuple[float, str]:
        return round(one.thickness_mm, 2), one.kernel

    kept = {role: [one for one in found if wanted(one)] for role, found in doses.items()}
    both = sorted({settings(o) for o in kept["hq"]} & {settings(o) for o in kept["lq"]})
    if not both and len(kept["hq"]) == len(kept["lq"]) == 1:
        both = [settings(kept["hq"][0])]  # the only pair, though thickness or kernel differ
        pair = (kept["hq"][0], kept["lq"][0])
    elif both:
        hq, lq = ([one for one in kept[role] if settings(one) == both[0]] for role in ("hq", "lq"))
        pair = (hq[0], lq[0])
    else:
        missing = "full" if not kept["hq"] else "quarter" if not kept["lq"] else "matching"
        for one in (*doses["hq"], *doses["lq"]):
            skipped += [
                Skipped(path, f"patient without {missing}-dose series") for path in one.files
            ]
        log.warning("%s: no %s-dose series; the patient is left out", key, missing)
        return None
    if len(both) > 1:
        thickness, name = both[0]
        log.warning(
            "%s has %d reconstructions; taking %g mm %s (layout_options.thickness_mm=<mm> or "
            "layout_options.kernel=<name> chooses another)",
            key,
            len(both),
            thickness,
            name,
        )
    for one in (*doses["hq"], *doses["lq"]):
        if one not in pair:
            skipped += [Skipped(path, "another reconstruction") for path in one.files]
    return pair
