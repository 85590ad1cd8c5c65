"""Layout ``bids``: a scan per subject and session, such as ``sub-01/anat/sub-01_T2w.nii.gz``.

Source: K. J. Gorgolewski et al., Sci Data 3, 160044, 2016, and the specification at
bids-specification.readthedocs.io: a name is a chain of ``key-label`` entities and a suffix.
"""

import csv
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from amir_lightning.data.layouts.folder import nifti_patient
from amir_lightning.data.layouts.layout import RawDataset, RawPatient, check_folder, raw_dataset
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import Skipped
from amir_lightning.io.files import find_files, subfolders
from amir_lightning.io.nifti.file import is_nifti, nifti_stem
from amir_lightning.system.wording import counted
from amir_lightning.tasks import Task

log = logging.getLogger(__name__)

_SUFFIXES = {"MR": "T2w", "PT": "pet", "CT": "ct"}  # by DICOM modality; MRI as in the paper
_NAME = re.compile(r"(?P<entities>sub-[^_-]+(?:_[A-Za-z]+-[^_-]+)*)_(?P<suffix>[A-Za-z0-9]+)")
_NO_MAGNITUDE = {"part-phase", "part-real", "part-imag"}


class _Name(NamedTuple):
    """Entities of a file name, such as sub-01 and run-2, and its suffix."""

    entities: tuple[str, ...]
    suffix: str

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Parse the name of a NIfTI file; None if it is not as in BIDS."""
        match = _NAME.fullmatch(nifti_stem(path))
        return cls(tuple(match["entities"].split("_")), match["suffix"]) if match else None

    @property
    def scanned(self) -> tuple[str, ...]:
        """Subject and, if there is one, session."""
        return tuple(one for one in self.entities if one.startswith(("sub-", "ses-")))


def bids(
    raw_dir: Path,
    task: Task,
    suffix: str | None = None,
    session: str | None = None,
    entity: str | None = None,
) -> RawDataset:
    """Find one scan of each subject and session of a BIDS data set; a subject has one split.

    Files that ``.bidsignore`` lists are left out, and everything outside the subjects' folders,
    such as ``derivatives``. To prepare derivatives, give their own folder.

    Args:
        raw_dir: The folder of the data set.
        task: The task; its modality decides the usual suffix.
        suffix: Suffix of the scans, such as T1w or FLAIR; None takes T2w, pet or ct.
        session: Use only this session, such as 01; None uses all.
        entity: Use only names with these entities, such as run-1 or acq-tse_run-1.

    Raises:
        InputError: There is no such scan, a session has two, or a name contradicts its folder.
    """
    check_folder(raw_dir)
    suffix = suffix or _SUFFIXES.get(task.dicom_modality)
    if suffix is None:
        raise InputError(
            f"BIDS has no usual suffix for modality {task.dicom_modality}; type "
            "layout_options.suffix=<the end of the names>"
        )
    wanted = set(entity.split("_")) if entity else set()
    if session:
        wanted.add(f"ses-{session.removeprefix('ses-')}")
    found, skipped = find_files(raw_dir)
    ignored = _ignored(raw_dir)
    scans: dict[tuple[str, ...], Path] = {}
    for path in found:
        place = path.relative_to(raw_dir)
        name = _Name.of(path) if is_nifti(path) else None
        if reason := _reason_to_skip(place, name, suffix, wanted, ignored):
            skipped.append(Skipped(path, reason))
            continue
        assert name is not None
        _check_place(place, name, raw_dir)
        other = scans.setdefault(name.scanned, path)
        if other != path:
            raise InputError(_two_scans(other, path, raw_dir, suffix))
    patients = [
        nifti_patient("_".join(scanned), path, task, scanned[0]) for scanned, path in scans.items()
    ]
    expected = f"names such as sub-01/anat/sub-01_{suffix}.nii.gz"
    dataset = raw_dataset(raw_dir, task, patients, skipped, expected)
    _say_missing(raw_dir, dataset.patients, suffix)
    return dataset


def looks_like_bids(path: Path) -> bool:
    """Whether the path of a file below the data set is that of a subject's scan."""
    name = _Name.of(path) if is_nifti(path) else None
    return name is not None and len(path.parts) > 1 and path.parts[0] == name.entities[0]


