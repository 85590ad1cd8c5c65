"""``python -m amir_lightning.draw draw=interference run=last``: figures of finished runs."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from amir_lightning.cli import command
from amir_lightning.errors import InputError

if TYPE_CHECKING:
    from amir_lightning.draw.finished_run import FinishedRun
    from amir_lightning.draw.style import Drawing

FIGURES = (
    "curves",
    "interference",
    "comparison",
    "instructions",
    "paths",
    "routing",
    "conflict",
    "gain_by_tasks",
    "sharing",
    "by_parameter",
)
OF_SEVERAL_RUNS = ("comparison", "gain_by_tasks", "sharing", "by_parameter")
OF_SCORES = ("curves", "gain_by_tasks")  # need no weights, so kept runs do, too


@command("draw", options_of="train")
def main(cfg: DictConfig) -> None:
    """Draw one figure as PNG and PDF, with its numbers as CSV."""
    experiment, overrides = _experiment(cfg)
    kinds = _kinds(cfg, experiment)
    _check(cfg)
    from amir_lightning.draw.finished_run import open_finished
    from amir_lightning.draw.style import write
    from amir_lightning.runs.sweep import finished

    names = [str(name) for name in cfg.runs]
    if experiment is not None and names != ["last"]:
        raise InputError(
            f"experiment={experiment} and runs {', '.join(names)} both say what is drawn; type one "
            "of them"
        )
    for kind in kinds:
        if experiment is not None:
            folders = [Path(cfg.paths.runs_dir)]
            folders += [Path(cfg.paths.kept_dir)] if kind in OF_SCORES else []
            names = [str(run.path) for run in finished(experiment, overrides, *folders)]
        runs = [open_finished(name, cfg) for name in names]
        for group in _groups(kind, runs, cfg.by):
            drawing = draw(kind, cfg, group)
            folder = group[0].files.path / "figures" if cfg.output is None else Path(cfg.output)
            # The name of the run tells pictures of one kind apart.
            alone = len(runs) == 1 or kind in OF_SEVERAL_RUNS or cfg.output is None
            name = f"by_{cfg.by}" if kind == "by_parameter" else kind
            name += "" if alone else f"-{group[0].name}"
            written = write(drawing, folder, name, group)
            print(f"{'figure':>10}  {written[0]}, {', '.join(path.name for path in written[1:])}")


def draw(kind: str, cfg: DictConfig, runs: "list[FinishedRun]") -> "Drawing":
    """Draw one of `FIGURES`. Only those of `OF_SEVERAL_RUNS` show several runs."""
    from amir_lightning.draw import (
        by_parameter,
        comparison,
        curves,
        expert_maps,
        expert_paths,
        gain_by_tasks,
        gradient_conflict,
        instructions,
        interference_matrix,
        sharing,
    )

    run = runs[0]
    choice = comparison.Choice(None if cfg.patient is None else str(cfg.patient), cfg.slice)
    match kind:
        case "interference":
            return interference_matrix.draw(run, list(cfg.layers), cfg.batches, cfg.bootstrap)
        case "comparison":
            return comparison.draw(runs, choice, cfg.inset, cfg.titles, cfg.errors)
        case "instructions":
            return instructions.draw(run)
        case "paths":
            return expert_paths.draw(run)
        case "routing":
            return expert_maps.draw(run, choice)
        case "gain_by_tasks":
            return gain_by_tasks.draw(runs, cfg.bootstrap, cfg.titles)
        case "sharing":
            return sharing.draw(runs, list(cfg.layers), cfg.batches)
        case "by_parameter":
            return by_parameter.draw(runs, cfg.by, cfg.titles)
        case "conflict":
            return gradient_conflict.draw(run)
        case _:
            return curves.draw(run)


def _groups(kind: str, runs: "list[FinishedRun]", by: str | None) -> "list[list[FinishedRun]]":
    """Runs of each picture."""
    if kind == "by_parameter":
        from amir_lightning.draw.by_parameter import evaluated

        return [evaluated(runs, by)]
    if kind == "sharing":  # an experiment has runs of few tasks, too
        from amir_lightning.draw.sharing import suitable

        return [suitable(runs)]
    return [runs] if kind in OF_SEVERAL_RUNS else [[run] for run in runs]


def _experiment(cfg: DictConfig) -> tuple[str | None, list[str]]:
    """Name and options of the experiment whose runs are drawn; None if runs were typed."""
    if not cfg.train:
        return None, []
    from amir_lightning.runs.sweep import experiment_of

    if not any(text.startswith("experiment=") for text in cfg.train):
        options = ", ".join(str(key) for key in cfg if key not in ("train", "figures"))
        raise InputError(
            f"unknown option '{cfg.train[0]}'; draw has {options}, and takes options of train only "
            "together with experiment=<name>"
        )
    return experiment_of(cfg.train)


def _kinds(cfg: DictConfig, experiment: str | None) -> list[str]:
    if cfg.draw is None and experiment in cfg.figures:
        return list(cfg.figures[experiment])
    if cfg.draw not in FIGURES:
        raise InputError(f"draw is {cfg.draw}; type draw= with one of {', '.join(FIGURES)}")
    return [cfg.draw]


def _check(cfg: DictConfig) -> None:
    for option, choices in (
        ("split", ("test", "val", "train")),
        ("checkpoint", ("best", "last")),
    ):
        if cfg[option] not in choices:
            raise InputError(f"{option} is '{cfg[option]}'; choose from {', '.join(choices)}")
    if cfg.slice is not None and not isinstance(cfg.slice, int):
        raise InputError(f"slice is '{cfg.slice}', expected an integer; type for instance slice=40")
    if not (find_spec("matplotlib") and find_spec("sklearn")):
        raise InputError(
            "drawing needs packages that are not installed; type "
            "pip install 'amir-lightning[figures]'"
        )


if __name__ == "__main__":
    main()
