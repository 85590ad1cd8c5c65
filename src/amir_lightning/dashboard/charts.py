"""Curves of runs as Plotly figures, in the JSON form that plotly.js reads."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import qualitative

from amir_lightning.dashboard.collect import Curve, RunEntry

# The colours of Okabe and Ito can be told apart by colour-blind readers; the others follow when
# there are more networks than these.
_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"),
    *qualitative.Dark24,
)


def colours(entries: Sequence[RunEntry]) -> dict[str, str]:
    """One colour for each network and scale, the same in all charts."""
    groups = sorted({_group(entry) for entry in entries})
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(groups)}


def comparison(
    entries: Mapping[int, RunEntry], key: str, title: str, colours: Mapping[str, str], points: int
) -> dict[str, Any]:
    """Draw one curve for every run that has it, dotted if it was trained on one task alone.

    Args:
        entries: Comparable runs by their position in the table.
        key: Name of the curve, such as ``val/ct/psnr``.
        title: Title of the vertical axis.
        colours: Colours by network and scale.
        points: Longer curves are thinned out to this number of points.

    Returns:
        A figure; the ``meta`` of a trace is the position of its run.
    """
    figure = go.Figure(layout=_layout(title))
    for index, entry in entries.items():
        if key not in entry.curves:
            continue
        group = _group(entry)
        steps, values = zip(*_thinned(entry.curves[key], points), strict=True)
        figure.add_scatter(
            x=steps,
            y=values,
            name=group,
            mode="lines+markers" if len(steps) < 30 else "lines",
            line={
                "color": colours[group],
                "dash": "solid" if len(entry.tasks) > 1 else "dot",
                "width": 2,
            },
            marker={"size": 5},
            meta=index,
            hovertemplate=f"{_text(entry.files.name)}<br>step %{{x}}: %{{y:.4g}}<extra></extra>",
        )
    return _plain(figure)


def curves_of(entry: RunEntry, points: int) -> dict[str, dict[str, Any]]:
    """Draw everything that a run logged: one figure per group of keys with a common beginning.

    Args:
        entry: The run.
        points: Longer curves are thinned out to this number of points.

    Returns:
        Figures by the beginning of their keys, such as ``router/srm1/mri``.
    """
    groups: dict[str, dict[str, Curve]] = {}
    for key, curve in entry.curves.items():
        group, name = key.rsplit("/", 1)
        if group.startswith("val/"):  # each score has its own unit
            group, name = key, key.removeprefix("val/")
        if not group.startswith("test/"):
            groups.setdefault(group, {})[name] = curve
    figures = {}
    for group in sorted(groups, key=lambda name: (not name.startswith("train"), name)):
        figure = go.Figure(layout=_layout(""))  # the page shows the name of the group above it
        for (name, curve), colour in zip(groups[group].items(), _COLOURS * 3, strict=False):
            steps, values = zip(*_thinned(curve, points), strict=True)
            mode = "lines+markers" if len(steps) < 30 else "lines"
            figure.add_scatter(
                x=steps,
                y=values,
                name=name,
                mode=mode,
                line={"color": colour, "width": 2},
                hovertemplate=f"step %{{x}}: %{{y:.4g}}<extra>{_text(name)}</extra>",
            )
        if group.startswith("train") and all(v > 0 for c in groups[group].values() for _, v in c):
            figure.update_yaxes(type="log")
        figures[group] = _plain(figure)
    return figures


def _group(entry: RunEntry) -> str:
    return f"{entry.record['network']} ({entry.record['scale']})"


def _layout(title: str) -> dict[str, Any]:
    return {
        "template": "none",
        "xaxis": {**_axis("optimiser step"), "rangemode": "tozero"},
        "yaxis": {**_axis(title), "automargin": True},
        "margin": {"l": 52, "r": 12, "t": 12, "b": 44},
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "showlegend": False,  # the page draws one outside the chart
    }


def _axis(title: str) -> dict[str, Any]:
    return {
        "title": {"text": _text(title), "font": {"size": 13}, "standoff": 8},
        "gridcolor": "#e4e4e4",
        "zeroline": False,
    }


def _thinned(curve: Curve, points: int) -> list[tuple[int, float]]:
    """Keep at most `points` of a curve, evenly spread, with both ends; round to five digits."""
    chosen = list(range(len(curve)))
    if len(curve) > points:
        chosen = sorted({round(i * (len(curve) - 1) / (points - 1)) for i in range(points)})
    return [(curve[i][0], float(f"{curve[i][1]:.5g}")) for i in chosen]


def _text(name: str) -> str:
    """Escape what Plotly would read as markup or as a template."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")


def _plain(figure: go.Figure) -> dict[str, Any]:
    return json.loads(figure.to_json())
