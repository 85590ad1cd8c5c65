"""``python -m amir_lightning.clinical``: clinical measures of the finished runs of a sweep."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from amir_lightning.cli import command
from amir_lightning.errors import InputError

if TYPE_CHECKING:
    from amir_lightning.draw.finished_run import FinishedRun

_log = logging.getLogger("amir_lightning.clinical")  # not __main__, which is quiet


@command("clinical", options_of="train")
def main(cfg: DictConfig) -> None:
    """Measure runs that have not been measured; write clinical.csv, clinical.md and a figure."""
    from amir_lightning.clinical.methods import read_method, score
    from amir_lightning.clinical.page import page, records
    from amir_lightning.clinical.sentences import sentences
    from amir_lightning.config import plain
    from amir_lightning.draw.finished_run import alike, open_finished
    from amir_lightning.runs.sweep import finished, start_of
    from amir_lightning.system.atomic import complete_file
    from amir_lightning.tabulate.written import csv_text, refuse_other_scale

    for option, choices in (("split", ("test", "val", "train")), ("checkpoint", ("best", "last"))):
        if cfg[option] not in choices:
            raise InputError(f"{option} is '{cfg[option]}'; choose from {', '.join(choices)}")
    if cfg.figure and not find_spec("matplotlib"):
        raise InputError(
            "the figure needs packages that are not installed; type "
            "pip install 'amir-lightning[figures]', or figure=false"
        )
    folder = Path(cfg.output)
    if folder.is_file():
        raise InputError(f"output is {folder}, a file; type output=<folder>")
    experiment, overrides = _sweep(cfg)
    if cfg.runs is not None and cfg.train:
        raise InputError(f"runs and {cfg.train[0]} both say what is measured; type one of them")
    if cfg.runs:
        names = [*map(str, cfg.runs)]
    else:
        names = [str(run.path) for run in finished(experiment, overrides, Path(cfg.paths.runs_dir))]
    runs = [open_finished(name, cfg) for name in names]
    alike(runs)
    scale = str(runs[0].cfg.scale)
    refuse_other_scale(folder / "clinical.csv", {scale})
    for run in runs:
        score(run, cfg)
    methods = [read_method(title, own) for title, own in _by_method(runs, cfg.titles).items()]
    tasks = list({task.name: task for run in runs for task in run.tasks}.values())
    found = sentences(methods, tasks, cfg.bootstrap)
    listed = ", ".join(run.name for run in runs)
    about = listed if cfg.runs else f"`{start_of(experiment, overrides)}`"
    for name, content in (
        ("clinical.csv", csv_text([*records(methods, scale)])),
        ("clinical.md", page(methods, tasks, scale, about, found)),
    ):
        with complete_file(folder / name) as path:
            path.write_text(content)
    print("\n".join(found))
    print(f"{'table':>10}  {folder}/clinical.csv, clinical.md")
    if cfg.figure:
        from amir_lightning.clinical.figure import draw
        from amir_lightning.draw.style import write

        drawing = draw(methods, tasks, plain(cfg.measures))
        if drawing is None:
            _log.info("no figure: there is no embedded patient with room for a lesion")
        else:
            written = write(drawing, folder, "lesions", runs)
            print(f"{'figure':>10}  {written[0]}, {', '.join(path.name for path in written[1:])}")


def _sweep(cfg: DictConfig) -> tuple[str, list[str]]:
    """Name of the experiment whose runs are measured, and the other options of train."""
    from amir_lightning.runs.sweep import experiment_of

    options = list(cfg.train or cfg.sweep)
    if not any(text.startswith("experiment=") for text in options):
        options = ["experiment=clinical", *options]
    return experiment_of(options)


def _by_method(runs: "Sequence[FinishedRun]", titles: DictConfig) -> "dict[str, list[FinishedRun]]":
    """Group runs that differ in their seed; the title is the network, or the run if it repeats."""
    groups: dict[tuple[str, str], list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault((run.network_name, str(run.cfg.task)), []).append(run)
    found: dict[str, list[FinishedRun]] = {}
    for (network, _), own in groups.items():
        title = str(titles.get(network, network))
        seeds = [run.cfg.seed for run in own]
        if len(set(seeds)) == len(seeds) and title not in found:
            found[title] = own
        else:
            found.update({run.name: [run] for run in own})
    return found


if __name__ == "__main__":
    main()
