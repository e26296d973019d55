"""The columns of a pooled ledger: what a row of it says without its JSON being read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from resque.files import json_line
from resque.ledger import Entry
from resque.records import CostRecord


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: its name.
        kind: "text", "number", "count" or "bool".
        what: what it says, with its unit.
        of: gives its value.
    """

    name: str
    kind: str
    what: str
    of: Callable[[Entry, CostRecord], Any]


COLUMNS = (
    Column("key", "text", "tells this run from every other", lambda x, r: x.key),
    Column("date", "text", "day of its end, UTC", lambda x, r: x.ended),
    Column("modality", "text", "image, text or audio", lambda x, r: x.modality),
    Column("model", "text", "id on the Hub, or a pseudonym", lambda x, r: x.cell.model),
    Column("original", "text", "data that it knew", lambda x, r: x.cell.original),
    Column("dataset", "text", "data that it was trained on", lambda x, r: x.cell.dataset),
    Column("corruption", "text", "NAME:LEVEL on that data", lambda x, r: x.cell.corruption),
    Column("family", "text", "kind of shift", lambda x, r: x.cell.family),
    Column("strategy", "text", "full, head, lora or scratch", lambda x, r: x.cell.strategy),
    Column("target", "text", "what it was to reach", lambda x, r: x.cell.target),
    Column("seed", "count", "of rows, order and head", lambda x, r: x.cell.seed),
    Column("resque_dist", "number", "RESQUE_dist before it", lambda x, r: _known(x, "resque_dist")),
    Column("accuracy_drop", "number", "before it", lambda x, r: _known(x, "accuracy_drop")),
    Column("parameters", "count", "of the model", lambda x, r: r.model.parameters),
    Column("rows", "count", "trained on", lambda x, r: r.data.rows),
    Column("reached", "bool", "whether the target was met", lambda x, r: r.reached),
    Column("epochs_to_target", "number", "null: not met", lambda x, r: r.epochs_to_target),
    Column("accuracy_best", "number", "in [0, 1]", lambda x, r: r.accuracy_best),
    Column("seconds", "number", "of training", lambda x, r: r.seconds_training),
    Column("energy_kwh", "number", "of training, in kWh", lambda x, r: r.energy_kwh),
    Column("energy_is_measured", "bool", "else estimated", lambda x, r: r.energy_is_measured),
    Column("co2eq_kg", "number", "of training, in kg", lambda x, r: r.co2eq_kg),
    Column("country", "text", "of the grid", lambda x, r: r.country),
    Column("processor", "text", "its model", lambda x, r: r.host.processor),
    Column(
        "accelerators", "text", "their models", lambda x, r: ", ".join(r.host.accelerators) or None
    ),
    Column("entry", "text", "all of it, as JSON", lambda x, r: json_line(x.to_dict()).decode()),
)


def _known(entry: Entry, name: str) -> float | None:
    return entry.predictors.get(name)


def row_of(entry: Entry, record: CostRecord) -> dict[str, Any]:
    """Return the row of an entry and its costs."""
    return {x.name: x.of(entry, record) for x in COLUMNS}
