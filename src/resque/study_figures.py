"""The figures of a study: cost against index, predictors, layer by layer, calibration.

Families and models differ by colour and by marker shape, RESQUE and rivals by filled and hollow
markers, so that nothing is told by colour alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resque.calibration_figure import describe, learn, plot_calibration
from resque.cost_figure import plot_costs
from resque.figure_style import COLOURS, GROUND, LINES, axes_of, legend_columns, look, short, style
from resque.ledger import Ledger
from resque.plots import save
from resque.predictors import PREDICTORS
from resque.study_analysis import Analysis, LayerPart
from resque.study_words import energy_kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = ("epochs", "grad_norm", "param_change", "energy_kwh")  # panels of the forest


@dataclass(frozen=True)
class Drawing:
    """A figure on light and on dark ground.

    Attributes:
        name: of its files.
        caption: one sentence.
        light: file.
        dark: file.
    """

    name: str
    caption: str
    light: Path
    dark: Path


def draw_figures(ledger: Ledger, analysis: Analysis, folder: Path) -> list[Drawing]:
    """Draw every figure that the ledger has data for.

    Args:
        ledger: of a study.
        analysis: of the same ledger.
        folder: gets a light and a dark PNG of each.

    Raises:
        ImportError: without matplotlib.
        ResqueError: where the folder cannot be written.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'resque[study]'") from None
    figures: list[tuple[str, str, Any]] = []
    if analysis.ours:
        figures.append(("cost", _cost_caption(analysis), plot_costs))
    figures.append(("predictors", _forest_caption(analysis), plot_predictors))
    if _layer_kinds(analysis):
        figures.append(("layers", _layer_caption(analysis), plot_layers))
    if forecasters := learn(ledger):
        plot = lambda _, __, ground: plot_calibration(forecasters, ground)  # noqa: E731
        figures.append(("calibration", describe(forecasters), plot))
    drawings = []
    for name, caption, plot in figures:
        files = {}
        for ground in GROUND:
            with rc_context(rc=style(ground)):
                figure = plot(ledger, analysis, ground)
                files[ground] = save(figure, folder / f"{name}_{ground}.png")
        drawings.append(Drawing(name, caption, files["light"], files["dark"]))
    return drawings


def plot_predictors(ledger: Ledger, analysis: Analysis, ground: str) -> Figure:
    """Draw Spearman's ρ of each predictor with its interval, beside the seeds' ceiling."""
    measures = [m for m in SHOWN if m in analysis.measures] or [analysis.main]
    names = _forest_names(analysis)
    height = 1.6 + 0.27 * (len(names) + 2)
    figure, all_axes = axes_of(len(measures), 2.6 + 2.35 * len(measures), height, sharey=True)
    places = _places(names)
    for axes, measure in zip(all_axes, measures, strict=True):
        _draw_forest(axes, analysis, measure, places, ground)
        axes.set_xlabel("Spearman's ρ")
        axes.set_title(_title(ledger, measure), fontsize=10)
    all_axes[0].set_yticks(list(places.values()), list(places))
    all_axes[0].set_ylim(max(places.values()) + 0.7, min(places.values()) - 1.4)
    _name_blocks(all_axes[0], places)
    _forest_legend(figure, analysis, ground)
    return figure


def _name_blocks(axes: Any, places: dict[str, float]) -> None:
    """Write above each block of predictors whether they need labels."""
    for labelled, text in ((True, "need labels"), (False, "need no labels")):
        block = [y for name, y in places.items() if PREDICTORS[name].needs_labels == labelled]
        if block:
            where = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "center"}
            axes.text(-0.06, min(block) - 0.9, text, style="italic", fontsize=9, **where)


