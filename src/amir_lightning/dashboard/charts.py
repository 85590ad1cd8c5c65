"""Curves of runs as Plotly figures, in the plain form that plotly.js takes."""

import json
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.colors import qualitative

from amir_lightning.dashboard.collect import Curve, RunEntry

# Okabe and Ito's colours, told apart with any colour vision, and more for more networks.
_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"),
    *qualitative.Dark24,
)


def comparison(entries: Sequence[RunEntry], key: str, title: str, points: int) -> dict[str, Any]:
    """One curve of every run that has it: a colour a network, dotted if trained on one task.

    Args:
        entries: The runs.
        key: The curve, such as ``val/ct/psnr``.
        title: What the vertical axis shows.
        points: A longer curve is thinned out to so many.

    Returns:
        A figure without a legend; the ``meta`` of a trace is the index of its run.
    """
    groups = {_group(entry): None for entry in entries}
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(sorted(groups))}
    figure = go.Figure(layout=_layout(title, legend=False))
    for index, entry in enumerate(entries):
        if key not in entry.curves:
            continue
        group = _group(entry)
        steps, values = zip(*_thinned(entry.curves[key], points), strict=True)
        figure.add_scatter(
            x=steps,
            y=values,
            name=group,  # for the page's own legend
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
    """All that a run logged, one figure for each group of keys that differ in their last part.

    Args:
        entry: The run.
        points: A longer curve is thinned out to so many.

    Returns:
        Figures by what their keys have in common, such as ``router/srm1/mri``.
    """
    groups: dict[str, dict[str, Curve]] = {}
    for key, curve in entry.curves.items():
        group, name = key.rsplit("/", 1)
        if group.startswith("val/"):  # scores have units of their own
            group, name = key, key.removeprefix("val/")
        if not group.startswith("test/"):
            groups.setdefault(group, {})[name] = curve
    figures = {}
    for group in sorted(groups, key=lambda name: (not name.startswith("train"), name)):
        figure = go.Figure(layout=_layout(group, legend=True))
        for (name, curve), colour in zip(groups[group].items(), _COLOURS * 3, strict=False):
            steps, values = zip(*_thinned(curve, points), strict=True)
            mode = "lines+markers" if len(steps) < 30 else "lines"
            figure.add_scatter(
                x=steps, y=values, name=_text(name), mode=mode, line={"color": colour, "width": 2}
            )
        if group.startswith("train") and all(v > 0 for c in groups[group].values() for _, v in c):
            figure.update_yaxes(type="log")
        figures[group] = _plain(figure)
    return figures


def _group(entry: RunEntry) -> str:
    return f"{entry.record['network']} ({entry.record['scale']})"


def _layout(title: str, legend: bool) -> dict[str, Any]:
    return {
        "template": "none",
        "xaxis": {**_axis("optimiser step"), "rangemode": "tozero"},
        "yaxis": {**_axis(title), "automargin": True},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "margin": {"l": 52, "r": 12, "t": 12, "b": 44},
        "font": {"family": "system-ui, sans-serif", "size": 13},
        "showlegend": legend,
    }


def _axis(title: str) -> dict[str, Any]:
    return {
        "title": {"text": _text(title), "font": {"size": 13}, "standoff": 8},
        "gridcolor": "#e4e4e4",
        "zeroline": False,
    }


def _thinned(curve: Curve, points: int) -> list[tuple[int, float]]:
    """At most `points` of a curve, evenly spread, both ends included; five digits."""
    chosen = list(range(len(curve)))
    if len(curve) > points:
        chosen = sorted({round(i * (len(curve) - 1) / (points - 1)) for i in range(points)})
    return [(curve[i][0], float(f"{curve[i][1]:.5g}")) for i in chosen]


def _text(name: str) -> str:
    """A name without what Plotly would take for markup or for a template."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace("%{", "% {")


def _plain(figure: go.Figure) -> dict[str, Any]:
    return json.loads(figure.to_json())