def _reason_to_skip(
    place: Path, name: _Name | None, suffix: str, wanted: set[str], ignored: Callable[[Path], bool]
) -> str | None:
    top = place.parts[0]
    if not (top.startswith("sub-") and len(place.parts) > 1):
        return f"file of {top}" if len(place.parts) > 1 else "no file of a subject"
    if ignored(place):
        return "listed in .bidsignore"
    if name is None:
        return "NIfTI with a name that BIDS has not" if is_nifti(place) else "no NIfTI file"
    if name.suffix != suffix:
        return f"suffix {name.suffix}"
    if not wanted <= set(name.entities):
        return f"not {', '.join(sorted(wanted))}"
    return "phase, real or imaginary part" if _NO_MAGNITUDE & set(name.entities) else None


def _check_place(place: Path, name: _Name, raw_dir: Path) -> None:
    folders = tuple(part for part in place.parts[:-1] if part.startswith(("sub-", "ses-")))
    if folders != name.scanned:
        raise InputError(
            f"{raw_dir / place} lies in {'/'.join(folders)} and is named "
            f"{'_'.join(name.scanned)}, expected the same subject and session in both, because "
            "they decide the split; move or rename it"
        )


def _two_scans(one: Path, other: Path, raw_dir: Path, suffix: str) -> str:
    entities = [set(name.entities) for name in map(_Name.of, (one, other)) if name]
    differing = sorted(entities[0] - entities[1]) or sorted(entities[1] - entities[0])
    choice = f"type layout_options.entity={differing[0]} to choose, or " if differing else ""
    return (
        f"{one.relative_to(raw_dir)} and {other.relative_to(raw_dir)} are two {suffix} scans of "
        f"one session, expected one; {choice}list one of them in .bidsignore"
    )


def _ignored(raw_dir: Path) -> Callable[[Path], bool]:
    """Rules of ``.bidsignore``, which are those of ``.gitignore``: the last match decides."""
    try:
        lines = (raw_dir / ".bidsignore").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return lambda _: False
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    rules = [(not text.startswith("!"), _regex(text.removeprefix("!"))) for text in patterns]

    def ignored(place: Path) -> bool:
        hits = [leave_out for leave_out, rule in rules if rule.fullmatch(place.as_posix())]
        return bool(hits and hits[-1])

    return ignored


def _regex(pattern: str) -> re.Pattern[str]:
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern.strip("/"))
    body = "".join(wild.get(part, re.escape(part)) for part in parts)
    anywhere = "" if "/" in pattern.rstrip("/") else "(?:.*/)?"
    return re.compile(f"{anywhere}{body}{'/.*' if pattern.endswith('/') else '(?:/.*)?'}")


def _say_missing(raw_dir: Path, patients: Sequence[RawPatient], suffix: str) -> None:
    """Warn about subjects without a scan: a download may be incomplete."""
    subjects = {one.name for one in subfolders(raw_dir) if one.name.startswith("sub-")}
    try:
        with (raw_dir / "participants.tsv").open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        subjects |= {row.get("participant_id") or "" for row in rows} - {""}
    except (OSError, UnicodeDecodeError, csv.Error):
        pass  # the table is optional, and nothing but this warning depends on it
    missing = sorted(subjects - {one.identity for one in patients})
    if missing:
        log.warning(
            "%s without a %s scan: %s%s",
            counted("subject", len(missing)),
            suffix,
            ", ".join(missing[:3]),
            ", ..." if len(missing) > 3 else "",
        )