def _forest_legend(figure: Figure, analysis: Analysis, ground: str) -> None:
    from matplotlib.lines import Line2D

    rival, resque = COLOURS[ground][:2]
    handles = [
        Line2D([], [], color=resque, marker="D", label="RESQUE"),
        Line2D([], [], color=rival, marker="o", mfc=GROUND[ground][0], label="rival"),
    ]
    if analysis.part().ceiling.spearman:
        ink = GROUND[ground][1]
        handles.append(Line2D([], [], color=ink, linestyle="--", label="ceiling: other seeds"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3)


def _forest_names(analysis: Analysis) -> list[str]:
    """Return the predictors, RESQUE first and then by ρ, those with labels before the others."""
    part = analysis.part()

    def order(name: str) -> tuple[bool, bool, float]:
        rho, kind = part.rho(name), PREDICTORS[name]
        return not kind.needs_labels, not kind.is_resque, -(rho.value if rho else -2)

    return sorted(analysis.predictors, key=order)


def _places(names: Sequence[str]) -> dict[str, float]:
    """Return the height of each name, with a gap between those with labels and the others."""
    return {name: i + 1.3 * (not PREDICTORS[name].needs_labels) for i, name in enumerate(names)}


def _draw_forest(
    axes: Any, analysis: Analysis, measure: str, places: dict[str, float], ground: str
) -> None:
    from matplotlib.ticker import MultipleLocator

    part = analysis.part(measure=measure)
    rival, resque = COLOURS[ground][:2]
    for name, place in places.items():
        rho = part.rho(name)
        if rho is None:
            axes.text(0, place, "undefined", fontsize=8, style="italic", va="center", ha="center")
            continue
        ours = PREDICTORS[name].is_resque
        colour = resque if ours else rival
        if rho.interval:
            axes.plot(rho.interval, [place] * 2, color=colour, linewidth=1.6)
        face = colour if ours else GROUND[ground][0]
        axes.plot(rho.value, place, "D" if ours else "o", color=colour, mfc=face, markersize=6)
    axes.axvline(0, color=GROUND[ground][1], linewidth=0.8)
    if ceiling := part.ceiling.spearman:
        axes.axvline(ceiling.value, color=GROUND[ground][1], linestyle="--", linewidth=1)
    axes.set_xlim(min(-0.1, axes.get_xlim()[0]), 1.07)
    axes.xaxis.set_major_locator(MultipleLocator(0.5))
    axes.xaxis.set_minor_locator(MultipleLocator(0.1))
    axes.grid(which="minor", axis="x", alpha=0.5)


def _title(ledger: Ledger, measure: str) -> str:
    how = energy_kind(entry.record for entry in ledger.done if entry.record)
    return f"{measure} ({how})" if measure == "energy_kwh" else measure


def plot_layers(ledger: Ledger, analysis: Analysis, ground: str) -> Figure:
    """Draw Spearman's ρ of RESQUE_dist by depth, a line for each model."""
    from matplotlib.lines import Line2D

    kinds = _layer_kinds(analysis)
    models = list(dict.fromkeys(x.model for x in analysis.layers))
    columns, width = legend_columns(models)
    figure, all_axes = axes_of(len(kinds), width + 0.3 + 3.6 * len(kinds), 3.8, sharey=True)
    for axes, kind in zip(all_axes, kinds, strict=True):
        for i, model in enumerate(models):
            _draw_layers(axes, _layers_of(analysis, kind, model), i, len(models), ground)
        axes.set(xlabel="depth (1: the classifier's input)", title=f"labels: {kind}")
        axes.set_xlim(-0.06, 1.06)
    all_axes[0].set(ylabel=f"Spearman's ρ with {analysis.main}", ylim=(None, 1.05))
    handles = [
        Line2D([], [], color=colour, marker=marker, ls=LINES[i % len(LINES)],
               label=short(model))
        for i, model in enumerate(models)
        for colour, marker in [look(i, ground)]
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside right upper", title="model", ncols=columns)
    return figure


def _draw_layers(axes: Any, layers: Sequence[LayerPart], i: int, models: int, ground: str) -> None:
    """Draw one model's line, a little beside those of the others so that intervals stay apart."""
    colour, marker = look(i, ground)
    shift = 0.015 * (i - (models - 1) / 2)
    depths, rhos = [], []
    for layer in layers:
        rho = layer.correlation.spearman
        if rho is None:
            continue
        depths.append(layer.depth + shift)
        rhos.append(rho.value)
        if rho.interval:
            axes.plot([depths[-1]] * 2, rho.interval, color=colour, linewidth=1.2, alpha=0.7)
    axes.plot(depths, rhos, LINES[i % len(LINES)], color=colour, marker=marker, markersize=7)


def _layers_of(analysis: Analysis, kind: str, model: str) -> list[LayerPart]:
    wanted = (model, kind, analysis.main)
    return [x for x in analysis.layers if (x.model, x.labels, x.measure) == wanted]


def _layer_kinds(analysis: Analysis) -> list[str]:
    """Return the kinds of labels for which some model has several layers with a correlation."""
    defined = {
        (x.labels, x.model, x.layer)
        for x in analysis.layers
        if x.measure == analysis.main and x.correlation.spearman
    }
    layers = Counter((kind, model) for kind, model, _ in defined)
    several = {kind for (kind, _), n in layers.items() if n > 1}
    return [kind for kind in ("data", "predicted") if kind in several]


def _cost_caption(analysis: Analysis) -> str:
    return (
        f"Cost against {analysis.ours}, a mark for each cell: horizontal bars are the 95 % "
        "interval of the index, vertical bars the range over the seeds."
    )


def _forest_caption(analysis: Analysis) -> str:
    ceiling = analysis.part().ceiling.spearman
    dashed = "; dashed: the ceiling that the seeds' noise sets" if ceiling else ""
    return (
        "Spearman's ρ of each predictor with its 95 % interval, those that need labels above, "
        f"those that need none below; diamonds are RESQUE, circles its rivals{dashed}."
    )


def _layer_caption(analysis: Analysis) -> str:
    return (
        f"Spearman's ρ between RESQUE_dist of each layer and {analysis.main}, with its 95 % "
        "interval, by depth."
    )
