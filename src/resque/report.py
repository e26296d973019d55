"""The report of an estimate: what was measured, on what, and how to do it again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resque.files import write_whole
from resque.fingerprint_header import Counts
from resque.indices import Score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1
LISTED_CLASSES = 10


@dataclass(frozen=True)
class Side:
    """A data set as the model saw it.

    Attributes:
        role: "original", "shifted" or "task".
        dataset: `ID_OR_FOLDER[@REVISION][:CONFIG][#SPLIT]`.
        revision: commit, where known.
        corruption: "NAME:LEVEL", or None.
        labels: where the classes come from: "data" or "predicted".
        label_note: how the data's labels were matched with the model's classes, or None.
        counts: samples seen, scored, left out.
    """

    role: str
    dataset: str
    revision: str | None
    corruption: str | None
    labels: str
    label_note: str | None
    counts: Counts

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, with accuracy in [0, 1] and loss in nats, or None."""
        counts = {k: v for k, v in asdict(self.counts).items() if k not in ("correct", "loss_sum")}
        known = {k: v for k, v in asdict(self).items() if k not in ("counts", "role")}
        return known | counts | {"accuracy": self.counts.accuracy, "loss": self.counts.loss}


@dataclass(frozen=True)
class LayerResult:
    """A layer, how it was read, and its index.

    Attributes:
        name: of the layer.
        pooling: how its output became one vector a sample.
        dimension: length of that vector.
        why: why it was chosen, or None where a fingerprint chose it.
        score: the index.
    """

    name: str
    pooling: str
    dimension: int
    why: str | None
    score: Score


@dataclass(frozen=True)
class Report:
    """An index with its error and all that is needed to read it and to get it again.

    Attributes:
        model: id or folder.
        model_revision: commit on the Hub, where known.
        sides: the data sets: original and shifted, or task.
        results: one a layer, the main one first.
        device: where the model ran.
        dtype: what it computed in.
        batch_size: samples at once.
        seconds: of the passes; "waiting" is the part spent waiting for data.
        versions: of the libraries.
        date: ISO date.
        command: the command line that does it again.
        notes: what was chosen automatically, a line each.
    """

    model: str
    model_revision: str | None
    sides: tuple[Side, ...]
    results: tuple[LayerResult, ...]
    device: str
    dtype: str
    batch_size: int | str
    seconds: dict[str, float]
    versions: dict[str, str]
    date: str
    command: str
    notes: tuple[str, ...] = ()

    @property
    def score(self) -> Score:
        """The index of the main layer."""
        return self.results[0].score

    @property
    def layer(self) -> str:
        """Name of the main layer."""
        return self.results[0].name

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; the index is under `resque_dist` or `resque_task`."""
        name = self.score.name
        return {
            "schema_version": SCHEMA_VERSION,
            "model": self.model,
            "model_revision": self.model_revision,
            "layer": self.layer,
            name: self.score.to_dict(),
            **{side.role: side.to_dict() for side in self.sides},
            "layers": {
                r.name: {
                    "pooling": r.pooling,
                    "dimension": r.dimension,
                    "why": r.why,
                    name: r.score.to_dict(),
                }
                for r in self.results
            },
            "device": self.device,
            "dtype": self.dtype,
            "batch_size": self.batch_size,
            "seconds": self.seconds,
            "versions": self.versions,
            "date": self.date,
            "command": self.command,
            "notes": list(self.notes),
        }

    def to_json(self, path: str | Path | None = None) -> str:
        """Return the report as a JSON document, and write it to a path where one is given.

        Raises:
            ResqueError: where it cannot be written; nothing is left behind then.
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)
        if path is not None:
            write_whole(Path(path), lambda file: file.write_text(text + "\n", encoding="utf-8"))
        return text

    def __str__(self) -> str:
        return as_text(self.render())

    def render(self) -> list[Any]:
        """Return the report as `rich` renderables."""
        return [_scores_table(self), _sides_table(self), *_lines(self)]

    def plot(self) -> Figure:
        """Draw the score of each class (or the index itself) with interval and noise floor.

        Raises:
            ImportError: without matplotlib (`pip install resque[plots]`).
        """
        from resque.plots import plot_report

        return plot_report(self)


def as_text(renderables: list[Any]) -> str:
    """Return `rich` renderables as plain text of 100 columns."""
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=100, color_system=None, highlight=False)
    for part in renderables:
        console.print(part)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined,no-any-return]


def verdict(score: Score) -> str:
    """Say in one line what the index tells.

    >>> verdict(Score("resque_dist", 0.02, (0.0, 0.01), 0.02, 0.0, 0.5))
    'no shift beyond sampling noise (p = 0.5)'
    """
    if score.name == "resque_task":
        chance = score.interval[1] >= 1
        return "the clusters are no better than chance" if chance else "clusters against classes"
    if score.p_value != score.p_value:  # NaN
        return "too few samples to tell a shift from noise"
    if score.p_value >= 0.05:
        return f"no shift beyond sampling noise (p = {score.p_value:.2g})"
    p = f"p = {score.p_value:.2g}" if score.p_value >= 1e-4 else "p < 0.0001"
    return f"a shift beyond sampling noise ({p})"


def _scores_table(report: Report) -> Any:
    from rich.table import Table

    table = Table(title=f"{report.score.name.replace('resque', 'RESQUE')} of {report.model}")
    for column in ("layer", "index", "95 % interval", "noise floor", "de-biased"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for result in report.results:
        s = result.score
        interval = f"{s.interval[0]:.4f} – {s.interval[1]:.4f}"
        table.add_row(
            result.name, f"{s.value:.4f}", interval, f"{s.noise_floor:.4f}", f"{s.debiased:.4f}"
        )
    return table


def _sides_table(report: Report) -> Any:
    from rich.table import Table

    table = Table()
    for column in ("data", "", "samples", "accuracy", "loss", "left out", "truncated"):
        table.add_column(column, justify="left" if column in ("data", "") else "right")
    for side in report.sides:
        c = side.counts
        name = side.dataset + (f" + {side.corruption}" if side.corruption else "")
        accuracy = "–" if c.accuracy is None else f"{c.accuracy:.3f}"
        loss = "–" if c.loss is None else f"{c.loss:.3f}"
        left_out = c.unlabelled + c.bad + c.empty
        table.add_row(
            side.role, name, str(c.samples), accuracy, loss, str(left_out), str(c.truncated)
        )
    return table


def _lines(report: Report) -> list[str]:
    from rich.markup import escape

    score = report.score
    lines = [verdict(score)]
    worst = sorted(score.per_class.items(), key=lambda item: -item[1])[:LISTED_CLASSES]
    if worst:
        listed = ", ".join(f"{k} {v:.3f}" for k, v in worst)
        lines.append(f"classes, most shifted first: {listed}")
    if score.left_out:
        lines.append("left out: " + "; ".join(f"{k}: {v}" for k, v in score.left_out.items()))
    lines += report.notes
    lines += dict.fromkeys(side.label_note for side in report.sides if side.label_note)
    total, waiting = report.seconds["total"], report.seconds["waiting"]
    lines.append(f"took {total:.1f} s, {waiting:.1f} s of them waiting for data")
    lines.append(f"again: {report.command}")
    return [escape(line) for line in lines]
