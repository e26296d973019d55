"""The figure of a study that shows forecasts of unseen families against what retraining took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resque.errors import UsageError
from resque.figure_style import GROUND, axes_of, family_legend, legend_columns, look
from resque.forecasters import Forecaster, count_held, make_forecaster
from resque.ledger import Ledger

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TICKS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)  # epochs
NOT_REACHED = "not reached (at least)"


def learn(ledger: Ledger) -> list[Forecaster]:
    """Return what learns from a ledger, with labels of the shifted data and without.

    Either may be missing, where the ledger does not suffice.
    """
    found = []
    for labels in (True, False):
        try:
            found.append(make_forecaster(ledger, labels=labels))
        except UsageError:
            continue
    return found


def describe(forecasters: list[Forecaster]) -> str:
    """Return what the figure shows, in one sentence."""
    level = f"{forecasters[0].level:.0%}".replace("%", " %")
    return (
        "Epochs to the target as forecast from the other families of the study, against those "
        f"that retraining took: bars are {level} intervals, and a bar that meets the line held."
    )


def plot_calibration(forecasters: list[Forecaster], ground: str) -> Figure:
    """Draw forecast against measured epochs, a panel for each kind of labels."""
    families = sorted({name for x in forecasters for name in x.table.families})
    styles = {name: look(i, ground) for i, name in enumerate(families)}
    columns, width = legend_columns([*families, NOT_REACHED])
    figure, all_axes = axes_of(len(forecasters), width + 0.3 + 4.2 * len(forecasters), 4.4)
    for axes, forecaster in zip(all_axes, forecasters, strict=True):
        _draw(axes, forecaster, styles, GROUND[ground][1])
    family_legend(figure, styles, NOT_REACHED, columns)
    return figure


def _draw(axes: Any, forecaster: Forecaster, styles: dict[str, tuple[str, str]], ink: str) -> None:
    table, unseen = forecaster.table, forecaster.unseen
    runs = table.runs
    truth, value = table.epochs(runs.cost), table.epochs(unseen.predicted)
    low = table.epochs(unseen.predicted - unseen.width)
    high = table.epochs(unseen.predicted + unseen.width)
    most = 1.6 * max(truth.max(), value.max())
    for i, family in enumerate(table.families):
        colour, marker = styles[family]
        for row in (runs.families == i).nonzero()[0]:
            face = "none" if runs.side[row] > 0 else colour
            axes.plot([truth[row]] * 2, [low[row], high[row]], color=colour, lw=0.8, alpha=0.35)
            axes.plot(truth[row], value[row], marker, color=colour, mfc=face, markersize=5)
    axes.plot([0, most], [0, most], color=ink, linewidth=1)
    ticks = [0.0, *(x for x in TICKS if table.offset <= x <= most)]
    axes.set_xscale("symlog", linthresh=table.offset)
    axes.set_yscale("symlog", linthresh=table.offset)
    axes.minorticks_off()
    axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
    axes.set_yticks(ticks, [f"{x:g}" for x in ticks])
    axes.set(xlim=(-table.offset / 6, most), ylim=(-table.offset / 6, most))
    axes.set(xlabel="epochs to the target, measured", ylabel="epochs, forecast")
    held = count_held(runs, unseen.predicted, unseen.width)
    said = f"{held.held} of {held.held + held.missed} intervals held"
    axes.set_title(f"labels: {'yes' if forecaster.labels else 'no'}; {said}", fontsize=10)
