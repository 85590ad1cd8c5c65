"""Split patients, or blocks of slices where there are too few patients, into train, val and test.

Neighbouring slices of a patient are similar, so a random split of slices would test on training
data. Therefore patients are split. If there are fewer patients than splits, each volume is cut into
blocks of neighbouring slices with a gap between them.
"""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

from amir_lightning.errors import InputError
from amir_lightning.system.wording import counted

Split = Literal["train", "val", "test"]
SplitKind = Literal["patients", "slice blocks"]
SPLITS: tuple[Split, ...] = get_args(Split)

_ALIASES = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


def split_kind(num_patients: int, sizes: Mapping[str, float]) -> SplitKind:
    """Return "patients" if there are enough for all splits, else "slice blocks"."""
    return "patients" if num_patients >= len(_shares(sizes)) else "slice blocks"


def split_patients(
    patients: Iterable[str],
    sizes: Mapping[str, float],
    seed: int,
    fixed: Mapping[str, Split] | None = None,
) -> dict[str, Split]:
    """Assign whole patients to splits, as a pure function of their keys and the seed.

    Patients are ordered by a hash of seed and key, so the result depends neither on the order in
    which they were found nor on the random generator of a library version.

    Args:
        patients: Key of each patient; every split with a share gets at least one patient.
        sizes: Share of each split: fractions that add up to 1, or numbers of patients that add up
            to all of them (paper: 405, 59 and 114 for MRI).
        seed: Seed of the assignment.
        fixed: Patients whose split is given; they count towards its size.

    Raises:
        InputError: The sizes do not fit the patients.
    """
    shares, fixed = _shares(sizes), dict(fixed or {})
    keys = sorted(set(patients), key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    total = sum(sizes.values())
    if total > 1 and total != len(keys):
        raise InputError(
            f"split asks for {total:g} patients but {len(keys)} were found; type numbers that add "
            f"up to {len(keys)}, or fractions, such as split.train=0.7 split.val=0.15 "
            "split.test=0.15"
        )
    free = [key for key in keys if key not in fixed]
    given = [fixed[key] for key in keys if key in fixed]
    wanted = _apportion(len(keys), shares)
    left = {split: count - given.count(split) for split, count in wanted.items()}
    left = {split: count for split, count in left.items() if count > 0}
    if not free:
        return {key: fixed[key] for key in keys}
    total = sum(left.values())
    if total != len(free):  # a split has more fixed patients than its share
        shares = {split: count / total for split, count in left.items()}
        left = _apportion(len(free), shares)
    order = iter(free)
    dealt = {next(order): split for split, count in left.items() for _ in range(count)}
    return {key: fixed.get(key) or dealt[key] for key in keys}


def split_slices(num_slices: int, sizes: Mapping[str, float], gap: int) -> list[Split | None]:
    """Cut a volume into blocks of neighbouring slices: train, val, test and train again.

    The ends of a body differ from its middle, so validation and test lie between two halves of the
    training block. A volume of fewer than eight slices has one block per split. The gap is at most
    an eighth of the slices, but at least one slice in a volume of five or more.

    Args:
        num_slices: Number of slices of the volume.
        sizes: Share of each split, as in `split_patients`.
        gap: Number of slices between two blocks, which belong to no split.

    Returns:
        Split of each slice, None in a gap.

    Raises:
        InputError: There are fewer slices than splits.
    """
    shares = _shares(sizes)
    if num_slices < len(shares):
        raise InputError(
            f"a volume of {counted('usable slice', num_slices)} cannot be split into "
            f"{', '.join(shares)}; add patients, at least one for each split"
        )
    gap = min(gap, max(num_slices // 8, int(num_slices >= 5)))
    halves = 2 if num_slices >= 8 and "train" in shares else 1
    counts = _apportion(num_slices - gap * (len(shares) + halves - 2), shares)
    sizes_in_order = list(counts.items())
    if halves == 2:
        sizes_in_order = [
            ("train", counts["train"] - counts["train"] // 2),
            *sizes_in_order[1:],
            ("train", counts["train"] // 2),
        ]
    blocks: list[Split | None] = []
    for split, count in sizes_in_order:
        blocks += [*([None] * gap if blocks else []), *[split] * count]
    return blocks


def read_split_file(path: Path) -> dict[str, Split]:
    """Read a CSV file with the columns ``patient,split``.

    Raises:
        InputError: The file cannot be read, lacks a column, names an unknown split or names a
            patient in two splits.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"split file {path} cannot be read ({error}); expected a CSV: type split_file=<csv>"
        ) from error
    pairs: list[tuple[str, Split]] = []
    for row in rows:
        patient, name = row.get("patient"), row.get("split")
        if not patient or not name:
            raise InputError(
                f"split file {path} has a row without patient or split; "
                "expected a first line 'patient,split' and two values a line"
            )
        split = split_named(name, f"split file {path}, patient {patient}")
        pairs.append((patient.strip(), split))
    assert_disjoint(pairs)
    return dict(pairs)


def split_named(name: str, where: str) -> Split:
    """Parse the name of a split; validation, valid, training and testing are accepted, too.

    Args:
        name: Name of the split in any case.
        where: Where the name was found, for the error.

    Raises:
        InputError: There is no such split.
    """
    split = _ALIASES.get(name.strip().lower(), name.strip().lower())
    if split not in SPLITS:
        raise InputError(f"{where}: the split is '{name}'; choose from {', '.join(SPLITS)}")
    return split


def assign_from_file(patients: Iterable[str], path: Path) -> dict[str, Split]:
    """Look up the splits of the given patients in a split file.

    Raises:
        InputError: A patient is not in the file, or the file is not valid.
    """
    named, keys = read_split_file(path), list(patients)
    missing = [key for key in keys if key not in named]
    if missing:
        raise InputError(
            f"split file {path} does not name patient {missing[0]} ({len(missing)} of {len(keys)} "
            f"are missing); add a line '{missing[0]},train' or take the scan out of the raw folder"
        )
    return {key: named[key] for key in keys}


def assert_disjoint(pairs: Iterable[tuple[str, str]]) -> None:
    """Refuse a patient that occurs in two splits.

    Args:
        pairs: Patient and split; equal pairs may repeat.

    Raises:
        InputError: A patient has two splits.
    """
    seen: dict[str, str] = {}
    for patient, split in pairs:
        other = seen.setdefault(patient, split)
        if other != split:
            raise InputError(
                f"patient {patient} is in two splits, {other} and {split}; "
                "a patient may train, validate or test, so keep one of them"
            )


def _shares(sizes: Mapping[str, float]) -> dict[Split, float]:
    """Fractions of the splits that have a share, in canonical order."""
    unknown = [name for name in sizes if name not in SPLITS]
    total = sum(sizes.values())
    if unknown or total <= 0 or any(size < 0 for size in sizes.values()):
        raise InputError(
            f"split is {dict(sizes)}; expected a share >= 0 for each of {', '.join(SPLITS)}"
        )
    whole = all(float(size).is_integer() for size in sizes.values())
    if not whole and abs(total - 1) > 1e-6:
        raise InputError(
            f"split adds up to {total:g}; expected fractions that add up to 1 or whole numbers of "
            "patients, such as split.train=0.7 split.val=0.15 split.test=0.15"
        )
    return {split: sizes[split] / total for split in SPLITS if sizes.get(split)}


def _apportion(total: int, shares: Mapping[Split, float]) -> dict[Split, int]:
    """Divide a total into whole numbers by their shares, at least one each (largest remainder)."""
    if total < len(shares):
        raise InputError(
            f"{counted('patient', total)} cannot fill {len(shares)} splits; expected at least one "
            f"for each of {', '.join(shares)}: add patients or set a split to 0"
        )
    counts = {split: max(1, int(total * share + 1e-9)) for split, share in shares.items()}
    while sum(counts.values()) != total:
        step = 1 if sum(counts.values()) < total else -1
        movable = [split for split in counts if counts[split] + step >= 1]
        # The count that is furthest below (or above) its exact share is changed first.
        chosen = max(movable, key=lambda split: step * (total * shares[split] - counts[split]))
        counts[chosen] += step
    return counts
