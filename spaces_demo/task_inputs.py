"""The inputs of the tab "New task": what they mean, and links that restore them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pages
from cases import DATA, MODEL, MODELS, SAMPLES, TARGET_ACCURACY, TASKS
from controls import (
    check_files,
    check_samples,
    machine_inputs,
    machine_of,
    machine_query,
    number,
)
from jobs import Task
from limits import MAX_SAMPLES, MIN_SAMPLES
from visitors import YOUR_FILES
from workers import Refusal

NAMES = {
    MODEL: "ResNet of digits, trained (bundled)",
    MODELS[1]: "ResNet of digits, after one epoch (bundled)",
    MODELS[2]: "ResNet of digits, after one step (bundled)",
}
DATASETS = {
    f"Handwritten digits: {text} (bundled)": (DATA, column) for column, text in TASKS.items()
}
MAX_MODELS = 6


def task_of(
    files: str,
    models: Sequence[str],
    dataset: str,
    label_column: str | None,
    target: float | None,
    samples: float | None,
    *machine: Any,
) -> Task:
    """Return the task that the inputs describe.

    Args:
        files: folder of the visitor's files, or empty.
        models: the first of the inputs, which follow in order.
        dataset: an input.
        label_column: an input.
        target: an input.
        samples: an input.
        *machine: see `controls.machine_of`.

    Raises:
        Refusal: where an input is missing or out of its range.
    """
    ours = {name: path for path, name in NAMES.items()}
    chosen = tuple(dict.fromkeys(ours.get(x, x.strip()) for x in models or () if x.strip()))
    if not 1 <= len(chosen) <= MAX_MODELS:
        raise Refusal(f"{len(chosen)} models are chosen; expected 1 to {MAX_MODELS}.")
    n_samples = check_samples(samples)
    if not target or not 0 < target <= 1:
        raise Refusal(f"The target accuracy is {target or 0:g}; expected above 0, at most 1.")
    data, column = DATASETS.get(dataset, ((dataset or "").strip(), (label_column or "").strip()))
    if data == YOUR_FILES:
        data = check_files(files)
    if not data:
        raise Refusal("Choose data: bundled, yours, or an id on the Hub.")
    return Task(chosen, data, column, float(target), n_samples, machine_of(*machine))


def query_of(task: Task) -> str:
    """Return the query of a link that restores a task; empty for a visitor's own files."""
    if task.dataset.startswith("/"):
        return ""
    return pages.link(
        "task",
        models=",".join(task.models),
        dataset=task.dataset,
        column=task.label_column,
        target=task.target_accuracy,
        samples=task.max_samples,
        **machine_query(task.machine),
    )


def inputs_of(query: Mapping[str, str]) -> tuple[Any, ...]:
    """Return the inputs that a link names, in order; what it lacks is as on a fresh page."""
    models = [x for x in query.get("models", "").split(",") if x] or list(MODELS)
    data = query.get("dataset", DATA), query.get("column", next(iter(TASKS)))
    bundled = next((name for name, x in DATASETS.items() if x == data), None)
    return (
        [NAMES.get(x, x) for x in models],
        bundled or data[0],
        "" if bundled else query.get("column", ""),
        number(query.get("target", ""), TARGET_ACCURACY, 0.05, 1),
        number(query.get("samples", ""), SAMPLES, MIN_SAMPLES, MAX_SAMPLES),
        *machine_inputs(query),
    )
