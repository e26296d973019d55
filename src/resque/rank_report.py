"""A ranking as a table, sentences, and a figure of score against cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from resque.figure_style import COLOURS, axes_of, short, style
from resque.rank_results import NO_FORECAST, RankedModel, Ranking
from resque.rank_scores import MEAN_RANK, SCORES, T975, deviation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRONT = "◆"
SIZES = ("weights", "rows/s", "MB")
COSTS = ("epochs", "Wh", "g CO2eq", "price")


def render(ranking: Ranking) -> list[Any]:
    """Return a ranking as `rich` renderables."""
    from rich.markup import escape

    forecast = any(x.observation and x.observation.forecast for x in ranking.candidates)
    shown = [name for name in SCORES if any(name in x.scores for x in ranking.candidates)]
    shown = [name for name in shown if name != MEAN_RANK or name == ranking.sort_by]
    shown.sort(key=lambda name: name != ranking.sort_by)
    scores = {
        name: [_score(x, name, name == ranking.sort_by) for x in ranking.candidates]
        for name in shown
    }
    sizes = _columns(SIZES, map(_sizes, ranking.candidates))
    title = f"Models on {ranking.dataset}, the best {ranking.sort_by} first"
    tables = [_table(ranking, title, scores if forecast else scores | sizes)]
    if forecast:
        costs = _columns(COSTS, map(_costs, ranking.candidates))
        tables.append(_table(ranking, "What they cost; of retraining, with 90 % intervals",
                             sizes | costs))  # fmt: skip
    lines = [
        f"= within the error of one another; {FRONT} on the Pareto front of {ranking.sort_by} and "
        f"cost ({ranking.cost_name})"
    ]
    return [*tables, *map(escape, [*lines, *ranking.sentences(), *_notes(ranking)])]


def _columns(names: Sequence[str], rows: Iterable[list[str]]) -> dict[str, list[str]]:
    return {name: list(x) for name, x in zip(names, zip(*rows, strict=True), strict=True)}


def _table(ranking: Ranking, title: str, columns: Mapping[str, Sequence[str]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title))
    table.add_column("")
    table.add_column("model", overflow="fold", min_width=12)
    for name in columns:
        table.add_column(name.replace("_", "\n"), justify="right")
    ranks = dict(zip(map(id, ranking.done), ranking.ranks, strict=True))
    for i, x in enumerate(ranking.candidates):
        rank = ranks.get(id(x))
        same = "=" if rank is not None and ranking.ranks.count(rank) > 1 else ""
        mark = f"{'–' if rank is None else rank}{same} {FRONT if x in ranking.front else ''}"
        cells = [column[i] for column in columns.values()]
        table.add_row(mark, escape(ranking.labels[x.model]), *cells)
    return table


def _notes(ranking: Ranking) -> list[str]:
    """Return what is to be known of each model's numbers, a line each."""
    found = []
    for x in ranking.candidates:
        seen = x.observation
        if seen is not None and x.layer is not None:
            layered = x.layer.name != seen.layers[0].name or len(seen.layers) > 1
            said = [f"layer {x.layer.name}"] if layered else []
            told = ("resque_task", NO_FORECAST)
            said += [note for note in seen.notes if note.startswith(told)]
            if x is ranking.recommended and seen.forecast:
                said += seen.forecast["outside"]
                said.append(f"forecast learnt from {', '.join(seen.forecast['ledgers'])}")
            found += [f"{ranking.labels[x.model]}: {note}" for note in said]
    return list(dict.fromkeys(found))


def _score(x: RankedModel, name: str, with_error: bool) -> str:
    found = x.scores.get(name)
    if found is None:
        return "–"
    half = T975 * deviation(found.replicates) if found.replicates and with_error else None
    return f"{found.value:.3f}" + ("" if half is None else f" ±{half:.2g}")


def _sizes(x: RankedModel) -> list[str]:
    seen = x.observation
    if seen is None:
        return ["–"] * len(SIZES)
    speed = f"{seen.samples / seen.seconds:,.0f}" if seen.seconds else "–"
    unit, by = ("M", 1e6) if seen.parameters >= 1e5 else ("k", 1e3)
    return [f"{seen.parameters / by:,.1f}{unit}", speed, f"{seen.peak_memory_mb:,.0f}"]


def _costs(x: RankedModel) -> list[str]:
    found = x.observation.forecast if x.observation else None
    if found is None:
        return ["–"] * len(COSTS)
    pairs = (("epochs", 1), ("energy_kwh", 1000), ("co2eq_kg", 1000), ("price", 1))
    return ["–" if found[x] is None else _predicted(found[x], by) for x, by in pairs]


def _predicted(found: dict[str, Any], factor: float) -> str:
    value, low, high = (f"{factor * x:.2g}" for x in (found["value"], *found["interval"]))
    return f"{value} [{low}, {high}]"


def plot(ranking: Ranking, ground: str = "light") -> Figure:
    """Draw score against cost, a mark for each model, with the Pareto front as a line."""
    from matplotlib import rc_context

    with rc_context(style(ground)):
        figure, (axes,) = axes_of(1, 7, 4.6)
        front, other = COLOURS[ground][0], COLOURS[ground][-1]
        costs = [x.cost or 0.0 for x in ranking.done]
        unit, by = ranking.unit(max(costs, default=0.0))
        middle = by * (max(costs, default=0.0) + min(costs, default=0.0)) / 2
        for x in ranking.done:
            cost = by * (x.cost or 0.0)
            found = x.scores[ranking.sort_by]
            half = T975 * deviation(found.replicates) if found.replicates else 0.0
            colour = front if x in ranking.front else other
            axes.errorbar(
                cost, found.value, half, color=colour, marker="o", capsize=2, linestyle=""
            )
            left = cost > middle
            axes.annotate(
                short(ranking.labels[x.model]), (cost, found.value), (-5 if left else 5, 5),
                textcoords="offset points", fontsize=8, ha="right" if left else "left",
            )  # fmt: skip
        points = [(by * (x.cost or 0.0), x.scores[ranking.sort_by].value) for x in ranking.front]
        if points:
            axes.plot(*zip(*points, strict=True), color=front, linewidth=1, label="Pareto front")
            axes.legend(loc="best", fontsize="small")
        if costs and max(costs) > 30 * min(costs) > 0:
            axes.set_xscale("log")
        axes.margins(x=0.2, y=0.15)
        axes.set_xlabel(f"{ranking.cost_name}, {unit}")
        axes.set_ylabel(f"{ranking.sort_by}: {SCORES[ranking.sort_by].what}", fontsize=9)
        if not SCORES[ranking.sort_by].greater_is_better:
            axes.invert_yaxis()
    return figure
