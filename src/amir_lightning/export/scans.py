"""Scores of weights on real scans, for their model card."""

from pathlib import Path
from statistics import mean
from typing import Any

from amir_lightning.errors import InputError
from amir_lightning.metrics import SCORES
from amir_lightning.runs.folder import read_table


def scores_on_scans(path: Path, fingerprint: str) -> dict[str, dict[str, Any]]:
    """Average the scores of a network over the scans of each task.

    Args:
        path: CSV with one row for each scan and network: the columns ``task``, ``weights`` (the
            fingerprint of the network's parameters, as in ``restore.json``) and `SCORES`.
        fingerprint: Fingerprint of the network.

    Returns:
        By task: the number of ``scans``, and the mean of each of `SCORES`.

    Raises:
        InputError: The file cannot be read, or has no row of this network.
    """
    advice = "type scans=<csv> that experiments/sim_to_real/measure.py has written"
    found: dict[str, list[dict[str, float]]] = {}
    try:
        for row in read_table(path, advice):
            if row["weights"] == fingerprint:
                found.setdefault(row["task"], []).append({key: float(row[key]) for key in SCORES})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} has no scores of scans ({error}); {advice}") from error
    if not found:
        raise InputError(
            f"{path} has no scores of these weights ({fingerprint}); score them first: python "
            "experiments/sim_to_real/measure.py --weights <run> --real <task>=<folder>"
        )
    return {
        task: {"scans": len(rows), **{key: mean(row[key] for row in rows) for key in SCORES}}
        for task, rows in found.items()
    }
