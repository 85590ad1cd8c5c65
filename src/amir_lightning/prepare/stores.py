"""Stores that a new store replaces, or whose HQ it shares."""

from pathlib import Path

import numpy as np

from amir_lightning.data.splits import SPLITS
from amir_lightning.data.store import Store
from amir_lightning.data.store_writer import PreparedPatient, patient_id
from amir_lightning.errors import InputError
from amir_lightning.tasks import Task


def check_output(output: Path, task: Task) -> None:
    """Refuse to replace a folder, or the store of another task.

    Raises:
        InputError: There is one.
    """
    if output.is_dir():
        raise InputError(f"{output} is a folder; choose a file with output=<file>")
    if not output.exists():
        return
    try:
        found = Store(output).task
    except InputError:  # damaged, or no store: it is replaced
        return
    if found != task.name:
        raise InputError(
            f"{output} holds the task {found}, and task={task.name} would replace it; type "
            "output=<another file>"
        )


def open_base(path: Path, output: Path, task: Task) -> Store:
    """Open the store whose HQ a new store shares.

    Raises:
        InputError: It cannot be read, is in another folder, shares HQ itself, or holds a task with
            other slices.
    """
    base = Store(path)
    if path.absolute().parent != output.absolute().parent:
        raise InputError(
            f"hq_from={path} and the output {output} are in different folders, expected one, so "
            f"that both can be moved together; type output={path.with_name(output.name)}"
        )
    if base.shares_hq:
        raise InputError(
            f"hq_from={path} holds no HQ of its own, but shares that of another file; type "
            "hq_from=<that file>"
        )
    for key in ("units", "plane", "value_range"):
        stored, wanted = getattr(base, key), getattr(task, key)
        if stored != wanted:
            raise InputError(
                f"hq_from={path} has {key} {stored}, but task {task.name} has {wanted}; leave "
                "hq_from out, or name a file of the same modality"
            )
    return base


def check_same_hq(base: Store, patient: PreparedPatient, salt: str) -> None:
    """Check that a store holds the HQ slices of a patient, in the same rows and splits.

    Raises:
        InputError: It does not.
    """
    key = patient_id(patient.patient_key, salt)
    refs = {
        (split, ref.row, ref.slice_index): ref
        for split in SPLITS
        for ref in base.slices(split)
        if ref.patient == key
    }
    for row, (split, index) in enumerate(zip(patient.split, patient.slice_index, strict=True)):
        ref = refs.get((split, row, int(index)))
        if ref is None or not np.array_equal(base.read(ref)[1], patient.hq[row]):
            raise InputError(
                f"{base.path} has other HQ slices of patient {patient.patient_key}; prepare both "
                "files with the same options (split, seed, grid, central_slices, "
                "intensity_scale, salt), or leave hq_from out"
            )
