"""Scores in physical units: two definitions, one slice pair or a batch, and their means."""

from typing import TYPE_CHECKING, Any

from amir_lightning.metrics.summary import (
    SCORES,
    Group,
    Means,
    Summary,
    TaskSummary,
    pool,
    summarise,
)

if TYPE_CHECKING:
    from amir_lightning.metrics.definitions import METRICS, Definition
    from amir_lightning.metrics.slices import paper_scores, standard_scores

__all__ = [
    "METRICS",
    "SCORES",
    "Definition",
    "Group",
    "Means",
    "Summary",
    "TaskSummary",
    "paper_scores",
    "pool",
    "standard_scores",
    "summarise",
]


def __getattr__(name: str) -> Any:
    # Deferred, because reading scores needs no torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from amir_lightning.metrics import definitions, slices

    return getattr(slices if name.endswith("_scores") else definitions, name)
