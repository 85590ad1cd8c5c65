"""The table of the experiment: as data, and as Markdown with the sentences."""

from collections.abc import Iterator, Sequence

from amir_lightning.clinical.methods import Method
from amir_lightning.clinical.sentences import levels_of
from amir_lightning.runs.clinical import IMAGES, MEASURES
from amir_lightning.system.markdown import table
from amir_lightning.tasks import Task


def records(methods: Sequence[Method], scale: str) -> Iterator[dict[str, object]]:
    """One row of ``clinical.csv`` for each method, task, measure and level."""
    for method in methods:
        for one in method.overall:
            low, high = one.interval or (None, None)
            yield {
                "scale": scale,
                "method": method.title,
                "network": method.network,
                "task": one.task,
                "measure": one.measure,
                "level": one.level,
                "unit": one.unit,
                "patients": one.patients,
                **{name: _text(one.values.get(name)) for name in IMAGES},
                "low": _text(low),
                "high": _text(high),
                "left_out": one.left_out,
                "runs": "+".join(run.name for run in method.runs),
            }


def page(
    methods: Sequence[Method], tasks: Sequence[Task], scale: str, about: str, found: Sequence[str]
) -> str:
    """Write ``clinical.md``.

    Args:
        methods: Columns.
        tasks: A table for each.
        scale: Scale of the runs.
        about: Which runs they are.
        found: Sentences of result.
    """
    text = f"# Clinical measures, scale {scale}\n\n" + "".join(f"- {one}\n" for one in found)
    for task in tasks:
        heads = ["Measure", "Unit", "Patients", "HQ", "LQ", *(method.title for method in methods)]
        given = next(one.input_psnr[task.name] for one in methods if task.name in one.input_psnr)
        best = max(one.psnr.get(task.name, 0.0) for one in methods) if len(methods) > 1 else None
        own = [one.psnr.get(task.name) for one in methods]
        psnr = ["—" if one is None else _bold(f"{one:.2f}", one == best) for one in own]
        rows = [["PSNR", "dB", "", "", f"{given:.2f}", *psnr]]
        left_out: dict[str, list[str]] = {}
        for measure in MEASURES:
            for level in levels_of(methods, task, measure):
                rows.append(_row(methods, task, measure, level))
            for one in methods[0].overall:
                if (one.task, one.measure) == (task.name, measure) and one.left_out:
                    left_out.setdefault(one.left_out, []).append(one.title)
        text += f"\n## {task.title}\n\n{table(heads, rows, (0, 1))}"
        for reason, titles in left_out.items():
            text += f"\nLeft out, because {reason}: {'; '.join(titles)}.\n"
    text += (
        "\nMeans over so many patients; areas and the transfer of inserts come from all their "
        "places together. Bold is the method closest to what would be perfect: 0 for errors, "
        "shares, bias and spread, 1 for recoveries and areas, the largest gain in area, HQ's "
        "number for noise and sharpness. Intervals are in clinical.csv. LQ is the input. "
        "docs/clinical.md defines the measures.\n"
    )
    return f"{text}\nRuns: {about}\n"


def _row(methods: Sequence[Method], task: Task, measure: str, level: str) -> list[str]:
    own = [method.find(task.name, measure, level) for method in methods]
    first = next(one for one in own if one is not None)
    best = min(one.error for one in own if one is not None) if len(own) > 1 else None
    cells = [
        "—" if one is None else _bold(f"{one.values['restored']:.3g}", one.error == best)
        for one in own
    ]
    unit = "" if first.unit == "1" else first.unit
    known = _short(first.values.get("hq")), _short(first.values.get("input"))
    return [first.title, unit, str(first.patients), *known, *cells]


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
