"""The report of a study: from a ledger to report.md, report.html, figures and tables."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resque.correlations import MIN_CLUSTERS_CLAIM, MIN_CLUSTERS_INTERVAL
from resque.files import check_folder, write_whole
from resque.ledger import Ledger
from resque.rendering import escape_markdown, render
from resque.study_analysis import Analysis, analyse
from resque.study_figures import draw_figures
from resque.study_tables import (
    Table,
    ceiling_table,
    coefficient_table,
    difference_tables,
    group_table,
    layer_table,
    main_tables,
    predictor_table,
)
from resque.study_values import all_values, csv_text
from resque.study_words import energy_kind, facts, findings


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        heading: of it.
        text: sentences before its tables; may be empty.
        tables: in order.
    """

    heading: str
    text: str
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class StudyReport:
    """What was written about a study.

    Attributes:
        title: of the report.
        facts: what was run, as (name, text).
        findings: what was found, a few sentences each.
        analysis: the numbers.
        files: those written, relative to the folder.
        folder: that holds them.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    findings: tuple[str, ...]
    analysis: Analysis
    files: tuple[str, ...]
    folder: Path

    @property
    def summary(self) -> str:
        """The findings as lines for a `rich` console."""
        from rich.markup import escape

        return escape("\n".join([self.title, *(f"• {text}" for text in self.findings)]))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; None where a number is undefined."""
        return {
            "title": self.title,
            "facts": dict(self.facts),
            "findings": list(self.findings),
            "measures": list(self.analysis.measures),
            "predictors": list(self.analysis.predictors),
            "left_out": {
                "constant": list(self.analysis.constant),
                "unknown": list(self.analysis.unknown),
                "unmeasured": list(self.analysis.unmeasured),
            },
            "resamples": self.analysis.resamples,
            "seed": self.analysis.seed,
            **all_values(self.analysis),
            "folder": str(self.folder),
            "files": list(self.files),
        }


def write_report(
    ledger: Ledger, folder: Path, *, title: str, resamples: int = 1000, seed: int = 0
) -> StudyReport:
    """Write report.md, report.html, figures/*.png and tables/*.csv.

    Args:
        ledger: of a study, or of several.
        folder: gets the files; may hold others.
        title: of the report.
        resamples: of the bootstrap, at least 100.
        seed: of the bootstrap: the same ledger and seed give the same numbers.

    Raises:
        ImportError: without matplotlib (`pip install resque[study]`).
        UsageError: where the ledger has too few runs, or there are too few resamples.
        ResqueError: where the folder cannot be written.
    """
    analysis = analyse(ledger, resamples=resamples, seed=seed)
    check_folder(folder)
    said, found = facts(ledger, analysis), findings(analysis)
    drawings = draw_figures(ledger, analysis, folder / "figures")
    content = {
        "title": title,
        "facts": said,
        "findings": found,
        "sections": _sections(ledger, analysis),
        "drawings": drawings,
        "how": _how(analysis),
        "predictors": predictor_table(analysis),
    }
    texts = {
        **{f"tables/{k}.csv": csv_text(rows) for k, rows in all_values(analysis).items() if rows},
        "report.md": _markdown(content),
        "report.html": _html(content),
    }
    for name, text in texts.items():
        _write(folder / name, text)
    figures = [f"figures/{file.name}" for x in drawings for file in (x.light, x.dark)]
    return StudyReport(title, tuple(said), tuple(found), analysis, (*figures, *texts), folder)


def _write(path: Path, text: str) -> None:
    data = text.encode(errors="backslashreplace")  # a path may hold what is no text
    write_whole(path, lambda file: file.write_bytes(data))


def _sections(ledger: Ledger, analysis: Analysis) -> list[Section]:
    energy = energy_kind(entry.record for entry in ledger.done if entry.record)
    main = (*main_tables(analysis, energy), coefficient_table(analysis))
    differences = tuple(difference_tables(analysis, energy))
    groups, layers = group_table(analysis), layer_table(analysis)
    return [
        Section("Which predictor goes with the cost", _left_out(analysis), main),
        Section(
            "RESQUE against its rivals", _DIFFERENCES if differences else _NO_PAIRS, differences
        ),
        Section("Within groups", "" if groups else _NO_GROUPS, (groups,) if groups else ()),
        Section("Layer by layer", "" if layers else _NO_LAYERS, (layers,) if layers else ()),
        Section("The seeds' ceiling", _CEILING, (ceiling_table(analysis, energy),)),
    ]


_DIFFERENCES = "Positive: RESQUE goes better with the cost. Bold: clear, as defined below."
_NO_PAIRS = "There is nothing to compare: the ledger lacks RESQUE, or its rivals."
_NO_GROUPS = "All runs are of one family, modality, model and strategy: there are no groups."
_NO_LAYERS = "The ledger has no index of any layer."
_CEILING = (
    "A run's cost against the mean rank of the other seeds of the same cell. Seeds differ in "
    "rows, order, head and corruption, so no predictor of the shift alone can be expected to do "
    "better, but for the noise of that mean itself, which makes the ceiling a little low."
)


def _left_out(analysis: Analysis) -> str:
    said = [
        f"{what}: {', '.join(names)}"
        for what, names in (
            ("the same in every run", analysis.constant),
            ("not among the predictors compared", analysis.unknown),
            ("measures that fewer than five shifts have", analysis.unmeasured),
        )
        if names
    ]
    return f"Bold: the best of each column. Left out: {'; '.join(said) or 'nothing'}."


def _how(analysis: Analysis) -> list[str]:
    least = 2 / (1 + analysis.resamples)
    return [
        "Every predictor is taken with the sign that makes greater mean dearer, so that a good "
        "one has a positive correlation.",
        "A run that did not reach its target is censored: its cost is known to be greater than "
        "what it had spent, and no more than that is used. It ranks above each run that reached "
        "its target for no more, and is tied with every other (Gehan's scores). Spearman's ρ is "
        "Pearson's r of these scores; Kendall's τ_b and Harrell's C count the pairs of known "
        "order. Pearson's r is over the runs that are not censored.",
        f"Intervals are 95 %, from {analysis.resamples} resamples (seed {analysis.seed}) that draw "
        "shifts with replacement, all runs of a shift together, as runs that differ in their seed "
        "alone are not independent. That of a coefficient is ± t standard errors over the "
        "resamples on Fisher's scale (artanh), with as many degrees of freedom as shifts less "
        "two; that of a difference is percentiles. There is no interval with fewer than "
        f"{MIN_CLUSTERS_INTERVAL} shifts.",
        "Differences are over the runs that have both predictors and over the same resamples. "
        "Their p is twice the smaller share of resamples on either side of 0 (not below "
        f"{least:.2g}), corrected after Holm for the rivals of one measure and group. A "
        "difference is called clear where its interval excludes 0 and the corrected p is below "
        f"0.05, with {MIN_CLUSTERS_CLAIM} shifts or more. The best of several is chosen on these "
        "very runs, which flatters it.",
    ]


def _markdown(content: dict[str, Any]) -> str:
    return render("study_report.md.jinja", content, finalize=escape_markdown)


def _html(content: dict[str, Any]) -> str:
    images = [
        {"caption": x.caption, "light": _data_uri(x.light), "dark": _data_uri(x.dark)}
        for x in content["drawings"]
    ]
    return render("study_report.html.jinja", content | {"images": images}, autoescape=True)


def _data_uri(file: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"
