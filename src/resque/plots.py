"""Figures: the index against a corruption's level, and the score of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resque.errors import UsageError
from resque.figure_style import axes_of
from resque.files import write_whole
from resque.indices import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from resque.report import Report


def check_format(path: Path) -> None:
    """Raise UsageError where a figure cannot be written in the format of this name.

    Raises:
        ImportError: without matplotlib.
    """
    figure, _ = axes_of(1, 1, 1)
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".") not in ("", *known):
        raise UsageError(f"no figure format {path.suffix!r}; known: {', '.join(known)}")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure, whole or not at all.

    Raises:
        ResqueError: where it cannot be written, or the format is unknown.
    """
    kind = path.suffix.lstrip(".") or "png"
    return write_whole(path, lambda file: figure.savefig(file, dpi=150, format=kind))


def plot_report(report: Report) -> Figure:
    """Draw each class's score, the index with its interval, and the noise floor."""
    score = report.score
    bars = score.per_class or {score.name: score.value}
    figure, (axes,) = axes_of(1, 7, 1.5 + 0.3 * min(len(bars), 40))
    shown = sorted(bars.items(), key=lambda item: item[1])[-40:]
    axes.barh([str(k) for k, _ in shown], [v for _, v in shown], color="tab:blue", alpha=0.6)
    axes.axvspan(*score.interval, color="tab:orange", alpha=0.3, label="95 % interval")
    axes.axvline(score.value, color="tab:orange", label=f"index {score.value:.3f}")
    axes.axvline(score.noise_floor, color="black", linestyle=":", label="noise floor")
    axes.set(xlabel="angle / π" if score.per_class else "1 − ARI", title=f"layer {report.layer}")
    axes.legend(loc="lower right", fontsize="small")
    return figure


def plot_levels(series: Mapping[str, Sequence[tuple[float, Score]]], title: str = "") -> Figure:
    """Draw the index against the level of each corruption, with interval band and noise floor.

    Args:
        series: (level, score) pairs by corruption.
        title: of the figure.
    """
    figure, all_axes = axes_of(len(series), 4 * len(series), 3.4, sharey=True)
    for axes, (name, pairs) in zip(all_axes, series.items(), strict=True):
        levels = [level for level, _ in pairs]
        scores = [score for _, score in pairs]
        low, high = zip(*(score.interval for score in scores), strict=True)
        axes.fill_between(levels, low, high, alpha=0.25, label="95 % interval")
        axes.plot(levels, [score.value for score in scores], marker="o", label="RESQUE_dist")
        floors = [score.noise_floor for score in scores]
        axes.plot(levels, floors, color="black", linestyle=":", label="noise floor")
        debiased = [score.debiased for score in scores]
        axes.plot(levels, debiased, color="tab:blue", linestyle="--", label="de-biased")
        axes.set(xlabel=f"{name} level")
    all_axes[0].set(ylabel="RESQUE_dist", ylim=(0, None))
    all_axes[0].legend(fontsize="small")
    figure.suptitle(title)
    return figure
