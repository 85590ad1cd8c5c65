"""Preparation of one task: inspect all patients, report, cache their pairs, write the store."""

import logging
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from rich.console import Console
from rich.progress import track

from amir_lightning.cli.searchpath import typed_folders
from amir_lightning.data.layouts import RawDataset, RawPatient
from amir_lightning.data.splits import SPLITS, Split, SplitKind, split_slices
from amir_lightning.data.store import Store
from amir_lightning.data.store_writer import PreparedPatient, write_store
from amir_lightning.degradation import Degradation
from amir_lightning.errors import InputError
from amir_lightning.io.dicom.series import Damaged, Skipped, summarise
from amir_lightning.prepare.assignment import assign_splits
from amir_lightning.prepare.cache import cache_pairs, cache_path, read_cached_pairs
from amir_lightning.prepare.inspection import Inspection, duplicates, inspect_patient
from amir_lightning.prepare.manifest import write_manifest
from amir_lightning.prepare.options import Options
from amir_lightning.prepare.report import split_table
from amir_lightning.prepare.stores import check_output, check_same_hq, open_base
from amir_lightning.system import cores
from amir_lightning.system.locks import locked
from amir_lightning.system.wording import counted
from amir_lightning.tasks import Task

log = logging.getLogger(__name__)


def prepare(
    task: Task,
    degradation: Degradation,
    dataset: RawDataset,
    output: Path,
    options: Options,
    *,
    hq_from: Path | None = None,
    check: bool = False,
) -> Path:
    """Write the slice pairs of all patients of a raw data set into one HDF5 file.

    Args:
        task: The task.
        degradation: Simulates LQ from HQ for patients without a measured LQ scan.
        dataset: The raw data set as a layout found it.
        output: The HDF5 file; it appears when it is complete. Until then finished patients are
            cached in a hidden folder next to it, so that a stopped preparation can continue.
        options: The user's options.
        hq_from: Prepared store of the same scans, whose HQ the new one shares; None writes HQ.
        check: Only inspect and report; write nothing.

    Returns:
        ``output``.

    Raises:
        InputError: A scan or an option is not usable, or the disk is full.
    """
    check_output(output, task)
    base = None if hq_from is None else open_base(hq_from, output, task)
    if check:
        return _prepare(task, degradation, dataset, output, options, base, check=True)
    lock = output.absolute().with_name(f".{output.name}.lock")
    with locked(lock, f"preparing {output}", wait=True, advice="type output=<file>") as waited:
        if waited and output.exists():
            print(f"written:  {output}, by another process; run again to write it anew")
            return output
        return _prepare(task, degradation, dataset, output, options, base, check=False)


def _prepare(
    task: Task,
    degradation: Degradation,
    dataset: RawDataset,
    output: Path,
    options: Options,
    base: Store | None,
    check: bool,
) -> Path:
    skipped = list(dataset.skipped)
    inspections, patients, problems = _inspect_all(task, dataset.patients, options)
    problems = [one.problem for one in skipped if isinstance(one, Damaged)] + problems
    kind, assigned = assign_splits(patients, options)
    if kind == "patients":
        shared = duplicates(inspections, assigned)
        problems += shared.values()
        inspections = [one for one in inspections if one.key not in shared]
        patients = [one for one in patients if one.key not in shared]
    console = Console(soft_wrap=True)
    if inspections:
        console.print(split_table(task, kind, assigned, inspections))
    _print_left_out(console, skipped, inspections, problems)
    if check:
        _finish_check(problems)
        return output
    if problems and options.on_error == "stop":
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise InputError(
            f"{problems[0]}{more}; on_error=skip leaves out what is bad, check=true lists it all"
        )
    if not patients:
        raise InputError("no patient is left to prepare; check=true lists why")
    cached = _cache_all(task, degradation, patients, inspections, output, options)
    counts = _merge(task, cached, kind, assigned, output, options, base)
    write_manifest(output, task, inspections, skipped, kind, assigned, options)
    shutil.rmtree(_cache_folder(output), ignore_errors=True)
    per_split = ", ".join(f"{counts[name]} {name}" for name in SPLITS if counts[name])
    console.print(f"written:  {output} ({counted('slice', counts.total())}: {per_split})")
    default = output.as_posix() == f"data/prepared/{task.name}.h5"
    where = [] if default else [shlex.quote(f"paths.prepared_dir={output.parent}")]
    typed = " ".join([*typed_folders(), f"task={task.name}", *where])
    console.print(f"next:     python -m amir_lightning.train {typed}")
    return output


def _inspect_all(
    task: Task, patients: Sequence[RawPatient], options: Options
) -> tuple[list[Inspection], list[RawPatient], list[str]]:
    jobs = [joblib.delayed(inspect_patient)(patient, task, options) for patient in patients]
    inspections = list(_parallel(jobs, options, f"Looking at {task.name}", len(patients)))
    by_key = {one.key: one for one in inspections if not one.problem}
    good = [patient for patient in patients if patient.key in by_key]
    problems = [one.problem for one in inspections if one.problem]
    return [by_key[patient.key] for patient in good], good, problems


