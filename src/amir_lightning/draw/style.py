"""Colours, stamp and files of all figures."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from amir_lightning.draw.finished_run import FinishedRun
from amir_lightning.system.atomic import complete_file
from amir_lightning.tasks import Task

Rows = Sequence[Mapping[str, object]]

# The palette of M. Okabe and K. Ito can be read with any colour vision.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")


class Drawing(NamedTuple):
    """A figure and its numbers.

    Attributes:
        figure: The figure.
        tables: Its numbers; the key is appended to the name of the CSV file.
    """

    figure: Figure
    tables: Mapping[str, Rows]


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure of a size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def colour(tasks: Sequence[Task], task: Task) -> str:
    """Colour of a task, the same in all figures of a run."""
    return palette([one.name for one in tasks].index(task.name))


def palette(index: int) -> str:
    """Colour by index; colours repeat after the last."""
    return _PALETTE[index % len(_PALETTE)]


def stamp(runs: Sequence[FinishedRun]) -> str:
    """Text below a picture: scale, data and name of its runs."""
    scale = str(runs[0].cfg.scale)
    sources = {run.files.source for run in runs}
    texts = {"phantoms": ", embedded phantoms", "unknown": ", phantoms or patients unknown"}
    data = "".join(text for source, text in texts.items() if source in sources)
    warning = ": not comparable with the paper" if data or scale != "paper" else ""
    names = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    return f"scale={scale}{data}{warning}\n{names}"


def write(drawing: Drawing, folder: Path, name: str, runs: Sequence[FinishedRun]) -> list[Path]:
    """Write ``<name>.png``, ``.pdf`` and ``.csv``; the scale is on each.

    Raises:
        InputError: The folder cannot be written to.
    """
    scale = runs[0].cfg.scale
    drawing.figure.supxlabel(stamp(runs), fontsize=5.5, color="0.35", x=0.995, ha="right")
    written = [folder / f"{name}.png", folder / f"{name}.pdf"]
    for path in written:
        kind = path.suffix[1:]
        # Without a date, the same run gives the same file.
        dated = {"CreationDate": None} if kind == "pdf" else None
        with complete_file(path) as partial:
            drawing.figure.savefig(partial, format=kind, dpi=200, metadata=dated)
    for key, rows in drawing.tables.items():
        written.append(folder / f"{name}{key and '_'}{key}.csv")
        with complete_file(written[-1]) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0], "scale"], lineterminator="\n")
            writer.writeheader()
            writer.writerows({**row, "scale": scale} for row in rows)
    return written
