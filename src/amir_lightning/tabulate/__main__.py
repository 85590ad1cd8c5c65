"""``python -m amir_lightning.tabulate experiment=table3``: the table of a sweep's finished runs."""

import logging
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from amir_lightning.cli import command
from amir_lightning.config import PAPER_DIR
from amir_lightning.errors import InputError

_log = logging.getLogger("amir_lightning.tabulate")  # not __main__, which is quiet


@command("tabulate", options_of="train")
def main(cfg: DictConfig) -> None:
    """Read run folders and write results.csv, table.md and table.tex."""
    from amir_lightning.runs.kept import keep
    from amir_lightning.runs.sweep import experiment_of, jobs, locate, start_of
    from amir_lightning.system.atomic import complete_file
    from amir_lightning.system.wording import counted
    from amir_lightning.tabulate.clinical import (
        clinical_difference_grid,
        clinical_grid,
        clinical_notes,
        clinical_records,
        measured,
    )
    from amir_lightning.tabulate.evidence import (
        difference_grid,
        difference_notes,
        interval_grid,
        interval_notes,
    )
    from amir_lightning.tabulate.grid import latex, markdown
    from amir_lightning.tabulate.render import notes, records, result_grid, title
    from amir_lightning.tabulate.results import collect, refuse_mixtures
    from amir_lightning.tabulate.statistics import evidence
    from amir_lightning.tabulate.written import csv_text, refuse_other_scale
    from amir_lightning.tasks import Task, parse_tasks

    experiment, overrides = experiment_of(cfg.train)
    runs_dir, kept_dir = Path(cfg.paths.runs_dir), Path(cfg.paths.kept_dir)
    wanted = jobs(experiment, overrides)
    paper = Path(cfg.paper_dir or PAPER_DIR) / experiment / "paper.csv"
    if not paper.exists():
        _log.info("without the paper's numbers: no %s; type paper_dir=<folder>", paper)
    folders = locate(wanted, runs_dir, kept_dir)
    if copies := sum(run is not None and run.path.parent == kept_dir for run in folders):
        _log.info("%s of %d read from copies in %s", counted("run", copies), len(folders), kept_dir)
    methods = collect(wanted, folders, paper, cfg.bootstrap, cfg.titles)
    start = start_of(experiment, overrides)
    if not any(method.runs for method in methods):
        raise InputError(f"no run of {experiment} has finished in {runs_dir}; type {start}")
    if cfg.keep:
        keep([run for run in folders if run is not None], kept_dir)
    if not cfg.mixed:
        refuse_mixtures(methods)
    nodes = wanted[0].cfg.tasks
    names = parse_tasks("+".join(dict.fromkeys(t for job in wanted for t in job.tasks)), nodes)
    plain = cast(dict[str, Any], OmegaConf.to_container(nodes, resolve=True))
    tasks = [Task.from_config(name, plain[name]) for name in names]
    folder = Path(cfg.output or f"experiments/{experiment}")
    if folder.is_file():
        raise InputError(f"output is {folder}, a file; type output=<folder> for the three files")
    found = evidence(methods, [*names, "average"], cfg.bootstrap)
    clinical = measured(methods, cfg.bootstrap)
    lines = notes(methods, tasks)
    sections = [
        ("", result_grid(methods, tasks), " ".join(lines)),
        ("Intervals", interval_grid(methods, tasks, found), interval_notes(methods)),
        (
            "Differences to AMIR",
            difference_grid(methods, tasks, found),
            difference_notes(methods, cfg.bootstrap),
        ),
        ("Clinical measures", clinical_grid(clinical, tasks), clinical_notes()),
        (
            "Measured differences to AMIR",
            clinical_difference_grid(clinical, tasks),
            difference_notes(methods, cfg.bootstrap),
        ),
    ]
    sections = [(head, grid, below) for head, grid, below in sections if grid.body]
    scale = lines[0]
    refuse_other_scale(folder / "results.csv", {method.scale for method in methods})

    table = f"# {experiment}, {scale[0].lower()}{scale[1:-1]}\n\n"
    floats = []
    for head, grid, below in sections:
        table += f"## {head}\n\n" * bool(head) + f"{markdown(grid)}\n{below}\n\n"
        name = f"{title(experiment)}{head and f': {head[0].lower()}{head[1:]}'}"
        label = "-".join([f"tab:{experiment}", *head.lower().split()[:1]])
        floats.append(latex(grid, f"{name}. {below}", label))
    table += f"Runs: `{start}`\n"
    tex = f"% {experiment}. {scale} Needs the packages booktabs, graphicx and amssymb.\n"
    tex += "\n".join(floats)
    rows = [*records(experiment, methods, tasks, found)]
    rows += clinical_records(experiment, clinical, [*rows[0]])
    for name, content in (
        ("results.csv", csv_text(rows)),
        ("table.md", table),
        ("table.tex", tex),
    ):
        with complete_file(folder / name) as path:
            path.write_text(content)
    print(table)
    print(f"{'table':>10}  {folder}/results.csv, table.md, table.tex")


if __name__ == "__main__":
    main()
