"""Tables of intervals and of differences to AMIR, and the sentences below them."""

from collections.abc import Mapping, Sequence

from amir_lightning.tabulate.grid import Cell, Grid, signed
from amir_lightning.tabulate.results import PAPER_SCORES, Method
from amir_lightning.tabulate.statistics import Evidence
from amir_lightning.tasks import Task

Found = Mapping[tuple[int, str], Evidence]


def interval_grid(methods: Sequence[Method], tasks: Sequence[Task], found: Found) -> Grid:
    """Lay out the interval of every method and task that has scores."""
    body = []
    for task in tasks:
        for at, method in enumerate(methods):
            if (one := found.get((at, task.name))) is None:
                continue
            row = [task.title, "+".join(method.trained), method.label]
            row += [str(one.patients), str(one.slices)]
            for score in PAPER_SCORES:
                row.append(_range(one.intervals.get(score), ".4f") or "—")
            body.append([Cell(text) for text in row])
    heads = ["Task", "Trained on", "Method", "Patients", "Slices"]
    heads += [f"{score.upper()} 95 % interval" for score in PAPER_SCORES]
    return Grid([(head, 1) for head in [""] * len(heads)], heads, body, frozenset({0, 1, 2}))


def difference_grid(methods: Sequence[Method], tasks: Sequence[Task], found: Found) -> Grid:
    """Lay out the differences to AMIR of every method and task, and of the average."""
    body = []
    for name, title in [*((task.name, task.title) for task in tasks), ("average", "Average")]:
        for at, method in enumerate(methods):
            one = found.get((at, name))
            if one is None or not one.differences:
                continue
            row = [Cell(title), Cell("+".join(method.trained)), Cell(method.label)]
            row.append(Cell(str(max(each.patients for each in one.differences.values()))))
            for score in PAPER_SCORES:
                row += _difference(one, score)
            body.append(row)
    heads = ["Task", "Trained on", "Method", "Patients", *["minus AMIR", "effect", "p"] * 3]
    spans = [("", 1)] * 4 + [(score.upper(), 3) for score in PAPER_SCORES]
    return Grid(spans, heads, body, frozenset({0, 1, 2}))


def interval_notes(methods: Sequence[Method]) -> str:
    """Caption of the table of confidence intervals."""
    summaries = [method.summary for method in methods if method.summary is not None]
    if not any(group.intervals for one in summaries for group in one.tasks.values()):
        return _scale(methods)
    return f"{_scale(methods)} Bootstrap over patients of the mean over slices."


def difference_notes(methods: Sequence[Method], bootstrap: int) -> str:
    """Caption of the table of differences to AMIR."""
    lines = [_scale(methods), "Method minus AMIR, the mean over patients"]
    lines[-1] += ", with its 95 % bootstrap interval over patients." if bootstrap else "."
    combinations = {method.trained for method in methods if method.network == "amir"}
    if sum(map(len, combinations)) > len({task for one in combinations for task in one}):
        lines.append("AMIR: its row of the same tasks, otherwise its row of most tasks.")
    rows = [method for method in methods if method.network == "amir" and method.summary is not None]
    if len({method.trained for method in rows}) < len(rows):
        lines.append(f"AMIR: {rows[0].label}, the first of its rows.")
    if any(len(method.runs) > 1 for method in methods):
        lines.append("A patient's score is its mean over the seeds.")
    lines.append("Effect: mean difference over the standard deviation of the differences.")
    lines.append(
        "p: two-sided Wilcoxon signed-rank test over patients, corrected by Holm for all "
        "comparisons of this table in that score; with n patients it cannot be below 2/2^n."
    )
    lines.append("Average: mean of the tasks' means, without effect and test.")
    return " ".join(lines)


def _difference(one: Evidence, score: str) -> list[Cell]:
    if (found := one.differences.get(score)) is None:
        return [Cell("—")] * 3
    p_value, effect = found.corrected, found.effect
    return [
        Cell(signed(found.mean, ".4f"), beside=_range(found.interval, "+.4f")),
        Cell("—" if effect is None else signed(effect, ".2f")),
        Cell("—" if p_value is None else f"{p_value:.3g}"),
    ]


def _range(interval: tuple[float, float] | None, form: str) -> str:
    if interval is None:
        return ""
    return " to ".join(format(bound, form) for bound in interval).replace("-", "\N{MINUS SIGN}")


def _scale(methods: Sequence[Method]) -> str:
    scales = sorted({method.scale for method in methods if method.runs})
    return f"Scale {' and '.join(scales)}."
