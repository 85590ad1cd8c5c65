"""``python -m amir_lightning.search experiment=search_table2``: learning rates from a search."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from omegaconf import DictConfig

from amir_lightning.cli import command
from amir_lightning.config import CONF_DIR, INSTALLED
from amir_lightning.errors import InputError
from amir_lightning.runs.folder import RunFolder
from amir_lightning.runs.kept import keep
from amir_lightning.runs.rates import lender
from amir_lightning.runs.sweep import Job, experiment_of, jobs, locate, start_of
from amir_lightning.system.atomic import complete_file
from amir_lightning.system.markdown import table
from amir_lightning.system.wording import counted

_ABOUT = """\
Mean gain over the input on the validation patients, in dB of PSNR: of each task the mean over all
slices, then the mean over the tasks. The best checkpoint of each run is scored. Every method had
the same rates and the same {steps} steps. No test patient was looked at. The best rate is bold; a
training that ended with an error is marked as failed.
"""


class Trial(NamedTuple):
    """One run of a search.

    Attributes:
        job: The job.
        run: Its run folder.
        gains: PSNR of each task above that of the input [dB]; empty if the training has failed.
    """

    job: Job
    run: RunFolder
    gains: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Learning rate."""
        return float(self.job.cfg.optimizer.learning_rate)


class Search(NamedTuple):
    """The runs of one network.

    Attributes:
        network: Name of its file in ``conf/network``.
        scale: Scale of the runs.
        trained: Tasks that it was trained on.
        gains: Mean gain over tasks and runs, by learning rate [dB]; None if the training failed.
    """

    network: str
    scale: str
    trained: tuple[str, ...]
    gains: Mapping[float, float | None]

    @property
    def best(self) -> float:
        """Rate with the highest gain."""
        return max(self.gains, key=lambda rate: self._gain(rate))

    @property
    def gain(self) -> float:
        """Gain at the best rate."""
        return self._gain(self.best)

    @property
    def file(self) -> str:
        """Name of the file of the chosen rate, as ``conf/train.yaml`` looks for it."""
        return f"{self.network}_{self.scale}"

    def _gain(self, rate: float) -> float:
        gain = self.gains[rate]
        return -float("inf") if gain is None else gain


@command("search", options_of="train")
def main(cfg: DictConfig) -> None:
    """Choose the learning rate of each method on the validation patients, and keep it in conf/."""
    experiment, overrides = experiment_of(cfg.train)
    wanted = jobs(experiment, overrides)
    start = start_of(experiment, overrides)
    runs_dir, kept_dir = Path(cfg.paths.runs_dir), Path(cfg.paths.kept_dir)
    folders = locate(wanted, runs_dir, kept_dir)
    trials = _trials(wanted, folders)
    if cfg.keep:
        keep([trial.run for trial in trials], kept_dir)
    _refuse_other_data(trials)
    if missing := len(wanted) - len(trials):
        raise InputError(
            f"{missing} of the {counted('run', len(wanted))} of {experiment} in {runs_dir} have "
            f"not finished; type {start}"
        )
    searches = list(_searches(trials))
    rates_dir = _rates_dir(cfg.rates_dir)
    learned = [one for one in searches if one.gain >= cfg.least_gain]
    folder = Path(cfg.output or f"experiments/{experiment}")
    if folder.is_file():
        raise InputError(f"output is {folder}, a file; type output=<folder> for the two files")
    for search in learned:
        with complete_file(rates_dir / f"{search.file}.yaml", "type rates_dir=<folder>") as path:
            path.write_text(
                f"# Chosen by python -m amir_lightning.search {' '.join(cfg.train)}\n"
                f"learning_rate: {search.best!r}\n"
            )
    if learned:
        page = _page(experiment, learned, trials, rates_dir, start)
        for name, content in (("rates.csv", _records(learned, trials)), ("rates.md", page)):
            with complete_file(folder / name, "type output=<folder>") as path:
                path.write_text(content)
        print(page)
        print(f"{'table':>10}  {folder}/rates.csv, rates.md")
        print(f"{'rates':>10}  {rates_dir}/{', '.join(one.file for one in learned)}.yaml")
    if idle := [one for one in searches if one not in learned]:
        tried = sorted(idle[0].gains)
        typed = ",".join(f"{rate:g}" for rate in (tried[0] / 3, *tried))
        raise InputError(
            f"{', '.join(one.network for one in idle)} gained less than {cfg.least_gain:g} dB over "
            f"the input at every rate ({', '.join(f'{rate:g}' for rate in tried)}), which is a "
            f"fault of the search; type more rates for all methods, of which only the new ones are "
            f"trained: {start} optimizer.learning_rate={typed}"
        )


def _trials(wanted: Sequence[Job], folders: Sequence[RunFolder | None]) -> list[Trial]:
    """Read the runs of a search that have come to an end.

    Raises:
        InputError: The runs are scored on test patients, or their scores are lost.
    """
    if any(job.cfg.scored != "val" for job in wanted):
        raise InputError(
            "these runs are scored on test patients, by which nothing may be chosen; type an "
            "experiment with scored: val, such as experiment=search_table2"
        )
    trials = []
    for job, run in zip(wanted, folders, strict=True):
        if run is not None and run.finished:
            trials.append(Trial(job, run, _gains(job, run)))
        elif run is not None and run.record.get("status") == "failed":
            trials.append(Trial(job, run, {}))
    return trials


