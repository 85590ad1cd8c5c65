"""First pass: read every patient and check it, before anything is simulated or written.

The pixels of all patients do not fit into memory, so the second pass (`cache`) reads them again.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from amir_lightning.data.layouts import RawPatient
from amir_lightning.data.pairs import Array, fit_to_grid, hq_slices, informative_rows
from amir_lightning.data.plausible import check_units
from amir_lightning.errors import InputError
from amir_lightning.prepare.options import Options
from amir_lightning.tasks import Task


@dataclass
class Inspection:
    """Summary of one patient's files.

    Attributes:
        key: The patient's key.
        problem: Why the patient cannot be prepared; empty if it can.
        slices: Number of informative slices.
        dropped: Number of slices left out because they show air or one value.
        shape: Rows and columns of a slice, such as "256x256".
        spacing_mm: Distance between slices, rows and columns [mm].
        low: Smallest HQ value in the informative slices.
        high: Largest HQ value in the informative slices.
        pixels: Hash of each informative HQ slice.
        sources: SHA-256 of each source file.
        source: Kind of the scan and one hash of all its files, for the store.
    """

    key: str
    problem: str = ""
    slices: int = 0
    dropped: int = 0
    shape: str = ""
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    low: float = 0.0
    high: float = 0.0
    pixels: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    source: str = ""


def inspect_patient(patient: RawPatient, task: Task, options: Options) -> Inspection:
    """Read one patient and summarise it; a mistake in its files is recorded, not raised."""
    found = Inspection(patient.key)
    try:
        for path in patient.files:
            with path.open("rb") as file:
                found.sources.append(hashlib.file_digest(file, "sha256").hexdigest())
        scan = patient.read()
        if scan.hq.units != task.units:
            raise InputError(
                f"patient {patient.key} is in {scan.hq.units}; task {task.name} expects "
                f"{task.units}: type another task or leave it out"
            )
        if not task.measured:
            scan = scan._replace(lq=None)
        scan = fit_to_grid(scan, task, options.grid, options.intensity_scale)
        if not options.force_units:
            check_units(scan.hq.array, task, f"patient {patient.key}")
            if scan.lq is not None:
                check_units(scan.lq.array, task, f"the LQ scan of patient {patient.key}")
        hq = hq_slices(scan, task, options.central_slices)
        rows = informative_rows(hq, task)
        if not len(rows):
            raise InputError(_only_air(patient.key, hq, task))
    except InputError as error:
        named = patient.key in str(error)
        found.problem = str(error) if named else f"patient {patient.key}: {error}"
        return found
    except OSError as error:
        found.problem = f"patient {patient.key} cannot be read ({error.strerror})"
        return found
    kept = hq[rows]
    found.slices, found.dropped = len(rows), len(hq) - len(rows)
    found.shape = "x".join(map(str, hq.shape[1:]))
    found.source = f"{scan.hq.source} sha256:{_hash_all(found.sources)}"
    z, y, x = scan.hq.spacing_mm
    found.spacing_mm = {"axial": (z, y, x), "coronal": (y, x, z), "sagittal": (x, y, z)}[task.plane]
    found.low, found.high = float(kept.min()), float(kept.max())
    found.pixels = [_hash(image) for image in kept]
    return found


def duplicates(inspections: Sequence[Inspection], split_of: Mapping[str, str]) -> dict[str, str]:
    """Find patients in different splits that share a slice, pixel by pixel.

    Args:
        inspections: The patients.
        split_of: Split of each patient's key.

    Returns:
        Error message for the later patient of each pair, by key.
    """
    first: dict[str, str] = {}
    problems: dict[str, str] = {}
    for one in inspections:
        for digest in one.pixels:
            owner = first.setdefault(digest, one.key)
            if owner != one.key and split_of.get(owner) != split_of.get(one.key):
                problems[one.key] = (
                    f"patients {owner} ({split_of.get(owner)}) and {one.key} "
                    f"({split_of.get(one.key)}) share slices, pixel by pixel; leave one of them "
                    "out or put both into one split with split_file=<csv>"
                )
    return problems


def _hash(image: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()[:24]


def _hash_all(hashes: list[str]) -> str:
    """Combine the hashes of several files into one; the hash of a single file stays."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _only_air(key: str, hq: Array, task: Task) -> str:
    return (
        f"patient {key} has only air: values from {hq.min():g} to {hq.max():g}, "
        f"expected {task.units} with tissue inside {sorted(task.display_window)}; "
        f"convert the scan to {task.units} or leave it out"
    )
