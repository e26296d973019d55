"""The figure of the tab "Does it hold?": cost against a predictor, a mark for each retraining.

Families differ by colour and by shape. The colours have a contrast of 3 or more on light and on
dark ground; text and lines take theirs from studies.css.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from studies_data import Run, Studies, amount, censored

COLOURS = ("#2b7bba", "#cf5c1b", "#12876a", "#b8509a", "#9a7400", "#7a68d8", "#6f7680")
# Plotly's names, and the same shapes as CSS's clip-path, for the switches of families.
SHAPES = {
    "circle": "circle(50%)",
    "square": "inset(7%)",
    "diamond": "polygon(50% 0, 100% 50%, 50% 100%, 0 50%)",
    "triangle-up": "polygon(50% 5%, 100% 95%, 0 95%)",
    "triangle-down": "polygon(50% 95%, 100% 5%, 0 5%)",
    "cross": "polygon(33% 0, 67% 0, 67% 33%, 100% 33%, 100% 67%, 67% 67%, 67% 100%, 33% 100%, "
    "33% 67%, 0 67%, 0 33%, 33% 33%)",
    "x": "polygon(22% 0, 50% 28%, 78% 0, 100% 22%, 72% 50%, 100% 78%, 78% 100%, 50% 72%, "
    "22% 100%, 0 78%, 28% 50%, 0 22%)",
    "pentagon": "polygon(50% 0, 100% 38%, 82% 100%, 18% 100%, 0 38%)",
    "star": "polygon(50% 0, 62% 36%, 100% 36%, 69% 58%, 81% 95%, 50% 72%, 19% 95%, 31% 58%, "
    "0 36%, 38% 36%)",
    "hexagon2": "polygon(25% 5%, 75% 5%, 100% 50%, 75% 95%, 25% 95%, 0 50%)",
    "hourglass": "polygon(0 0, 100% 0, 60% 50%, 100% 100%, 0 100%, 40% 50%)",
}
TICKS = 6  # of the cost's axis, about
RING = "#888888"
FONT = {"family": "system-ui, sans-serif", "size": 13}
MARK, SMALL_MARK = 10, 8  # pixels
CROWD = 200  # marks: more are drawn smaller


def look(studies: Studies, family: str) -> tuple[str, str]:
    """Return the colour and the shape of a family, the same in every study."""
    i = list(studies.families).index(family)
    return COLOURS[i % len(COLOURS)], list(SHAPES)[i % len(SHAPES)]


def scatter(
    studies: Studies, runs: Sequence[Run], measure: str, predictor: str, chosen: str | None
) -> dict[str, Any]:
    """Return plotly's figure with its configuration.

    Args:
        studies: the runs are from.
        runs: that have both.
        measure: of cost, upwards, on a square-root scale that spreads small costs.
        predictor: to the right.
        chosen: the run that gets a ring, or None.
    """
    size = MARK if len(runs) <= CROWD else SMALL_MARK
    traces = [
        _marks(studies, family, own, measure, predictor, size)
        for family in studies.families
        if (own := [run for run in runs if run["family"] == family])
    ]
    ringed = [run for run in runs if run["run"] == chosen]
    return {
        "data": [*traces, *(_ring(run, measure, predictor) for run in ringed)],
        "layout": _layout(studies, runs, measure, predictor),
        "config": {"displayModeBar": False, "scrollZoom": False, "doubleClick": False},
    }


def _marks(
    studies: Studies, family: str, runs: Sequence[Run], measure: str, predictor: str, size: int
) -> dict[str, Any]:
    colour, shape = look(studies, family)
    missed = [censored(studies, run, measure) for run in runs]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": family,
        "x": [run[predictor] for run in runs],
        "y": [math.sqrt(run[measure]) for run in runs],
        "marker": {
            "color": colour,
            "symbol": [f"{shape}-open" if x else shape for x in missed],
            "size": size,
            "opacity": 0.85,
            "line": {"width": [1.8 if x else 0 for x in missed]},
        },
        "customdata": [run["run"] for run in runs],
        "text": [_hover(studies, run, measure, predictor) for run in runs],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _ring(run: Run, measure: str, predictor: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [run[predictor]],
        "y": [math.sqrt(run[measure])],
        "marker": {"color": RING, "symbol": "circle-open", "size": 20, "line": {"width": 2.5}},
        "hoverinfo": "skip",
    }


def _hover(studies: Studies, run: Run, measure: str, predictor: str) -> str:
    kind = studies.predictors[predictor]
    level = studies.families[run["family"]]
    lines = [
        f"<b>{escape(run['shift'])}</b>" + (f" ({escape(level)})" if level else ""),
        escape(f"{run['model']}, seed {run['seed']}, {STRATEGIES.get(run['strategy'], '')}"),
        f"{escape(kind['name'])}: {amount(run[predictor])}",
        escape(cost_text(studies, run, measure)),
        f"accuracy {run['accuracy_before']:.3f} before, {run['accuracy_best']:.3f} at best",
        *(f"{cost_text(studies, run, x)}" for x in ("epochs", "energy_wh") if x != measure),
        f"run {escape(run['run'])}",
    ]
    return "<br>".join(lines)


STRATEGIES = {
    "full": "all weights retrained",
    "head": "only the head retrained",
    "lora": "LoRA",
    "scratch": "trained from scratch",
}


def cost_text(studies: Studies, run: Run, measure: str) -> str:
    """Return a run's cost in words; see `cost_parts`."""
    return ": ".join(cost_parts(studies, run, measure))


