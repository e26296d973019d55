"""The figure of a study that shows cost against index, a mark for each cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resque.figure_style import axes_of, family_legend, legend_columns, look
from resque.ledger import Entry, Ledger
from resque.outcomes import MEASURES
from resque.predictors import PREDICTORS
from resque.study_analysis import Analysis, observe, values, with_cost
from resque.study_words import energy_kind
from resque.units import ENERGY, fitting_unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COSTS = ("epochs", "energy_kwh")  # panels
NOT_REACHED = "↑ target not reached"
LOG_FROM = 30  # costs that differ by this factor are drawn on a logarithmic axis


@dataclass(frozen=True)
class Point:
    """The seeds of one cell.

    Attributes:
        family: kind of shift.
        index: mean over the seeds.
        index_range: mean ends of the index's 95 % intervals; the index twice where there is none.
        cost: mean over the seeds.
        cost_range: least and greatest cost of the seeds.
        censored: whether a seed did not reach its target, so that the cost is greater.
    """

    family: str
    index: float
    index_range: tuple[float, float]
    cost: float
    cost_range: tuple[float, float]
    censored: bool


def plot_costs(ledger: Ledger, analysis: Analysis, ground: str) -> Figure:
    """Draw the cost against the index, a mark for each cell, its seeds together."""
    measures = list(dict.fromkeys((analysis.main, *(m for m in COSTS if m in analysis.measures))))
    families = sorted({entry.cell.family for entry in ledger.done})
    columns, width = legend_columns([*families, NOT_REACHED])
    figure, all_axes = axes_of(len(measures), width + 4.0 * len(measures), 4.4)
    styles = {name: look(i, ground) for i, name in enumerate(families)}
    for axes, measure in zip(all_axes, measures, strict=True):
        points = list(points_of(ledger.done, analysis.ours or "", measure))
        unit, factor = _unit(measure, [point.cost for point in points])
        for point in points:
            _draw_point(axes, _times(point, factor), *styles[point.family])
        known = [point.cost for point in points]
        if known and 0 < LOG_FROM * min(known) < max(known):
            _make_logarithmic(axes)
        axes.margins(y=0.1)
        axes.set_xlabel(PREDICTORS[analysis.ours or ""].what)
        axes.set_ylabel(_axis(ledger, measure, unit))
    family_legend(figure, styles, NOT_REACHED if analysis.part().censored else None, columns)
    return figure


def _make_logarithmic(axes: Any) -> None:
    from matplotlib.ticker import NullFormatter, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _unit(measure: str, costs: Sequence[float]) -> tuple[str, float]:
    """Return the unit to draw a measure in, and what to multiply its values with."""
    if measure != "energy_kwh" or not costs:
        return MEASURES[measure].unit, 1.0
    return fitting_unit(max(costs), ENERGY)


def _times(point: Point, factor: float) -> Point:
    low, high = point.cost_range
    return replace(point, cost=point.cost * factor, cost_range=(low * factor, high * factor))


def points_of(entries: Sequence[Entry], predictor: str, measure: str) -> Iterator[Point]:
    """Yield the cells that have both, the seeds of each together."""
    known = with_cost(entries, measure)
    x, y = values(known, predictor), observe(known, measure)
    cells: dict[str, list[int]] = {}
    for i, entry in enumerate(known):
        if np.isfinite(x[i]):
            cells.setdefault(entry.cell.setting, []).append(i)
    for seeds in cells.values():
        ends = np.mean([_interval(known[i], float(x[i])) for i in seeds], axis=0)
        costs = y.cost[seeds]
        yield Point(
            known[seeds[0]].cell.family,
            float(x[seeds].mean()),
            (float(ends[0]), float(ends[1])),
            float(costs.mean()),
            (float(costs.min()), float(costs.max())),
            bool(y.censored[seeds].any()),
        )


def _interval(entry: Entry, value: float) -> tuple[float, float]:
    """Return the interval of RESQUE_dist at the classifier's input; of others there is none."""
    found = (i.interval for i in entry.indices if i.labels == "data" and i.value == value)
    return next(found, None) or (value, value)


def _draw_point(axes: Any, point: Point, colour: str, marker: str) -> None:
    bars = {"color": colour, "linewidth": 1, "alpha": 0.55, "zorder": 2}
    axes.plot(point.index_range, [point.cost] * 2, **bars)
    axes.plot([point.index] * 2, point.cost_range, **bars)
    face = "none" if point.censored else colour
    axes.plot(point.index, point.cost, marker, color=colour, mfc=face, markersize=7, zorder=3)
    if point.censored:
        axes.annotate(
            "", (point.index, point.cost), (0, 16), textcoords="offset points",
            arrowprops={"arrowstyle": "<-", "color": colour, "shrinkA": 0, "shrinkB": 4},
        )  # fmt: skip


def _axis(ledger: Ledger, measure: str, unit: str) -> str:
    what = MEASURES[measure].what
    how = energy_kind(entry.record for entry in ledger.done if entry.record)
    notes = [unit] if unit and unit not in what else []
    notes += [how] if measure in ("energy_kwh", "co2eq_kg") else []
    return f"{what} ({', '.join(notes)})" if notes else what
