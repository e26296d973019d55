"""What figures have in common: no window, colours, markers, light and dark ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's colours, told apart by the colour-blind; lighter on dark ground.
COLOURS = {
    "light": ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#555555"),
    "dark": ("#56B4E9", "#FF9F5A", "#3DDBA5", "#F0A6CF", "#F0E442", "#9FB8FF", "#C8C8C8"),
}
MARKERS = "osD^vPX<>ph*"
LINES = ("-", "--", "-.", ":")
GROUND = {"light": ("#ffffff", "#1b1b1b", "#d0d0d0"), "dark": ("#15181c", "#e6e6e6", "#3c4148")}
NAMES_LENGTH = 28
ROWS = 16  # of a legend, before a second column


def style(ground: str) -> Any:
    """Return matplotlib's settings for light or dark ground."""
    paper, ink, grid = GROUND[ground]
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(inked, ink),
        **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), paper),
        "grid.color": grid,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 10,
        "font.family": "DejaVu Sans",  # comes with matplotlib: no other machine draws it otherwise
        "legend.frameon": False,
        "text.usetex": False,
        "text.parse_math": False,  # names may hold a $
    }


def axes_of(
    columns: int, width: float, height: float, sharey: bool = False
) -> tuple[Figure, list[Any]]:
    """Return a figure that needs no display, and its axes.

    Raises:
        ImportError: without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("figures need matplotlib: pip install 'resque[plots]'") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, columns, squeeze=False, sharey=sharey)[0])


def look(i: int, ground: str) -> tuple[str, str]:
    """Return the colour and the marker of the i-th name: 84 pairs before one comes again."""
    colours = COLOURS[ground]
    return colours[i % len(colours)], MARKERS[i % len(MARKERS)]


def short(name: str) -> str:
    """Return a name that fits beside a figure: long ones without their middle."""
    if len(name) <= NAMES_LENGTH:
        return name
    half = NAMES_LENGTH // 2
    return f"{name[: half - 1]}…{name[-half:]}"


def family_legend(
    figure: Figure, styles: Mapping[str, tuple[str, str]], hollow: str | None, columns: int
) -> None:
    """Draw the legend of families beside a figure.

    Args:
        figure: gets it.
        styles: colour and marker by family.
        hollow: what hollow markers mean; None where there are none.
        columns: of the legend.
    """
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=short(name))
        for name, (colour, marker) in styles.items()
    ]
    if hollow:
        handles.append(
            Line2D([], [], color="gray", marker="o", mfc="none", linestyle="", label=hollow)
        )
    figure.legend(handles=handles, loc="outside right upper", title="family", ncols=columns)


def legend_columns(names: Sequence[str]) -> tuple[int, float]:
    """Return the columns of a legend of these names, and its width in inches."""
    columns = 1 + (len(names) - 1) // ROWS
    return columns, columns * (0.7 + 0.085 * max(len(short(name)) for name in names))
