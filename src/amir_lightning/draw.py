"""``python -m amir_lightning.draw draw=interference run=last``: the figures, from finished runs."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from amir_lightning.cli import command
from amir_lightning.errors import InputError

if TYPE_CHECKING:
    from amir_lightning.figures.finished import FinishedRun
    from amir_lightning.figures.page import Drawing

FIGURES = (
    "curves",
    "interference",
    "comparison",
    "instructions",
    "paths",
    "routing",
    "conflict",
)


@command("draw")
def main(cfg: DictConfig) -> None:
    """Draw one figure as PNG and PDF, with its numbers as CSV."""
    _check(cfg)
    from amir_lightning.figures.finished import open_finished
    from amir_lightning.figures.page import write

    runs = [open_finished(str(name), cfg) for name in cfg.runs]
    together = cfg.draw == "comparison"
    for group in [runs] if together else [[run] for run in runs]:
        drawing = draw(cfg, group)
        folder = group[0].folder / "figures" if cfg.output is None else Path(cfg.output)
        # Several pictures of one kind in one folder are told apart by their run.
        several = cfg.output is not None and not together and len(runs) > 1
        name = f"{cfg.draw}-{group[0].name}" if several else cfg.draw
        written = write(drawing, folder, name, group)
        print(f"{'figure':>10}  {written[0]}, {', '.join(path.name for path in written[1:])}")


def draw(cfg: DictConfig, runs: "list[FinishedRun]") -> "Drawing":
    """The figure that the options mean, of one run or, as a comparison, of several."""
    from amir_lightning.figures import (
        comparison,
        conflict,
        curves,
        instructions,
        interference,
        paths,
        routing,
    )

    run = runs[0]
    choice = comparison.Choice(None if cfg.patient is None else str(cfg.patient), cfg.slice)
    match cfg.draw:
        case "interference":
            return interference.draw(run, list(cfg.layers), cfg.batches, cfg.bootstrap)
        case "comparison":
            return comparison.draw(runs, choice, cfg.inset)
        case "instructions":
            return instructions.draw(run, cfg.seed)
        case "paths":
            return paths.draw(run)
        case "routing":
            return routing.draw(run, choice)
        case "conflict":
            return conflict.draw(run)
        case _:
            return curves.draw(run)


def _check(cfg: DictConfig) -> None:
    for option, choices in (
        ("draw", FIGURES),
        ("split", ("test", "val", "train")),
        ("checkpoint", ("best", "last")),
    ):
        if cfg[option] not in choices:
            raise InputError(f"{option} is '{cfg[option]}'; choose from {', '.join(choices)}")
    if cfg.slice is not None and not isinstance(cfg.slice, int):
        raise InputError(f"slice is '{cfg.slice}', expected an integer; type for instance slice=40")
    if cfg.bootstrap < 0:
        raise InputError(f"bootstrap is {cfg.bootstrap}, expected at least 0; type bootstrap=1000")
    if not (find_spec("matplotlib") and find_spec("sklearn")):
        raise InputError(
            "drawing needs packages that are not installed; type "
            "pip install 'amir-lightning[figures]'"
        )


if __name__ == "__main__":
    main()
