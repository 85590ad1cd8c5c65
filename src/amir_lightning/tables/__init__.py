"""Tables of the paper from run folders: what was scored, how sure it is, and how it is laid out."""

from amir_lightning.tables.layout import Grid, latex, markdown
from amir_lightning.tables.pages import (
    evidence_grid,
    evidence_notes,
    notes,
    records,
    result_grid,
    title,
)
from amir_lightning.tables.results import Method, collect, refuse_mixtures
from amir_lightning.tables.statistics import Evidence, compare

__all__ = [
    "Evidence",
    "Grid",
    "Method",
    "collect",
    "compare",
    "evidence_grid",
    "evidence_notes",
    "latex",
    "markdown",
    "notes",
    "records",
    "refuse_mixtures",
    "result_grid",
    "title",
]