def _cache_all(
    task: Task,
    degradation: Degradation,
    patients: Sequence[RawPatient],
    inspections: Sequence[Inspection],
    output: Path,
    options: Options,
) -> dict[str, Path]:
    """Cache the pairs of all patients; returns the file of each patient's key."""
    folder = _cache_folder(output)
    cached = {one.key: cache_path(folder, one, task, options) for one in inspections}
    sources = {one.key: one.source for one in inspections}
    waiting = [patient for patient in patients if not cached[patient.key].exists()]
    if len(waiting) < len(patients):
        log.info(
            "continuing: %d of %s done",
            len(patients) - len(waiting),
            counted("patient", len(patients)),
        )
    threads = cores.threads(_workers(options, len(waiting)))
    jobs = [
        joblib.delayed(cache_pairs)(
            cached[patient.key], patient, sources[patient.key], task, degradation, options, threads
        )
        for patient in waiting
    ]
    for _ in _parallel(jobs, options, f"Preparing {task.name}", len(waiting)):
        pass
    return cached


def _merge(
    task: Task,
    cached: Mapping[str, Path],
    kind: SplitKind,
    assigned: Mapping[str, Split],
    output: Path,
    options: Options,
    base: Store | None,
) -> Counter[str]:
    """Write the cached pairs into the store; returns the number of slices of each split."""
    counts: Counter[str] = Counter()

    def prepared() -> Iterator[PreparedPatient]:
        for key, path in cached.items():
            pairs, source, parameters = read_cached_pairs(path)
            splits: list[Split | None]
            if kind == "patients":
                splits = [assigned[key]] * len(pairs.hq)
            else:
                splits = split_slices(len(pairs.hq), options.split, options.gap)
            kept = [name for name in splits if name is not None]
            rows = [row for row, name in enumerate(splits) if name is not None]
            pairs = pairs.take(np.array(rows, dtype=np.int64))
            counts.update(kept)
            patient = PreparedPatient(
                patient_key=key,
                lq=pairs.lq,
                hq=pairs.hq,
                slice_index=pairs.slice_index,
                split=kept,
                affine=pairs.affine,
                spacing_mm=pairs.spacing_mm,
                source=source,
                parameters=parameters,
            )
            if base is not None:
                check_same_hq(base, patient, options.salt)
            yield patient

    write_store(
        output,
        task,
        prepared(),
        degradation={**task.degradation, "seed": options.seed},
        source="scans",
        split_kind=kind,
        compression=options.compression,
        salt=options.salt,
        hq_of=None if base is None else (base.path.name, base.fingerprint),
    )
    return counts


def _parallel(jobs: list[Any], options: Options, what: str, total: int) -> Iterator[Any]:
    """Yield results in the order of the jobs; show a progress bar on a terminal."""
    console = Console(stderr=True)
    workers = _workers(options, total)
    with joblib.parallel_config(**_backend(options, workers)):
        results = joblib.Parallel(return_as="generator")(jobs)
        yield from track(
            results,
            what,
            total=total,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )


def _backend(options: Options, workers: int) -> dict[str, Any]:
    if options.backend != "dask":
        backend = {"backend": options.backend, "n_jobs": workers}
        if options.backend == "loky":  # limits NumPy; `cache_pairs` limits torch
            backend["inner_max_num_threads"] = cores.threads(workers)
        return backend
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError(
            'backend=dask needs Dask; type pip install "amir-lightning[cluster]"'
        ) from error
    try:
        client = Client(options.scheduler, timeout=10)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {options.scheduler}; start one with `dask scheduler` "
            "and type its address as scheduler=tcp://<host>:8786"
        ) from error
    return {"backend": "dask", "n_jobs": -1, "client": client}


def _workers(options: Options, patients: int) -> int:
    """Number of worker processes, at most one per patient."""
    jobs = options.jobs if options.jobs > 0 else max(1, cores.usable() + 1 + options.jobs)
    return max(1, min(jobs, patients))


def _cache_folder(output: Path) -> Path:
    return output.absolute().with_name(f".{output.name}.parts")


def _print_left_out(
    console: Console,
    skipped: Sequence[Skipped],
    inspections: Sequence[Inspection],
    problems: Sequence[str],
) -> None:
    dropped = sum(one.dropped for one in inspections)
    left_out = [f"{dropped} x air or constant slice"] if dropped else []
    left_out += [summarise(skipped)] if skipped else []
    left_out += [f"{len(problems)} x problem"] if problems else []
    console.print(f"left out: {'; '.join(left_out) or 'nothing'}")


def _finish_check(problems: Sequence[str]) -> None:
    for problem in problems:
        print(f"problem:  {problem}")
    if problems:
        raise InputError(
            f"{counted('problem', len(problems))} found, listed above; nothing was written"
        )
    print("checked:  nothing wrong was found, nothing was written")