def cost_parts(studies: Studies, run: Run, measure: str) -> tuple[str, str]:
    """Return what a cost is, and its value, unit, how it is known, and whether it is a bound."""
    kind = studies.measures[measure]
    if run[measure] is None:
        return kind["name"], "not measured"
    missed = censored(studies, run, measure)
    notes = [run["energy"]] if measure in ("energy_wh", "co2eq_g") else []
    notes += ["target not reached"] if missed else []
    value = f"{'more than ' if missed else ''}{amount(run[measure])} {kind['unit']}".rstrip()
    return kind["name"], value + (f" ({', '.join(notes)})" if notes else "")


def axis_title(studies: Studies, runs: Iterable[Run], measure: str) -> str:
    """Return a measure with its unit, and how it is known where that is an estimate."""
    kind = studies.measures[measure]
    known = {run["energy"] for run in runs} if measure in ("energy_wh", "co2eq_g") else set()
    notes = [kind["unit"]] if kind["unit"] not in kind["name"].casefold() else []
    notes += sorted(known)
    return f"{kind['name']} ({', '.join(notes)})" if notes else str(kind["name"])


def _layout(studies: Studies, runs: Sequence[Run], measure: str, predictor: str) -> dict[str, Any]:
    roots = [math.sqrt(run[measure]) for run in runs] or [0.0, 1.0]
    low, high = min(roots), max(roots)
    pad = 0.06 * (high - low) or 0.5
    ticks = [x for x in root_ticks(high**2) if math.sqrt(x) >= low - pad]
    axis = {"fixedrange": True, "zeroline": False, "ticks": "outside", "automargin": True}
    return {
        "height": 440,
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": FONT,
        "showlegend": False,
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "font": FONT},
        "dragmode": False,
        "xaxis": {**axis, "title": {"text": escape(studies.predictors[predictor]["name"])}},
        "yaxis": {
            **axis,
            "title": {"text": escape(axis_title(studies, runs, measure))},
            "tickvals": [math.sqrt(x) for x in ticks],
            "ticktext": [amount(x) for x in ticks],
            "range": [low - pad, high + pad],
        },
    }


def root_ticks(highest: float) -> list[float]:
    """Return round numbers from 0 up that stand well apart where roots are drawn.

    >>> root_ticks(1.5)
    [0.0, 0.1, 0.3, 0.6, 1.0, 1.5]
    """
    if highest <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(highest))
    known = [x * power / 10**k for k in range(4) for x in (8, 6, 5, 4, 3, 2, 1.5, 1)]
    found: list[float] = []
    for x in (x for x in known if x <= highest):
        gap = math.sqrt(found[-1] if found else 4 * highest) - math.sqrt(x)
        if gap >= math.sqrt(highest) / TICKS and math.sqrt(x) >= math.sqrt(highest) / TICKS:
            found.append(float(f"{x:.6g}"))
    return [0.0, *reversed(found)]
