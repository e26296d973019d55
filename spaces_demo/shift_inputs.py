"""The inputs of the tab "Shift": what they mean, and links that restore them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pages
from cases import DATA, MODEL, OPENING, SAMPLES
from controls import (
    check_files,
    check_samples,
    machine_inputs,
    machine_of,
    machine_query,
    number,
)
from jobs import Shift
from limits import MAX_SAMPLES, MIN_SAMPLES
from resque.shifts import KINDS
from visitors import YOUR_FILES
from workers import Refusal

BUNDLED_MODEL = "Small ResNet of handwritten digits (bundled)"
BUNDLED_DATA = "Handwritten digits (bundled)"
SAME = "The original data, corrupted"
NO_CORRUPTION = "none"
LABELS = {"auto": "the data's, where it has any", "predicted": "the model's predictions"}


def shift_of(
    files: str,
    model: str,
    original: str,
    shifted: str,
    corruption: str,
    level: float | None,
    labels: str,
    samples: float | None,
    *machine: Any,
) -> Shift:
    """Return the shift that the inputs describe.

    Args:
        files: folder of the visitor's files, or empty.
        model: the first of the inputs, which follow in order.
        original: an input.
        shifted: an input.
        corruption: an input.
        level: an input.
        labels: an input.
        samples: an input.
        *machine: see `controls.machine_of`.

    Raises:
        Refusal: where an input is missing or out of its range.
    """
    n_samples = check_samples(samples)
    if labels not in LABELS:
        raise Refusal("Say where the classes come from: the data or the model.")
    bent = "" if corruption == NO_CORRUPTION else f"{corruption}:{level or 0:.12g}"
    other = "" if shifted in (SAME, "", None) else _data(files, shifted)
    if not bent and not other:
        raise Refusal("Choose a corruption, or other data as the new data.")
    known = MODEL if model == BUNDLED_MODEL else (model or "").strip()
    if not known:
        raise Refusal("Choose a model: the bundled one, or an id on the Hub.")
    data = _data(files, original)
    return Shift(known, data, other, bent, labels, n_samples, machine_of(*machine))


def _data(files: str, name: str | None) -> str:
    if name == BUNDLED_DATA:
        return DATA
    return check_files(files) if name == YOUR_FILES else (name or "").strip()


def scale(name: str, level: float | None = None) -> dict[str, Any]:
    """Return the slider of a corruption: its range, step, level and what the level is.

    Args:
        name: of the corruption, or "none".
        level: to stand at; None for the third of the five standard severities.
    """
    if name not in KINDS:
        return {"minimum": 0, "maximum": 1, "value": 0, "step": 0.1, "info": "no corruption"}
    kind = KINDS[name]
    top = min(2 * kind.severities[-1], kind.highest)
    step = 10.0 ** math.floor(math.log10(top / 20))
    if level is None or not 0 <= level <= top:
        level = round(kind.severities[2] / step) * step
    numbers = {"maximum": top, "step": step, "value": level}
    return {"minimum": 0, "info": kind.level} | {k: float(f"{x:.4g}") for k, x in numbers.items()}


def query_of(shift: Shift) -> str:
    """Return the query of a link that restores a shift; empty for a visitor's own files."""
    if any(x.startswith("/") for x in (shift.original, shift.shifted)):
        return ""
    return pages.link(
        "shift",
        model=shift.model,
        original=shift.original,
        shifted=shift.shifted,
        corruption=shift.corruption,
        labels=shift.labels,
        samples=shift.max_samples,
        **machine_query(shift.machine),
    )


def inputs_of(query: Mapping[str, str]) -> tuple[Any, ...]:
    """Return the inputs that a link names, in order; what it lacks is as on a fresh page."""
    start = OPENING if "model" not in query else NO_CORRUPTION
    name, _, level = query.get("corruption", start).partition(":")
    name = name if name in KINDS else NO_CORRUPTION
    labels = query.get("labels", "auto")
    return (
        _named(query.get("model", MODEL), MODEL, BUNDLED_MODEL),
        _named(query.get("original", DATA), DATA, BUNDLED_DATA),
        _named(query.get("shifted", ""), "", SAME),
        name,
        scale(name, number(level, None)),
        labels if labels in LABELS else "auto",
        number(query.get("samples", ""), SAMPLES, MIN_SAMPLES, MAX_SAMPLES),
        *machine_inputs(query),
    )


def _named(value: str, ours: str, name: str) -> str:
    return name if value == ours else value
