"""The metric's answers to what a visitor gave."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from state_tables import Refused, Table, quoted, read

SCRIPT = Path(__file__).resolve().with_name("resque.py")
MAX_CLUSTERING = 5e8  # rows × dimensions × classes: some 20 s on one core


@dataclass(frozen=True)
class Answer:
    """What the metric returned, and what it warned of."""

    config: str
    result: dict[str, Any]
    notes: list[str]


@functools.cache
def metric(config: str) -> Any:
    """Return the metric; by its file, as a Space lies in a folder of another name."""
    import evaluate

    return evaluate.load(str(SCRIPT), config)


def measure(
    config: str, text: str, file: str | None, original_text: str, original_file: str | None
) -> Answer:
    """Return the metric's answer.

    Args:
        config: `dist` or `task`.
        text: lines of the shifted (or the new task's) data.
        file: file that goes before `text`, or None.
        original_text: lines of the original data (`dist`).
        original_file: file that goes before `original_text`, or None.

    Raises:
        ValueError: where the input cannot be measured.
    """
    if config == "task":
        table = read(text, file, "New task's data")
        _check_task(table)
        inputs = {"predictions": table.states, "references": table.labels}
    else:
        original = read(original_text, original_file, "Original data")
        table = read(text, file, "Shifted data")
        inputs = {"predictions": table.states, "references": table.labels}
        inputs |= {
            "original_predictions": original.states,
            "original_references": original.labels,
        }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        result = metric(config).compute(**inputs)
    notes = [str(x.message) for x in caught if issubclass(x.category, UserWarning)]
    return Answer(config, result, list(dict.fromkeys(notes)))


def _check_task(table: Table) -> None:
    classes = len(set(table.labels))
    if classes < 2:
        raise Refused(
            f"New task's data: one class, {quoted(table.labels[0])}; a task has two at least"
        )
    samples, dimensions = table.states.shape[:2]  # the metric averages the other axes
    if samples * dimensions * classes > MAX_CLUSTERING:
        raise Refused(
            f"New task's data: {samples:,} samples × {dimensions:,} dimensions × {classes:,} "
            "classes take too long to cluster here; take fewer samples, or run the package at home"
        )
