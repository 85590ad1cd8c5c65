"""Layout ``pairs``: each patient has a full scan and one of reduced dose, counts or time."""

import fnmatch
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

from amir_lightning.data.layouts.layout import (
    RawDataset,
    RawPatient,
    check_folder,
    raw_dataset,
    series_of_task,
)
from amir_lightning.data.layouts.matching import read_pair
from amir_lightning.data.layouts.roles import (
    Role,
    is_role,
    roles_of,
    with_description,
    without_role,
)
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import Skipped
from amir_lightning.io.files import find_files
from amir_lightning.io.nifti.file import is_nifti, nifti_stem
from amir_lightning.io.scan import niftis_and_others
from amir_lightning.tasks import Task


class _Candidate(NamedTuple):
    files: tuple[Path, ...]
    path: Path  # relative to the raw folder
    role: Role | None
    frame_ms: float
    patient_id: str
    description: str


def paired(raw_dir: Path, task: Task, hq: str | None = None, lq: str | None = None) -> RawDataset:
    """Find patients with a full and a reduced scan.

    The two are recognised by words in folder, file and series names (full, FD, HQ, NDCT; quarter,
    low, LD, LQ, reduced) or, in DICOM PET, by the frame duration.

    Args:
        raw_dir: Folder with ``<patient>/<anything>``, or with ``HQ/<patient>`` and
            ``LQ/<patient>``.
        task: The task.
        hq: Pattern of the full scans' paths below ``raw_dir``, such as "*/180s/*".
        lq: Pattern of the reduced scans' paths.

    Raises:
        InputError: No patient has both scans, or they cannot be told apart.
    """
    check_folder(raw_dir)
    files, skipped = find_files(raw_dir)
    niftis, others = niftis_and_others(files, skipped)
    candidates = []
    for path in niftis:
        candidates.append(_candidate(raw_dir, (path,), "", 0.0, "", hq, lq))
    for one in series_of_task(others, task, skipped, keep_derived=True):
        candidates.append(
            _candidate(raw_dir, one.files, one.description, one.frame_ms, one.patient_id, hq, lq)
        )
    if not hq and not lq:
        candidates = _with_roles(candidates)
    patients = []
    for key, own in sorted(_by_patient(candidates).items()):
        pair = _pair(key, own, skipped)
        if pair:
            full, reduced = pair
            patients.append(
                RawPatient(
                    key,
                    partial(read_pair, full.files, reduced.files, task.units),
                    (*full.files, *reduced.files),
                    full.patient_id,
                    certain=False,
                )
            )
    expected = (
        "<patient>/<full scan> and <patient>/<reduced scan>, or HQ/<patient> and LQ/<patient>"
    )
    return raw_dataset(raw_dir, task, patients, skipped, expected)


def _candidate(
    raw_dir: Path,
    files: tuple[Path, ...],
    description: str,
    frame_ms: float,
    patient_id: str,
    hq: str | None,
    lq: str | None,
) -> _Candidate:
    path = files[0].relative_to(raw_dir)
    role: Role | None = None
    if hq and fnmatch.fnmatch(str(path), hq):
        role = "hq"
    elif lq and fnmatch.fnmatch(str(path), lq):
        role = "lq"
    return _Candidate(files, path, role, frame_ms, patient_id, description)


def _with_roles(candidates: list[_Candidate]) -> list[_Candidate]:
    paths = [one.path for one in candidates]
    names = [(*path.parts[:-1], nifti_stem(path) if is_nifti(path) else "") for path in paths]
    return [
        one._replace(role=with_description(role, one.description, str(one.path)))
        for one, role in zip(candidates, roles_of(names), strict=True)
    ]


def _by_patient(candidates: list[_Candidate]) -> dict[str, list[_Candidate]]:
    """Group scans by patient; folders around the scans of several patients are ignored."""
    counts = Counter(one.role for one in candidates)
    several = counts["hq"] > 1 and counts["lq"] > 1
    outside = 0
    while True:
        patients: dict[str, list[_Candidate]] = defaultdict(list)
        for one in candidates:
            patients[_patient(one, outside)].append(one)
        folders = {one.path.parts[:-1][outside : outside + 1] for one in candidates}
        if not several or len(patients) > 1 or len(folders) > 1 or folders == {()}:
            return patients
        outside += 1


def _patient(candidate: _Candidate, outside: int) -> str:
    """First folder or file name that is not a role, without the `outside` outermost folders."""
    parts = candidate.path.parts[outside:]
    folders = [part for part in parts[:-1] if not is_role(part)]
    if folders:
        return folders[0]
    stem = nifti_stem(candidate.path) if is_nifti(candidate.path) else candidate.patient_id
    return without_role(stem) or parts[0]


def _pair(
    key: str, own: list[_Candidate], skipped: list[Skipped]
) -> tuple[_Candidate, _Candidate] | None:
    roles: dict[Role, list[_Candidate]] = {
        "hq": [one for one in own if one.role == "hq"],
        "lq": [one for one in own if one.role == "lq"],
    }
    if not roles["hq"] and not roles["lq"] and len(own) == 2:
        short, long = sorted(own, key=lambda one: one.frame_ms)
        if short.frame_ms < long.frame_ms:
            roles = {"hq": [long], "lq": [short]}
    if len(roles["hq"]) == 1 and len(roles["lq"]) == 1:
        pair = (roles["hq"][0], roles["lq"][0])
        for one in own:
            if one not in pair:
                skipped += [Skipped(path, "neither full nor reduced") for path in one.files]
        return pair
    if len(own) == 1 or not (roles["hq"] and roles["lq"]):
        if len(own) > 1 and not roles["hq"] and not roles["lq"]:
            raise InputError(
                f"{key} has {len(own)} scans and nothing tells the full from the reduced one; "
                "type layout_options.hq=<pattern> layout_options.lq=<pattern>, such as '*/180s/*'"
            )
        for one in own:
            skipped += [Skipped(path, "scan without a partner") for path in one.files]
        return None
    raise InputError(
        f"{key} has {len(roles['hq'])} full and {len(roles['lq'])} reduced scans; expected one "
        "each: type layout_options.hq=<pattern> layout_options.lq=<pattern>, such as '*/180s/*'"
    )
