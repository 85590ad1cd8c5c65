"""Assign each patient to a split: as the data set says, as a CSV says, or by a seed."""

import logging
from collections.abc import Sequence

from amir_lightning.data.layouts import RawPatient
from amir_lightning.data.splits import (
    SPLITS,
    Split,
    SplitKind,
    assert_disjoint,
    assign_from_file,
    split_kind,
    split_patients,
)
from amir_lightning.errors import InputError
from amir_lightning.prepare.options import Options
from amir_lightning.system.wording import counted

log = logging.getLogger(__name__)


def assign_splits(
    patients: Sequence[RawPatient], options: Options
) -> tuple[SplitKind, dict[str, Split]]:
    """Assign patients to splits; all scans of one person go to the same split.

    Returns:
        Whether patients or, if there are too few of them, slice blocks are split; and the split of
        each patient's key, empty for slice blocks.

    Raises:
        InputError: The split file, the split sizes or the named test patients do not match the
            patients that were found.
    """
    if options.split_file:
        in_file = assign_from_file([one.key for one in patients], options.split_file)
        assert_disjoint(
            (one.identity or one.key, in_file[one.key]) for one in patients if one.certain
        )
        return "patients", in_file
    people = {one.key: one.identity or one.key for one in patients}
    own = [(people[one.key], one.split) for one in patients if one.split]
    assert_disjoint((person, str(split)) for person, split in own)
    fixed: dict[str, Split] = dict(own)
    for name in options.test_patients:
        named = {people[key] for key in people if name in (key, people[key])}
        if not named and not options.optional_test_patients:
            raise InputError(
                f"test_patients names {name}, which was not found; expected some of "
                f"{', '.join(sorted(people)[:5])}{', ...' if len(people) > 5 else ''}"
            )
        fixed |= dict.fromkeys(named, "test")
    distinct = sorted(set(people.values()))
    if set(fixed) == set(distinct):
        return "patients", {key: fixed[person] for key, person in people.items()}
    sizes = dict(options.split)
    total = sum(sizes.values())
    if options.proportions and total > 1 and total != len(distinct):
        text = ", ".join(f"{sizes[name]:g}" for name in SPLITS if sizes.get(name))
        log.info(
            "%s found, not %d: split in the proportions %s",
            counted("patient", len(distinct)),
            total,
            text,
        )
        sizes = {name: size / total for name, size in sizes.items()}
    kind = split_kind(len(distinct), sizes)
    if kind == "patients":
        of_person = split_patients(distinct, sizes, options.seed, fixed)
        return kind, {key: of_person[person] for key, person in people.items()}
    if options.test_patients and not options.optional_test_patients:
        raise InputError(
            f"{counted('patient', len(distinct))} cannot fill the splits "
            f"{', '.join(name for name in SPLITS if sizes.get(name))}, so that test_patients would "
            "be trained on; take them out of raw_dir and score them with python -m "
            "amir_lightning.restore weights=last input=<scan> degrade=true, or add patients"
        )
    log.warning(
        "%d patient%s cannot fill the splits %s: each volume is cut into blocks of neighbouring "
        "slices with a gap between them, so scores say nothing about new patients",
        len(distinct),
        "" if len(distinct) == 1 else "s",
        ", ".join(name for name in SPLITS if sizes.get(name)),
    )
    return kind, {}
