"""A ranking as a table, sentences, and a figure of score against cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resque.figure_style import COLOURS, axes_of, short, style
from resque.rank_results import RankedModel, Ranking
from resque.rank_scores import SCORES, T975, deviation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FRONT = "◆"


def render(ranking: Ranking) -> list[Any]:
    """Return a ranking as `rich` renderables."""
    from rich.markup import escape
    from rich.table import Table

    shown = [name for name in SCORES if any(name in x.scores for x in ranking.candidates)]
    shown.sort(key=lambda name: name != ranking.sort_by)
    forecast = any(x.observation and x.observation.forecast for x in ranking.candidates)
    table = Table(title=f"Models on {escape(ranking.dataset)}, the best {ranking.sort_by} first")
    table.add_column("")
    table.add_column("model", overflow="fold", min_width=12)
    costs = ("epochs", "Wh", "g CO2eq") if forecast else ()
    for name in (*(x.replace("_", "\n") for x in shown), "weights", "rows/s", "MB", *costs):
        table.add_column(name, justify="right")
    ranks = dict(zip(map(id, ranking.done), ranking.ranks, strict=True))
    for x in ranking.candidates:
        rank = ranks.get(id(x))
        same = "=" if rank is not None and ranking.ranks.count(rank) > 1 else ""
        mark = FRONT if x in ranking.front else ""
        cells = (
            [_score(x, name, name == ranking.sort_by) for name in shown]
            + _sizes(x)
            + (_costs(x) if forecast else [])
        )
        table.add_row(
            f"{'–' if rank is None else rank}{same} {mark}", escape(ranking.labels[x.model]), *cells
        )
    legend = f"= within the error of one another; {FRONT} on the Pareto front of "
    lines = [f"{legend}{ranking.sort_by} and cost ({ranking.cost_name})"]
    notes = dict.fromkeys(
        f"{ranking.labels[x.model]}: {note}"
        for x in ranking.candidates
        for note in (x.observation.notes if x.observation else ())
        if note.startswith("resque_task")
    )
    return [table, *map(escape, [*lines, *ranking.sentences(), *notes])]


def _score(x: RankedModel, name: str, with_error: bool) -> str:
    found = x.scores.get(name)
    if found is None:
        return "–"
    half = T975 * deviation(found.replicates) if found.replicates and with_error else None
    return f"{found.value:.3f}" + ("" if half is None else f" ±{half:.2g}")


def _sizes(x: RankedModel) -> list[str]:
    seen = x.observation
    if seen is None:
        return ["–"] * 3
    speed = f"{seen.samples / seen.seconds:,.0f}" if seen.seconds else "–"
    return [f"{seen.parameters / 1e6:,.1f}M", speed, f"{seen.peak_memory_mb:,.0f}"]


def _costs(x: RankedModel) -> list[str]:
    found = x.observation.forecast if x.observation else None
    if found is None:
        return ["–"] * 3
    pairs = (("epochs", 1), ("energy_kwh", 1000), ("co2eq_kg", 1000))
    return [_predicted(found[name], factor) for name, factor in pairs]


def _predicted(found: dict[str, Any], factor: float) -> str:
    value, low, high = (f"{factor * x:.2g}" for x in (found["value"], *found["interval"]))
    return f"{value} [{low}, {high}]"


def plot(ranking: Ranking, ground: str = "light") -> Figure:
    """Draw score against cost, a mark for each model, with the Pareto front as a line."""
    from matplotlib import rc_context

    with rc_context(style(ground)):
        figure, (axes,) = axes_of(1, 7, 4.6)
        front, other = COLOURS[ground][0], COLOURS[ground][-1]
        for x in ranking.done:
            found = x.scores[ranking.sort_by]
            half = T975 * deviation(found.replicates) if found.replicates else 0.0
            colour = front if x in ranking.front else other
            axes.errorbar(
                x.cost, found.value, half, color=colour, marker="o", capsize=2, linestyle=""
            )
            axes.annotate(
                short(ranking.labels[x.model]), (x.cost, found.value), (5, 5),
                textcoords="offset points", fontsize=8,
            )  # fmt: skip
        points = [(x.cost, x.scores[ranking.sort_by].value) for x in ranking.front]
        if points:
            axes.plot(*zip(*points, strict=True), color=front, linewidth=1, label="Pareto front")
            axes.legend(loc="best", fontsize="small")
        costs = [x.cost for x in ranking.done if x.cost]
        if costs and max(costs) > 30 * min(costs):
            axes.set_xscale("log")
        axes.margins(x=0.2, y=0.15)
        axes.set_xlabel(ranking.cost_name)
        axes.set_ylabel(f"{ranking.sort_by}: {SCORES[ranking.sort_by].what}", fontsize=9)
        if not SCORES[ranking.sort_by].greater_is_better:
            axes.invert_yaxis()
    return figure
