"""Verdicts as a page and as data."""

import math
from collections.abc import Iterator, Mapping, Sequence

from amir_lightning.claims.comparisons import Comparison
from amir_lightning.claims.intervals import Interval
from amir_lightning.claims.verdicts import Judged
from amir_lightning.system.markdown import table
from amir_lightning.system.wording import counted
from amir_lightning.tabulate.grid import signed
from amir_lightning.tabulate.results import Method

_UNITS = {"psnr": " dB"}


def page(
    judged: Sequence[Judged],
    scales: Sequence[str],
    methods: Mapping[str, Sequence[Method]],
    starts: Mapping[str, str],
) -> str:
    """Write ``claims.md``.

    Args:
        judged: The claims with their verdicts.
        scales: Scales of the runs.
        methods: Rows of the table of each experiment.
        starts: Command that trains the runs of each experiment.
    """
    counts = [
        (verdict, sum(one.verdict == verdict for one in judged))
        for verdict in ("supported", "contradicted", "undecided", "not run")
    ]
    total = ", ".join(f"{count} {verdict}" for verdict, count in counts if count)
    rows = [[one.claim.name, one.claim.paper, _here(one), one.verdict] for one in judged]
    return (
        f"# Claims of the paper, scale {' and '.join(scales)}\n\n"
        f"{counted('claim', len(judged))}: {total}.\n\n"
        f"{table(['Claim', 'The paper', 'Here', 'Verdict'], rows, range(4))}\n"
        f"{_notes(methods)}\n\n"
        "The verdicts follow from the rules in `conf/claims.yaml` and were not written by hand. "
        "`claims.csv` has every comparison.\n\n"
        f"{_commands(judged, starts)}"
    )


def records(judged: Sequence[Judged], scales: Sequence[str]) -> Iterator[dict[str, object]]:
    """One row of ``claims.csv`` per comparison."""
    for one in judged:
        for at, found in enumerate(one.comparisons):
            interval = one.intervals[at] if one.intervals else None
            yield {
                "claim": one.claim.name,
                "verdict": one.verdict,
                "scale": "+".join(scales),
                "experiment": one.claim.experiment,
                "ahead": found.ahead,
                "behind": found.behind,
                "task": found.task,
                "score": found.score,
                "advantage": _text(interval and interval.value),
                "low": _text(interval and interval.low),
                "high": _text(interval and interval.high),
                "margin": f"{one.claim.margin:g}",
                "spread": _text(found.spread),
                "paper": _text(found.paper),
                "patients": interval.patients or "" if interval else "",
                "seeds": " and ".join(map(str, found.seeds)),
                "missing": ", ".join(found.missing),
                "runs": "+".join(dict.fromkeys(found.runs)),
            }


def _here(one: Judged) -> str:
    if not one.intervals:
        missing = dict.fromkeys(text for found in one.comparisons for text in found.missing)
        return f"missing: {', '.join(missing)}"
    ahead = sum(interval.value > one.claim.margin for interval in one.intervals)
    text = f"{ahead} of {counted('comparison', len(one.intervals))} in the claim's favour"
    at = one.deciding
    return f"{text}; farthest from it: {_told(one.comparisons[at], one.intervals[at])}"


def _told(found: Comparison, interval: Interval) -> str:
    form = ".2f" if found.score in ("psnr", "interference") else ".4f"
    value = signed(interval.value, form)
    low, high = (signed(bound, form) for bound in (interval.low, interval.high))
    what = f"{found.ahead} against {found.behind}, {found.task} {found.score}"
    return f"{what}, {value}{_UNITS.get(found.score, '')} ({low} to {high})"


def _notes(methods: Mapping[str, Sequence[Method]]) -> str:
    """Say what the intervals are, and from how many patients and seeds they come."""
    rows = [one for found in methods.values() for one in found]
    patients: dict[str, set[int]] = {}
    for one in rows:
        for task, group in (one.summary.tasks if one.summary is not None else {}).items():
            number = sum(patient.num_slices > 0 for patient in group.patients.values())
            patients.setdefault(task, set()).add(number)
    texts = [
        f"{task} {' or '.join(map(str, sorted(numbers)))}" for task, numbers in patients.items()
    ]
    lines = [
        "Here: advantages, positive where the claim is right, and their 95 % intervals, corrected "
        "for the comparisons of the claim: by the largest studentised deviation of a bootstrap "
        "over patients, and by Bonferroni for interference, whose units are mini-batches.",
        "A patient's score is its mean over the seeds; the intervals say what other patients would "
        "change, not what other seeds would.",
    ]
    if texts:
        lines.append(f"Test patients: {', '.join(texts)}.")
    done = [run for one in rows for run in one.runs]
    if any(data.source == "phantoms" for run in done for data in run.data.values()):
        lines.append("Embedded phantoms instead of patients.")
    for experiment, found in methods.items():
        finished, wanted = sum(len(one.runs) for one in found), sum(one.wanted for one in found)
        lines.append(f"{experiment}: {finished} of {counted('run', wanted)} finished.")
    return " ".join(lines)


def _commands(judged: Sequence[Judged], starts: Mapping[str, str]) -> str:
    used = dict.fromkeys(one.claim.experiment for one in judged)
    return "Runs:\n\n" + "".join(f"- `{starts[experiment]}`\n" for experiment in used)


def _text(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"
