"""Render one HTML file: a table of runs, their curves, pictures and tables."""

import re
import secrets
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from amir_lightning.dashboard import charts
from amir_lightning.dashboard.collect import RunEntry, comparable, settings
from amir_lightning.dashboard.embed import Album, markdown, read_tables

_METRICS = {"psnr": "PSNR [dB]", "ssim": "SSIM", "rmse": "RMSE"}


def render(
    entries: Sequence[RunEntry],
    broken: Mapping[str, str],
    experiments_dir: Path,
    album: Album,
    per_task: int,
    curve_points: int,
    table_rows: int,
) -> str:
    """Render the page.

    Args:
        entries: The runs, newest first.
        broken: For each folder that could not be read, by name, the reason.
        experiments_dir: Folder whose sub-folders hold tables and figures; it need not exist.
        album: Shrinks and embeds pictures.
        per_task: Number of validations, the newest first, whose sample pictures are shown.
        curve_points: Longer curves are thinned out to this number of points.
        table_rows: Longer CSV files are shown up to this row.

    Returns:
        HTML that needs no other file.
    """
    tasks = _tasks(entries)
    experiments = _experiments(experiments_dir, album, table_rows)
    rows = [
        _row(entry, own, album, per_task, table_rows)
        for entry, own in zip(entries, settings(entries), strict=True)
    ]
    comparisons = [
        (name, description, indices)
        for name in tasks
        for description, indices in comparable(entries, name)
    ]
    colours = charts.colours(entries)
    data = {
        "comparisons": {
            metric: [
                charts.comparison(
                    {index: entries[index] for index in indices},
                    f"val/{name}/{metric}",
                    _axis(title, tasks[name]["units"]),
                    colours,
                    curve_points,
                )
                for name, _, indices in comparisons
            ]
            for metric, title in _METRICS.items()
        },
        "details": {
            row["anchor"]: charts.curves_of(entry, curve_points)
            for row, entry in zip(rows, entries, strict=True)
        },
    }
    environment = Environment(
        loader=PackageLoader("amir_lightning.dashboard", "."),
        autoescape=True,  # anyone may have written the run folders
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {}  # keep the order of the figures
    environment.filters.update(duration=_duration, score=_score, words=_words)
    source = Path(__file__).parent
    return environment.get_template("page.html").render(
        rows=rows,
        tasks=tasks,
        metrics=_METRICS,
        scales={
            scale: sum(row["scale"] == scale for row in rows) for scale in _values(rows, "scale")
        },
        choices={key: _values(rows, key) for key in ("network", "scale", "source", "status")},
        comparisons=comparisons,
        experiments=experiments,
        broken=broken,
        album=album,
        data=data,
        built=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        nonce=secrets.token_urlsafe(16),
        style=Markup((source / "page.css").read_text()),
        script=Markup((source / "page.js").read_text()),
        plotly=Markup(get_plotlyjs()),
    )


def _row(
    entry: RunEntry, own: Mapping[str, Any], album: Album, per_task: int, table_rows: int
) -> dict[str, Any]:
    """Collect what the page shows of a run."""
    folder, record = entry.files.path, entry.record
    status = str(record.get("status", "unknown"))
    name = shlex.quote(folder.name)
    command = f"evaluate run={name} split=val" if entry.finished else f"train run={name}"
    pictures = [
        picture
        for place in ("samples", "routing", "figures")
        for picture in album.embed_newest(folder / place, per_task)
    ]
    facts = {
        "started": _clock(record.get("started")),
        "device": record.get("device"),
        "precision": record.get("precision"),
        "effective batch": record.get("effective_batch"),
        "steps": f"{record.get('step', '?')} of {record.get('max_steps', '?')}",
        "code": record.get("git_commit"),
        "software": _pairs(record.get("versions")),
        "data": _pairs({k: f"{v.source} {v.fingerprint[:12]}" for k, v in entry.data.items()}),
    }
    return {
        "anchor": "run-" + sha256(folder.name.encode(errors="replace")).hexdigest()[:10],
        "name": folder.name,
        "status": status,
        "scale": record["scale"],
        "source": entry.files.source,
        "task": record["task"],
        "tasks": entry.tasks,
        "network": record["network"],
        "seed": record.get("seed"),
        "parameters": record.get("parameters")
        if isinstance(record.get("parameters"), int)
        else None,
        "seconds": entry.seconds,
        "scores": entry.scores,
        "own": own,
        "facts": {key: value for key, value in facts.items() if value is not None},
        "config": entry.config,
        "pictures": pictures,
        "tables": read_tables(
            [
                *sorted(folder.glob("evaluation/*/tasks.csv")),
                *sorted(folder.glob("evaluation/*/clinical_tasks.csv")),
            ],
            table_rows,
        ),
        "command": f"python -m amir_lightning.{command}",
    }


def _experiments(folder: Path, album: Album, table_rows: int) -> list[dict[str, Any]]:
    """Collect the tables and figures of each folder."""
    found = []
    for one in sorted(path for path in folder.glob("*") if path.is_dir()):
        texts = [
            Markup(markdown(path)) for path in sorted(one.glob("*.md")) if path.stem != "README"
        ]
        tables = read_tables(sorted(one.glob("*.csv")), table_rows)
        pictures = album.embed_newest(one, 1)
        scales = {
            row[table.header.index("scale")]
            for table in tables
            if "scale" in table.header
            for row in table.rows
            if len(row) == len(table.header)
        }
        if texts or tables or pictures:
            found.append(
                {
                    "name": one.name,
                    "texts": texts,
                    "tables": tables,
                    "pictures": pictures,
                    "scales": sorted(scales),
                }
            )
    return found


def _tasks(entries: Sequence[RunEntry]) -> dict[str, dict[str, str]]:
    """Title and units of every task; equal titles are told apart by the names of the tasks."""
    found = {
        name: {key: str(entry.config.get(f"tasks.{name}.{key}", "")) for key in ("title", "units")}
        for entry in sorted(entries, key=lambda entry: len(entry.tasks), reverse=True)
        for name in entry.tasks
    }
    often = Counter(task["title"] for task in found.values() if task["title"])
    return {
        name: task | {"title": f"{task['title']} ({name})"} if often[task["title"]] > 1 else task
        for name, task in found.items()
    }


def _words(key: str, value: object) -> str:
    """Say a setting in words, such as "validation every 1000 steps"."""
    name = key.removesuffix("._target_").removesuffix("_n_steps")
    # These groups hold most options, and their names add nothing.
    name = re.sub(r"^(tasks|network|optimizer|trainer|data)\.", "", name)
    words = name.replace(".", " ").replace("_", " ")
    text = {"True": "on", "False": "off", "None": "none"}.get(str(value), value)
    return f"{words} {text} steps" if words.endswith(" every") else f"{words} {text}"


def _axis(title: str, units: str) -> str:
    return f"{title} [{units}]" if title == "RMSE" and units else title


def _values(rows: Sequence[Mapping[str, Any]], key: str) -> list[str]:
    return sorted({row[key] for row in rows})


def _pairs(content: object) -> str | None:
    if not isinstance(content, Mapping):
        return None
    return ", ".join(f"{key} {value}" for key, value in content.items())


def _clock(text: object) -> str | None:
    return None if text is None else str(text)[:16].replace("T", " ") + " UTC"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def _score(value: float | None, metric: str) -> str:
    if value is None:
        return ""
    return format(
        value, {"psnr": ".2f", "ssim": ".4f", "rmse": ".4g"}[metric.removeprefix("input_")]
    )
