"""Scores in physical units: two definitions, one slice pair or a batch, and their means."""

from amir_lightning.metrics.definitions import METRICS, Definition
from amir_lightning.metrics.slices import paper_scores, standard_scores
from amir_lightning.metrics.summary import SCORES, Group, Summary, TaskSummary, summarise

__all__ = [
    "METRICS",
    "SCORES",
    "Definition",
    "Group",
    "Summary",
    "TaskSummary",
    "paper_scores",
    "standard_scores",
    "summarise",
]
