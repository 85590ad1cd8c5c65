"""``python -m amir_lightning.tabulate experiment=table3``: the table of a sweep's finished runs."""

import csv
import io
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
    from amir_lightning.runs.sweep import experiment_of, jobs, locate, start_of
    from amir_lightning.system.atomic import complete_file
    from amir_lightning.tabulate.grid import latex, markdown
    from amir_lightning.tabulate.render import (
        evidence_grid,
        evidence_notes,
        notes,
        records,
        result_grid,
        title,
    )
    from amir_lightning.tabulate.results import collect, refuse_mixtures
    from amir_lightning.tasks import Task, parse_tasks

    experiment, overrides = experiment_of(cfg.train)
    runs_dir = Path(cfg.paths.runs_dir)
    wanted = jobs(experiment, overrides)
    paper = Path(cfg.paper_dir or PAPER_DIR) / experiment / "paper.csv"
    if not paper.exists():
        _log.info("without the paper's numbers: no %s; type paper_dir=<folder>", paper)
    methods = collect(wanted, locate(wanted, runs_dir), paper, cfg.bootstrap)
    start = start_of(experiment, overrides)
    if not any(method.runs for method in methods):
        raise InputError(f"no run of {experiment} has finished in {runs_dir}; type {start}")
    if not cfg.mixed:
        refuse_mixtures(methods)
    nodes = wanted[0].cfg.tasks
    names = parse_tasks("+".join(dict.fromkeys(t for job in wanted for t in job.tasks)), nodes)
    plain = cast(dict[str, Any], OmegaConf.to_container(nodes, resolve=True))
    tasks = [Task.from_config(name, plain[name]) for name in names]
    folder = Path(cfg.output or f"experiments/{experiment}")
    if folder.is_file():
        raise InputError(f"output is {folder}, a file; type output=<folder> for the three files")
    results, scores = result_grid(methods, tasks), evidence_grid(methods, tasks)
    below, below_evidence = notes(methods, tasks), evidence_notes(methods)
    scale = below[0]
    _keep_other_scale(folder / "results.csv", {method.scale for method in methods})

    text = io.StringIO()
    rows = list(records(experiment, methods, tasks))
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    table = (
        f"# {experiment}, {scale[0].lower()}{scale[1:-1]}\n\n"
        f"{markdown(results)}\n{' '.join(below)}\n\n"
        f"## Intervals and tests\n\n{markdown(scores)}\n{below_evidence}\n\n"
        f"Runs: `{start}`\n"
    )
    captions = (
        f"{title(experiment)}. {' '.join(below)}",
        f"{title(experiment)}: intervals and tests. {below_evidence}",
    )
    tex = (
        f"% {experiment}. {scale} Needs the packages booktabs, graphicx and amssymb.\n"
        f"{latex(results, captions[0], f'tab:{experiment}')}\n"
        f"{latex(scores, captions[1], f'tab:{experiment}-tests')}"
    )
    for name, content in (
        ("results.csv", text.getvalue()),
        ("table.md", table),
        ("table.tex", tex),
    ):
        with complete_file(folder / name) as path:
            path.write_text(content)
    print(table)
    print(f"{'table':>10}  {folder}/results.csv, table.md, table.tex")


def _keep_other_scale(path: Path, scales: set[str]) -> None:
    """Refuse to overwrite a table of another scale."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        there = {row["scale"] for row in csv.DictReader(file) if row.get("scale")}
    if there - scales:
        raise InputError(
            f"{path} holds a table of scale {', '.join(sorted(there))}, and this one is of scale "
            f"{', '.join(sorted(scales))}; type another output=<folder>"
        )


if __name__ == "__main__":
    main()
