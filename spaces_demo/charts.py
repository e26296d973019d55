"""Figures, drawn in the browser by the plotly that gradio brings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gradio.components.plot import PlotData

ACCENT, BAND, GREY = "#3b87ad", "rgba(59,135,173,0.22)", "#808080"
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross", "hexagon")
# After Okabe and Ito, for people who see few colours, and readable on white and on black.
COLOURS = ("#3b87ad", "#d1780f", "#2a9d76", "#c4568f", "#8f7d1b", "#7a6fd0", "#b5482f", "#5f7f8f")


def sweep_chart(name: str, levels: Sequence[tuple[float, dict[str, Any]]]) -> PlotData:
    """Return the index against the level of a corruption, with interval and noise floor.

    Args:
        name: of the corruption.
        levels: (level, index as in a report), in order.
    """
    x = [level for level, _ in levels]
    low, high = ([s["interval"][i] for _, s in levels] for i in (0, 1))
    band = {
        "x": [*x, *x[::-1]],
        "y": [*high, *low[::-1]],
        "fill": "toself",
        "fillcolor": BAND,
        "mode": "lines",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "name": "95 % interval",
    }
    curve = {
        "x": x,
        "y": [s["value"] for _, s in levels],
        "mode": "lines+markers",
        "line": {"color": ACCENT, "width": 2},
        "name": "index",
    }
    floor = {
        "x": x,
        "y": [s["noise_floor"] for _, s in levels],
        "mode": "lines",
        "line": {"color": GREY, "dash": "dot", "width": 2},
        "name": "noise floor",
    }
    axes = {
        "xaxis": _axis(f"level of {name}"),
        "yaxis": _axis("RESQUE index") | {"rangemode": "tozero"},
    }
    return _figure([band, curve, floor], axes)


def map_chart(points: Sequence[Sequence[float]], labels: Sequence[str], title: str) -> PlotData:
    """Return a map of representations in two dimensions, coloured by class.

    Args:
        points: (N, 2).
        labels: (N,) classes.
        title: of the figure.
    """
    traces = []
    for i, label in enumerate(sorted(set(labels))):
        rows = [p for p, other in zip(points, labels, strict=True) if other == label]
        marker = {
            "color": COLOURS[i % len(COLOURS)],
            "symbol": MARKERS[i % len(MARKERS)],
            "size": 7,
            "opacity": 0.8,
        }
        x, y = [p[0] for p in rows], [p[1] for p in rows]
        traces.append({"x": x, "y": y, "mode": "markers", "name": label, "marker": marker})
    bare = _axis("") | {"showticklabels": False}
    heading = {"text": title, "font": {"size": 14}}
    return _figure(traces, {"xaxis": bare, "yaxis": bare, "title": heading})


def _axis(title: str) -> dict[str, Any]:
    return {
        "title": {"text": title},
        "fixedrange": True,
        "gridcolor": "rgba(128,128,128,0.25)",
        "zerolinecolor": "rgba(128,128,128,0.5)",
    }


def _figure(traces: list[dict[str, Any]], layout: dict[str, Any]) -> PlotData:
    """Return a figure for light and dark pages: no paper, quiet lines, one legend above.

    It is a picture: a pointer can do no more with it than the keyboard, and pages scroll over it.

    As data and not as plotly's own object: only so does its configuration come along.
    """
    plain = {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "color": GREY, "size": 13},
        "margin": {"l": 56, "r": 12, "t": 64, "b": 48},
        "height": 360,
        "showlegend": True,
        "legend": {
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 0,
            "itemclick": False,
            "itemdoubleclick": False,
        },
        "dragmode": False,
    }
    data = [{"type": "scatter", **trace} for trace in traces]
    config = {"displayModeBar": False, "responsive": True}
    figure = {"data": data, "layout": plain | layout, "config": config}
    return PlotData(type="plotly", plot=json.dumps(figure))
