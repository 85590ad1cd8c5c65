"""What was found and what was written: the table before, the manifest after."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.markup import escape
from rich.table import Table

from amir_lightning.data.splits import SPLITS, Split, SplitKind
from amir_lightning.prepare.inspection import Looked
from amir_lightning.tasks import Task


def found_table(
    task: Task, kind: SplitKind, assigned: Mapping[str, Split], looked: Sequence[Looked]
) -> Table:
    """Patients, slices, shape, spacing and range of each split, before anything is written."""
    table = Table(title=f"{task.title}: split by {kind}", title_justify="left")
    columns = ("split", "patients", "slices", "shape", "spacing [mm]", f"HQ [{task.units}]")
    for column in columns:
        table.add_column(
            escape(column), justify="right" if column in ("patients", "slices") else "left"
        )
    names: Sequence[str] = SPLITS if kind == "patients" else ("all",)
    for name in names:
        own = [one for one in looked if kind != "patients" or assigned[one.key] == name]
        if not own:
            table.add_row(name, "0", "0", "", "", "")
            continue
        spacings = Counter("x".join(f"{mm:.2f}" for mm in one.spacing_mm) for one in own)
        table.add_row(
            name,
            str(len(own)),
            str(sum(one.slices for one in own)),
            _most(Counter(one.shape for one in own)),
            _most(spacings),
            f"{min(one.low for one in own):.4g} to {max(one.high for one in own):.4g}",
        )
    return table


def _most(counts: Counter[str]) -> str:
    (first, _), *others = counts.most_common()
    return f"{first} (+{len(others)} others)" if others else first
