"""The figure of a card: the index of each shift, and the epochs of retraining beside it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from resque.card_facts import MEASURED, Fact
from resque.card_markdown import shift_name
from resque.figure_style import COLOURS, axes_of, style
from resque.public_text import clean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_ROWS = 40
NAME_LENGTH = 44  # characters of a name


def card_figure(facts: Sequence[Fact]) -> bytes | None:
    """Draw a card's indices and costs as a PNG; None without indices.

    Raises:
        ImportError: without matplotlib.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'resque[plots]'") from None
    indices = [fact for fact in facts if fact.is_index][:MAX_ROWS]
    if not indices:
        return None
    file = BytesIO()
    costs = [fact for fact in facts if not fact.is_index]
    with rc_context(rc=style("light")), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # 日 is drawn as a box
        _plot(indices, costs).savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()


def _plot(indices: Sequence[Fact], costs: Sequence[Fact]) -> Figure:
    shown = {fact.shift for fact in indices}
    costs = [c for c in costs if c.shift in shown and isinstance(c.value, int | float)]
    panels = 2 if costs else 1
    figure, all_axes = axes_of(panels, 3 + 3.6 * panels, 1.4 + 0.36 * len(indices), sharey=True)
    _draw_indices(all_axes[0], indices)
    if costs:
        _draw_costs(all_axes[1], indices, costs)
    all_axes[0].set_ylim(len(indices) - 0.5, -0.5)
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    return figure


def _draw_indices(axes: Any, indices: Sequence[Fact]) -> None:
    colour = COLOURS["light"][0]
    known = {"label": "index, 95 % interval"}
    floor = {"label": "noise floor"}
    for y, fact in enumerate(indices):
        axes.plot(fact.args.get("interval", (fact.value,) * 2), [y, y], color=colour,
                  linewidth=5, alpha=0.35)  # fmt: skip
        axes.plot(fact.value, y, "o", color=colour, **known)
        known = {}
        if "noise_floor" in fact.args:
            axes.plot(fact.args["noise_floor"], y, "|", color="black", markersize=12, **floor)
            floor = {}
    layers = Counter(fact.shift for fact in indices)
    axes.set_yticks(range(len(indices)), [_name(f, layers[f.shift] > 1) for f in indices])
    axes.set_xlim(left=0)
    metrics = dict.fromkeys(f.metric.replace("resque", "RESQUE") for f in indices)
    axes.set_xlabel(" / ".join(metrics))


def _name(fact: Fact, several: bool) -> str:
    name = clean(shift_name(fact), NAME_LENGTH)
    return f"{name}\n{clean(fact.args.get('layer', ''), NAME_LENGTH)}" if several else name


def _draw_costs(axes: Any, indices: Sequence[Fact], costs: Sequence[Fact]) -> None:
    rows: dict[Any, int] = {}
    for y, fact in enumerate(indices):
        rows.setdefault(fact.shift, y)
    places: Counter[Any] = Counter()
    several = Counter(cost.shift for cost in costs)
    told: set[str] = set()
    for cost in costs:
        kind = str(cost.args.get("kind"))
        measured = kind == MEASURED
        colour = COLOURS["light"][1 if measured else 2]
        middle = (min(several[cost.shift], 4) - 1) / 2
        at = rows[cost.shift] + 0.2 * (places[cost.shift] % 4 - middle)
        places[cost.shift] += 1
        label = {} if kind in told else {"label": f"epochs, {kind}"}
        told.add(kind)
        ends = cost.args.get("interval", (cost.value,) * 2)
        axes.plot(ends, [at, at], color=colour, alpha=0.5)
        axes.plot(cost.value, at, "s" if measured else "D", color=colour, markersize=5, **label)
    axes.set_xlim(left=0)
    axes.set_xlabel("epochs of retraining")
