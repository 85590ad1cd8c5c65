"""Raw scans to the prepared store of one task: read, simulate LQ, cut, split, write."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from amir_lightning.data.layouts import Layout, RawPatient, one_per_patient, summarise
from amir_lightning.data.pairs import (
    SlicePairs,
    informative_rows,
    make_pairs,
    patient_seed,
)
from amir_lightning.data.splits import (
    SPLITS,
    Split,
    SplitKind,
    assign_from_file,
    split_kind,
    split_patients,
    split_slices,
)
from amir_lightning.data.store_writer import (
    Compression,
    PreparedPatient,
    patient_id,
    write_store,
)
from amir_lightning.degradation import Degradation
from amir_lightning.errors import InputError
from amir_lightning.tasks import Task

log = logging.getLogger(__name__)


@dataclass
class _Tally:
    """What went into one split, for the closing table."""

    patients: set[str] = field(default_factory=set)
    slices: int = 0
    shapes: set[str] = field(default_factory=set)
    spacings: set[str] = field(default_factory=set)
    low: float = float("inf")
    high: float = float("-inf")


def prepare(
    task: Task,
    degradation: Degradation,
    raw_dir: Path,
    output: Path,
    *,
    split: Mapping[str, float],
    split_file: Path | None = None,
    gap: int = 2,
    central_slices: int | None = None,
    compression: Compression | None = None,
    seed: int = 0,
    layout: Layout = one_per_patient,
) -> Path:
    """Prepare one task: a folder of scans becomes one HDF5 file of slice pairs.

    Args:
        task: The task.
        degradation: Makes LQ from HQ where the layout gives no measured LQ.
        raw_dir: Folder of scans.
        output: The HDF5 file; it appears when it is complete.
        split: Share of train, val and test, as fractions or numbers of patients.
        split_file: CSV of ``patient,split`` instead of ``split``.
        gap: Slices left out between two blocks where slices must be split.
        central_slices: Keep that many slices around the middle; None keeps all.
        compression: None or "lzf".
        seed: Seed of the assignment and of the simulated noise.
        layout: How the patients lie in the folder.

    Returns:
        ``output``.

    Raises:
        InputError: A scan, an option or the disk does not allow it; nothing is left behind.
    """
    _check_options(gap, central_slices, compression)
    patients, skipped = layout(raw_dir, task)
    keys = [patient.key for patient in patients]
    people = {patient.key: patient.identity or patient.key for patient in patients}
    distinct = sorted(set(people.values()))
    kind: SplitKind = "patients" if split_file else split_kind(len(distinct), split)
    if split_file:
        assigned = assign_from_file(keys, split_file)
    elif kind == "patients":
        of_person = split_patients(distinct, split, seed)
        assigned = {key: of_person[person] for key, person in people.items()}
    else:
        assigned = {}
        log.warning(
            "%d patient%s cannot fill the splits %s: each volume is cut into blocks of "
            "neighbouring slices with a gap between them, so scores say nothing about new patients",
            len(distinct),
            "" if len(distinct) == 1 else "s",
            ", ".join(name for name in SPLITS if split.get(name)),
        )

    tallies: dict[Split, _Tally] = defaultdict(_Tally)
    dropped: dict[str, int] = defaultdict(int)

    def prepared() -> Iterator[PreparedPatient]:
        console = Console(stderr=True)
        progress = track(
            patients,
            f"Preparing {task.name}",
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        for patient in progress:
            pairs, source = _pairs(patient, task, degradation, seed, central_slices)
            rows = informative_rows(pairs.hq, task)
            dropped["air or constant"] += len(pairs.hq) - len(rows)
            if not len(rows):
                raise InputError(_only_air(patient.key, pairs, task))
            splits: list[Split | None]
            if kind == "patients":
                splits = [assigned[patient.key]] * len(rows)
            else:
                splits = split_slices(len(rows), split, gap)
            dropped["gap"] += splits.count(None)
            kept = [name for name in splits if name is not None]
            pairs = pairs.take(rows[[name is not None for name in splits]])
            _count(tallies, patient.key, pairs, kept)
            yield PreparedPatient(
                patient_key=patient.key,
                lq=pairs.lq,
                hq=pairs.hq,
                slice_index=pairs.slice_index,
                split=kept,
                affine=pairs.affine,
                spacing_mm=pairs.spacing_mm,
                source=source,
            )

    write_store(
        output,
        task,
        prepared(),
        degradation={**task.degradation, "seed": seed},
        source="scans",
        split_kind=kind,
        compression=compression,
    )
    console = Console(soft_wrap=True)
    console.print(_table(task, kind, tallies))
    left_out = [f"{count} x {reason} slice" for reason, count in dropped.items() if count]
    left_out += [summarise(skipped)] if skipped else []
    console.print(f"left out: {'; '.join(left_out) or 'nothing'}")
    console.print(f"written:  {output}")
    usual = output.as_posix() == f"data/prepared/{task.name}.h5"
    where = "" if usual else f" paths.prepared_dir={output.parent}"
    console.print(f"next:     python -m amir_lightning.train task={task.name}{where}")
    return output


def _check_options(gap: int, central_slices: object, compression: object) -> None:
    if gap < 0:
        raise InputError(f"gap is {gap}, expected a number of slices from 0 on; type gap=2")
    if central_slices is not None and not (isinstance(central_slices, int) and central_slices > 0):
        raise InputError(
            f"central_slices is {central_slices}, expected a number of slices; "
            "type for instance central_slices=100"
        )
    if compression not in (None, *get_args(Compression)):
        raise InputError(f"compression is '{compression}'; choose null or lzf")


def _pairs(
    patient: RawPatient,
    task: Task,
    degradation: Degradation,
    seed: int,
    central_slices: int | None,
) -> tuple[SlicePairs, str]:
    scan = patient.read()
    noise_seed = patient_seed(seed, patient_id(patient.key))
    return make_pairs(scan, task, degradation, noise_seed, central_slices), scan.hq.source


def _only_air(key: str, pairs: SlicePairs, task: Task) -> str:
    return (
        f"patient {key} has only air: values from {pairs.hq.min():g} to {pairs.hq.max():g}, "
        f"expected {task.units} with tissue inside {sorted(task.display_window)}; "
        f"convert the scan to {task.units} or leave it out"
    )


def _count(tallies: dict[Split, _Tally], key: str, pairs: SlicePairs, splits: list[Split]) -> None:
    names = np.array(splits)
    for name in SPLITS:
        rows = np.flatnonzero(names == name)
        if not len(rows):
            continue
        tally, hq = tallies[name], pairs.hq[rows]
        tally.patients.add(key)
        tally.slices += len(rows)
        tally.shapes.add("x".join(map(str, hq.shape[1:])))
        tally.spacings.add("x".join(f"{value:.2f}" for value in pairs.spacing_mm[1:]))
        tally.low = min(tally.low, float(hq.min()))
        tally.high = max(tally.high, float(hq.max()))


def _table(task: Task, kind: SplitKind, tallies: Mapping[Split, _Tally]) -> Table:
    table = Table(title=f"{task.title}: split by {kind}")
    for column in ("split", "patients", "slices", "shape", "pixel (mm)", f"HQ ({task.units})"):
        table.add_column(column)
    for name in SPLITS:
        tally = tallies.get(name)
        if tally is None:
            table.add_row(name, "0", "0", "", "", "")
            continue
        table.add_row(
            name,
            str(len(tally.patients)),
            str(tally.slices),
            _few(tally.shapes),
            _few(tally.spacings),
            f"{tally.low:.4g} to {tally.high:.4g}",
        )
    return table


def _few(values: set[str]) -> str:
    first, *others = sorted(values)
    return f"{first} (+{len(others)} others)" if others else first
