"""CSV files of results, each of one scale."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from amir_lightning.errors import InputError


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Write rows that all have the keys of the first."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def refuse_other_scale(path: Path, scales: Collection[str]) -> None:
    """Refuse to overwrite results of another scale.

    Args:
        path: CSV file with a column ``scale``; it need not exist.
        scales: Scales of the new results.

    Raises:
        InputError: The file has rows of another scale.
    """
    if not path.exists():
        return
    with path.open(newline="") as file:
        there = {row["scale"] for row in csv.DictReader(file) if row.get("scale")}
    if there - {*scales}:
        raise InputError(
            f"{path} holds a table of scale {', '.join(sorted(there))}, and this one is of scale "
            f"{', '.join(sorted(scales))}; type another output=<folder>"
        )
