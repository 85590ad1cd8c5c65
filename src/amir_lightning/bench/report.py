"""Measured passes as ratios and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import cast

from amir_lightning.system.markdown import table

Value = str | int | float | None
Row = dict[str, Value]

_TITLES = {
    "slices_per_second": "slices/s",
    "share_of_peak": "share of GEMM peak",
    "peak_memory_mib": "peak memory, MiB",
    "memory": "memory, ours : released",
    "faster": "times as fast",
}
_HIDDEN = ("passes", "gmacs")


def ratios(rows: Sequence[Row]) -> list[Row]:
    """Compare each row of ours with the released network (float32) in the same case."""

    def ratio(above: Row, below: Row, key: str) -> float | None:
        """Ratio; None if the network is too small to show in the memory of its process."""
        part, whole = (cast(float, row[key]) for row in (above, below))
        return part / whole if whole > 0 else None

    found: list[Row] = []
    for theirs in rows:
        if theirs["scale"] != "released":
            continue
        same = ("what", "size", "batch")
        for ours in rows:
            if ours["scale"] == "released" or any(ours[key] != theirs[key] for key in same):
                continue
            found.append(
                {
                    **{key: ours[key] for key in (*same, "precision", "engine") if key in ours},
                    "faster": ratio(theirs, ours, "seconds"),
                    "memory": ratio(ours, theirs, "peak_memory_mib"),
                }
            )
    return found


def markdown(rows: Sequence[Mapping[str, Value]]) -> str:
    """Write a table with the keys of the first row as titles and three digits."""
    keys = [key for key in rows[0] if key not in _HIDDEN]
    titles = [_TITLES.get(key, key.replace("_", " ")) for key in keys]
    texts = [at for at, key in enumerate(keys) if isinstance(rows[0][key], str)]
    return table(titles, ([_cell(key, row[key]) for key in keys] for row in rows), texts)


def _cell(key: str, value: Value) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        if key.startswith("share"):
            return f"{100 * value:.1f} %"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