def _refuse_other_data(trials: Sequence[Trial]) -> None:
    """Refuse runs on several data, whose gains cannot be compared."""
    found: dict[str, dict[str, str]] = {}
    for trial in trials:
        for task, data in trial.run.data.items():
            found.setdefault(task, {}).setdefault(data.key, trial.run.name)
    for task, names in found.items():
        if len(names) > 1:
            raise InputError(
                f"the runs of this search have several data of {task} (see "
                f"{', '.join(names.values())}); remove the older folders, and train again"
            )


def _gains(job: Job, run: RunFolder) -> dict[str, float]:
    scores = run.scores_of("val")
    try:
        return {task: scores[task]["psnr"] - scores[task]["input_psnr"] for task in job.tasks}
    except KeyError as error:
        raise InputError(
            f"{run.result_file} has no validation scores of {error}; remove it and train again"
        ) from error


def _searches(trials: Sequence[Trial]) -> Iterator[Search]:
    """Group the runs by network, in the order of the sweep; average over seeds and combinations."""
    for network in dict.fromkeys(trial.job.network for trial in trials):
        own = [trial for trial in trials if trial.job.network == network]
        gains: dict[float, float | None] = {}
        for rate in sorted({trial.rate for trial in own}):
            found = [trial.gains for trial in own if trial.rate == rate]
            whole = all(found)  # of several seeds, each has to come to its end
            gains[rate] = mean(mean(one.values()) for one in found) if whole else None
        trained = tuple(dict.fromkeys(task for trial in own for task in trial.job.tasks))
        yield Search(network, str(own[0].job.cfg.scale), trained, gains)


def _rates_dir(typed: str | None) -> Path:
    """Folder of the chosen rates.

    Raises:
        InputError: It would lie inside the installed package.
    """
    if typed is None and INSTALLED:
        raise InputError(
            "the chosen rates need a folder of your own; type rates_dir=my/network/rate, and "
            "--config-path my in the commands that use them"
        )
    return CONF_DIR / "network" / "rate" if typed is None else Path(typed)


def _page(
    experiment: str,
    searches: Sequence[Search],
    trials: Sequence[Trial],
    rates_dir: Path,
    start: str,
) -> str:
    rates = sorted({rate for search in searches for rate in search.gains})
    rows, edges = [], []
    for search in searches:
        cells = [_cell(search, rate) for rate in rates]
        takers = ", ".join(_takers(search.file, rates_dir)) or "—"
        rows.append([search.network, "+".join(search.trained), *cells, f"{search.best:g}", takers])
        if search.best in (min(search.gains), max(search.gains)):
            edges.append(search.network)
    heads = ["Method", "Trained on", *(f"{rate:g}" for rate in rates), "Chosen", "Also taken by"]
    text = _ABOUT.format(steps=trials[0].job.cfg.trainer.max_steps)
    if edges:
        text += f"\nA rate at the edge of the search was chosen for: {', '.join(edges)}.\n"
    scales = ", ".join(dict.fromkeys(search.scale for search in searches))
    grid = table(heads, rows, (0, 1, len(heads) - 1))
    return f"# {experiment}, scale {scales}\n\n{grid}\n{text}\nRuns: `{start}`\n"


def _cell(search: Search, rate: float) -> str:
    gain = search.gains.get(rate)
    text = "failed" if gain is None else f"{gain:.2f}"
    return f"**{text}**" if rate == search.best else text


def _takers(file: str, rates_dir: Path) -> list[str]:
    """Networks whose rate is by their file that of another one, as the ablations of AMIR."""
    scale = file.rpartition("_")[2]
    paths = sorted(rates_dir.glob(f"*_{scale}.yaml"))
    return [path.stem.removesuffix(f"_{scale}") for path in paths if lender(path) == file]


def _records(searches: Sequence[Search], trials: Sequence[Trial]) -> str:
    """Write one line for each run and task as CSV."""
    text = io.StringIO()
    heads = ["network", "scale", "trained", "seed", "learning_rate", "chosen", "task", "gain_psnr"]
    writer = csv.DictWriter(text, heads, lineterminator="\n")
    writer.writeheader()
    best = {search.network: search.best for search in searches}
    for trial in trials:
        if (job := trial.job).network not in best:
            continue
        for task in job.tasks:
            writer.writerow(
                {
                    "network": job.network,
                    "scale": job.cfg.scale,
                    "trained": "+".join(job.tasks),
                    "seed": job.seed,
                    "learning_rate": f"{trial.rate:g}",
                    "chosen": trial.rate == best[job.network],
                    "task": task,
                    "gain_psnr": trial.gains.get(task, ""),
                }
            )
    return text.getvalue()


if __name__ == "__main__":
    main()
