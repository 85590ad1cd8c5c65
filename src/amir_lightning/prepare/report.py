"""Table of what is about to be prepared, printed before anything is written."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from amir_lightning.data.splits import SPLITS, Split, SplitKind
from amir_lightning.prepare.inspection import Inspection
from amir_lightning.tasks import Task


def split_table(
    task: Task, kind: SplitKind, assigned: Mapping[str, Split], inspections: Sequence[Inspection]
) -> Table:
    """Tabulate patients, slices, shape, spacing and HQ range of each split.

    Args:
        task: The task.
        kind: Whether patients or slice blocks are split.
        assigned: Split of each patient's key; not used for slice blocks.
        inspections: The patients.
    """
    table = Table(title=f"{task.title}: split by {kind}", title_justify="left")
    columns = ("split", "patients", "slices", "shape", "spacing [mm]", f"HQ [{task.units}]")
    for column in columns:
        table.add_column(
            escape(column), justify="right" if column in ("patients", "slices") else "left"
        )
    names: Sequence[str] = SPLITS if kind == "patients" else ("all",)
    for name in names:
        own = [one for one in inspections if kind != "patients" or assigned[one.key] == name]
        if not own:
            table.add_row(name, "0", "0", "", "", "")
            continue
        spacings = Counter("x".join(f"{mm:.2f}" for mm in one.spacing_mm) for one in own)
        table.add_row(
            name,
            str(len(own)),
            str(sum(one.slices for one in own)),
            _most_common(Counter(one.shape for one in own)),
            _most_common(spacings),
            f"{min(one.low for one in own):.4g} to {max(one.high for one in own):.4g}",
        )
    return table


def _most_common(counts: Counter[str]) -> str:
    (first, _), *others = counts.most_common()
    return f"{first} (+{len(others)} others)" if others else first
