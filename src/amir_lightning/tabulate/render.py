"""Fill the paper's layouts with scores, write the notes below them, and the same as data."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from amir_lightning.system.wording import counted
from amir_lightning.tabulate.evidence import Found
from amir_lightning.tabulate.grid import Cell, Grid, signed
from amir_lightning.tabulate.results import PAPER_SCORES, Method, drawn_apart, tasks_of
from amir_lightning.tabulate.statistics import Difference, spread
from amir_lightning.tasks import Task

_ARROWS = {"psnr": "PSNR ↑", "ssim": "SSIM ↑", "rmse": "RMSE ↓"}
_DEFINITIONS = {
    "paper": "data range of each label slice, SSIM with zeros outside the image",
    "standard": "data range of the task's score range, SSIM with mirrored borders",
}
_TITLES = {
    "table1": "Single-task medical image restoration",
    "table2": "All-in-one medical image restoration",
    "successors": "AMIR, its successors and what they are compared with",
    "table3": "Task combinations",
    "table4": "Ablation of the routing",
    "tasks": "More tasks than three",
    "width": "Networks of equal width, with and without routing",
    "sampling": "Shares of eight tasks in the patches",
}
_DASH = Cell("—")


def title(experiment: str) -> str:
    """Title of the table of an experiment; its name if the paper has no such table."""
    return _TITLES.get(experiment, f"Medical image restoration, {experiment}")


def result_grid(methods: Sequence[Method], tasks: Sequence[Task]) -> Grid:
    """Lay out the table as the paper does.

    - Several networks, each trained on one task: side by side (Table 1).
    - One network, each time on another combination of tasks: a tick for each task (Table 3).
    - Otherwise one row per method. It has the parameters if the paper prints them (Table 4), and
      the average over the tasks if the paper prints it (Table 2). A table that is not in the
      paper has both.
    """
    networks = {method.network for method in methods}
    if len(networks) > 1 and all(len(method.trained) == 1 for method in methods):
        return _side_by_side(methods, tasks)
    averaged = any(task == "average" for method in methods for task, _ in method.paper)
    names = [task.name for task in tasks]
    titles = [(task.title, 3) for task in tasks]
    common = all(len(method.trained) == len(tasks) for method in methods)
    if len(tasks) > 1 and common and (averaged or not _in_paper(methods)):
        names, titles = [*names, "average"], [*titles, ("Average", 3)]
    columns = [_column(methods, name, score) for name in names for score in PAPER_SCORES]
    scores = [_ARROWS[score] for _ in names for score in PAPER_SCORES]
    if len(networks) == 1 and len({method.trained for method in methods}) == len(methods) > 1:
        ticks = [
            [Cell("✓" if task.name in method.trained else "") for method in methods]
            for task in tasks
        ]
        heads = [task.title for task in tasks]
        return _grid([("Training", len(tasks)), *titles], [*heads, *scores], [*ticks, *columns], 0)
    first = [[Cell(method.label) for method in methods]]
    heads = ["Method"]
    spans = [("", 1)]
    if _shows_parameters(methods):
        first.append([_parameters(method) for method in methods])
        heads.append("Params")
        spans.append(("", 1))
    if any(method.recipe for method in methods):
        first.append([Cell(method.recipe or "—") for method in methods])
        heads.append("Own paper")
        spans.append(("", 1))
    return _grid([*spans, *titles], [*heads, *scores], [*first, *columns], 1)


def notes(methods: Sequence[Method], tasks: Sequence[Task]) -> list[str]:
    """Sentences that a reader needs to judge the numbers: scale, then data and definitions."""
    done = [run for method in methods for run in method.runs]
    scales = sorted({method.scale for method in methods if method.runs})
    lines = [f"Scale {' and '.join(scales)}."]
    phantoms, unknown = (tasks_of(source, done, tasks) for source in ("phantoms", "unknown"))
    if "demo" in scales:
        lines.append(
            "Small networks trained for few steps; these are not the paper's numbers and cannot "
            "be compared with them."
        )
    elif "paper" not in scales and not _shows_parameters(methods):
        sizes = {one.label: one.parameters / 1e6 for one in methods if one.parameters is not None}
        lines.append(
            f"Millions of parameters: {', '.join(f'{one} {n:.2f}' for one, n in sizes.items())}."
        )
    if phantoms:
        lines.append(f"Embedded phantoms instead of patients: {', '.join(phantoms)}.")
    if unknown:
        lines.append(
            f"Phantoms or patients, which the records of older runs do not say: "
            f"{', '.join(unknown)}."
        )
    if drawn := drawn_apart(done):
        lines.append(
            f"Phantoms of one recipe, drawn by CPUs that round otherwise: {', '.join(drawn)}."
        )
    if _in_paper(methods):
        like = not ("demo" in scales or phantoms or unknown)
        lines.append(
            "In brackets the paper's value and the difference of ours"
            + ("." if like else ", which says nothing at this scale.")
        )
    counts = (_counts(methods, task) for task in tasks)
    lines.append("Test data: " + "; ".join(text for text in counts if text) + ".")
    if any(method.recipe for method in methods):
        lines.append("Own paper: how that paper trains the method, at its own scale.")
    lines += _taken_rates(methods)
    metrics = sorted({run.metrics for run in done})
    means = "; ".join(f"{name}, {_DEFINITIONS.get(name, 'defined elsewhere')}" for name in metrics)
    units = ", ".join(f"{task.units} ({task.name})" for task in tasks)
    lines.append(f"Definition of PSNR and SSIM: {means}. PSNR in dB, RMSE in {units}.")
    if any(task == "average" for method in methods for task, _ in method.paper):
        lines.append("The average RMSE mixes units, as in the paper.")
    mixed = any(len(_bases(methods, task)) > 1 for task in tasks)
    among = " among runs of one scale, data and definition" if mixed else ""
    lines.append(f"Best bold, second-best underlined{among}.")
    seeds = max(method.wanted for method in methods)
    if seeds > 1:
        lines.append(f"Mean ± standard deviation over {seeds} seeds.")
        short = [method for method in methods if len(method.runs) < method.wanted]
        if short:
            listed = ", ".join(f"{one.label} ({len(one.runs)} of {one.wanted})" for one in short)
            lines.append(f"Not all seeds have finished: {listed}.")
    elif missing := [one for one in methods if not one.runs]:
        lines.append(f"A dash where no run has finished: {len(missing)} of {len(methods)} methods.")
    return lines


def _in_paper(methods: Sequence[Method]) -> bool:
    return any(method.paper for method in methods)


def _shows_parameters(methods: Sequence[Method]) -> bool:
    return not _in_paper(methods) or any(method.paper_parameters for method in methods)


def _taken_rates(methods: Sequence[Method]) -> list[str]:
    """Name the methods whose learning rate was not searched, by the one that they took."""
    takers: dict[str, list[str]] = {}
    for method in methods:
        if method.runs and method.rate_of is not None:
            takers.setdefault(method.rate_of, []).append(method.label)
    titles = {method.network: method.label for method in reversed(methods)}
    return [
        f"At the learning rate of {titles.get(one, one)}, without a search of their own: "
        f"{'; '.join(labels)}."
        for one, labels in takers.items()
    ]


def _grid(
    spans: list[tuple[str, int]], heads: list[str], columns: list[list[Cell]], texts: int
) -> Grid:
    return Grid(spans, heads, list(zip(*columns, strict=True)), frozenset(range(texts)))


def _side_by_side(methods: Sequence[Method], tasks: Sequence[Task]) -> Grid:
    spans: list[tuple[str, int]] = []
    heads: list[str] = []
    columns: list[list[Cell]] = []
    texts = set()
    for task in tasks:
        texts.add(len(heads))
        own = [method for method in methods if method.trained == (task.name,)]
        spans += [("", 1), (task.title, 3)]
        heads += ["Method", *(_ARROWS[score] for score in PAPER_SCORES)]
        columns.append([Cell(method.label) for method in own])
        columns += [_column(own, task.name, score) for score in PAPER_SCORES]
    body = list(zip_longest(*columns, fillvalue=Cell("")))
    return Grid(spans, heads, body, frozenset(texts))


def _column(methods: Sequence[Method], task: str, score: str) -> list[Cell]:
    values = [method.value(task, score) for method in methods]
    # Rank the printed numbers, so that equal ones are marked alike. Only methods that were scored
    # by one definition on the same data are ranked together.
    sign = 1 if score == "rmse" else -1
    bases = [method.basis(task) for method in methods]
    numbers: dict[tuple[object, ...], set[float]] = {}
    for basis, value in zip(bases, values, strict=True):
        if value is not None:
            numbers.setdefault(basis, set()).add(sign * round(value, 4))
    cells = []
    for method, basis, value in zip(methods, bases, values, strict=True):
        if value is None:
            cells.append(_DASH)
            continue
        text = f"{value:.4f}"
        if (deviation := spread(method.per_seed(task, score))) is not None:
            text += f" ± {deviation:.4f}"
        ranked = sorted(numbers[basis])
        place = ranked.index(sign * round(value, 4)) if len(ranked) > 1 else 2
        printed = method.paper.get((task, score))
        beside = "" if printed is None else f"{printed:.4f}, {signed(value - printed, '.4f')}"
        cells.append(Cell(text, "best" if place == 0 else "second" if place == 1 else "", beside))
    return cells


def _bases(methods: Sequence[Method], task: Task) -> set[tuple[object, ...]]:
    return {one.basis(task.name) for one in methods if one.value(task.name, "rmse") is not None}


def _parameters(method: Method) -> Cell:
    if method.parameters is None:
        return _DASH
    million = method.parameters / 1e6
    printed = method.paper_parameters
    beside = "" if printed is None else f"{printed:.2f} M, {signed(million - printed, '.2f')}"
    return Cell(f"{million:.2f} M", "", beside)


def _counts(methods: Sequence[Method], task: Task) -> str:
    groups = [method.summary.tasks.get(task.name) for method in methods if method.summary]
    sizes = sorted(
        {
            (sum(one.num_slices > 0 for one in group.patients.values()), group.num_slices)
            for group in groups
            if group is not None
        }
    )
    texts = (
        f"{counted('patient', patients)}, {counted('slice', slices)}" for patients, slices in sizes
    )
    return f"{task.name} {' or '.join(texts)}" if sizes else ""


def records(
    experiment: str, methods: Sequence[Method], tasks: Sequence[Task], found: Found
) -> Iterator[dict[str, object]]:
    """One row of ``results.csv`` per method, task and score."""
    for at, method in enumerate(methods):
        for task in [*(task.name for task in tasks), "average"]:
            for score in PAPER_SCORES:
                value, printed = method.value(task, score), method.paper.get((task, score))
                if value is None and printed is None:
                    continue
                known = value is not None and printed is not None
                one = found.get((at, task))
                intervals, differences = (one.intervals, one.differences) if one else ({}, {})
                low, high = intervals.get(score, (None, None))
                yield {
                    "experiment": experiment,
                    "scale": method.scale,
                    "method": method.label,
                    "network": method.network,
                    "trained": "+".join(method.trained),
                    "task": task,
                    "score": score,
                    "value": _text(value),
                    "spread": _text(spread(method.per_seed(task, score))),
                    "low": _text(low),
                    "high": _text(high),
                    **against_amir(differences.get(score)),
                    "patients": one.patients if one else "",
                    "slices": one.slices if one else "",
                    "paper": "" if printed is None else f"{printed:.4f}",
                    "difference": _text(value - printed) if known else "",  # type: ignore[operator]
                    "parameters": method.parameters or "",
                    "seeds": "+".join(str(run.files.record["seed"]) for run in method.runs),
                    "metrics": "+".join(sorted({run.metrics for run in method.runs})),
                    "data": "+".join(
                        sorted(
                            {
                                f"{run.data[task].source} {run.data[task].fingerprint[:12]}"
                                for run in method.runs
                                if task in run.data
                            }
                        )
                    ),
                    "runs": "+".join(run.files.name for run in method.runs),
                }


def against_amir(found: Difference | None) -> dict[str, str]:
    """Columns of ``results.csv`` for a difference to AMIR; empty texts without one."""
    names = (
        "minus_amir",
        "minus_amir_low",
        "minus_amir_high",
        "effect",
        "p_against_amir",
        "p_holm",
    )
    if found is None:
        return dict.fromkeys((*names, "pairs"), "")
    low, high = found.interval or (None, None)
    numbers = (found.mean, low, high, found.effect, found.p_value, found.corrected)
    return {**dict(zip(names, map(_text, numbers), strict=True)), "pairs": str(found.patients)}


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
