"""Numbers of the figures that draw has written for a run, into its folder."""

from pathlib import Path

from amir_lightning.runs.folder import RunFolder, read_table

FIGURES = (
    "instructions_clusters",
    "instructions_patients",
    "interference",
    "interference_mean",
    "paths",
    "paths_patients",
)
"""Tables of figures that need the weights to be drawn again."""


def figure_file(run: RunFolder, name: str) -> Path:
    """File with the numbers of a figure of this run alone."""
    return run.path / "figures" / f"{name}.csv"


def figure_rows(run: RunFolder, name: str) -> list[dict[str, str]]:
    """Read the numbers of a figure as text; empty if it has not been drawn.

    Raises:
        InputError: The file is damaged.
    """
    path = figure_file(run, name)
    return read_table(path, "remove it and draw it again") if path.exists() else []
