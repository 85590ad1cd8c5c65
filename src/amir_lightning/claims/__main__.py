"""``python -m amir_lightning.claims``: verdicts on the paper's claims from finished runs."""

from itertools import chain, islice
from pathlib import Path

from omegaconf import DictConfig

from amir_lightning.cli import command
from amir_lightning.config import PAPER_DIR
from amir_lightning.errors import InputError


@command("claims", options_of="train")
def main(cfg: DictConfig) -> None:
    """Read run folders and write claims.csv and claims.md."""
    from amir_lightning.claims.comparisons import comparisons
    from amir_lightning.claims.page import page, records
    from amir_lightning.claims.rules import read_claims
    from amir_lightning.claims.verdicts import judge
    from amir_lightning.config import plain
    from amir_lightning.runs.sweep import jobs, locate, start_of
    from amir_lightning.system.atomic import complete_file
    from amir_lightning.tabulate.results import collect, refuse_mixtures
    from amir_lightning.tabulate.written import csv_text, refuse_other_scale

    options = list(cfg.train or cfg.runs)
    if named := [text for text in options if text.startswith("experiment=")]:
        raise InputError(
            f"{named[0]} was typed, and each claim names its experiment in conf/claims.yaml; drop "
            "that option"
        )
    if cfg.bootstrap < 1:
        raise InputError(
            "bootstrap is 0, and every verdict needs an interval; type bootstrap=10000"
        )
    folder = Path(cfg.output)
    if folder.is_file():
        raise InputError(f"output is {folder}, a file; type output=<folder> for the two files")
    claims = read_claims(plain(cfg)["claims"])
    folders = Path(cfg.paths.runs_dir), Path(cfg.paths.kept_dir)
    names = dict.fromkeys(claim.experiment for claim in claims)
    wanted = {experiment: jobs(experiment, options) for experiment in names}
    found = iter(locate(chain.from_iterable(wanted.values()), *folders))  # reads each folder once
    methods = {}
    for experiment, own in wanted.items():
        paper = Path(cfg.paper_dir or PAPER_DIR) / experiment / "paper.csv"
        methods[experiment] = collect(own, [*islice(found, len(own))], paper, 0)
    every = [*chain.from_iterable(methods.values())]
    scales = {one.scale for one in every}
    refuse_mixtures(every, otherwise="")
    refuse_other_scale(folder / "claims.csv", scales)
    judged = [
        judge(claim, comparisons(claim, methods[claim.experiment]), cfg.bootstrap)
        for claim in claims
    ]
    starts = {experiment: start_of(experiment, options) for experiment in methods}
    text = page(judged, sorted(scales), methods, starts)
    for name, content in (
        ("claims.csv", csv_text([*records(judged, sorted(scales))])),
        ("claims.md", text),
    ):
        with complete_file(folder / name) as path:
            path.write_text(content)
    width = max(len(one.claim.name) for one in judged)
    for one in judged:
        print(f"{one.claim.name:>{width}}  {one.verdict}")
    print(f"{'claims':>{width}}  {folder}/claims.csv, claims.md")


if __name__ == "__main__":
    main()
