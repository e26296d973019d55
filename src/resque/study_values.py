"""The numbers of a study's report as plain values, for files that programs read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from resque.correlations import COEFFICIENTS, Correlation, Estimate
from resque.predictors import PREDICTORS
from resque.study_analysis import ALL, Analysis, LayerPart, Part

Row = dict[str, Any]


def all_values(analysis: Analysis) -> dict[str, list[Row]]:
    """Return the rows of each table: correlations, differences, layers, ceilings.

    Values are strings, whole numbers, floats and booleans; None where something is undefined.
    """
    parts = analysis.parts.values()
    ceilings = [part for part in parts if part.scope == ALL or part.ceiling.spearman]
    return {
        "correlations": [row for part in parts for row in _correlations(part)],
        "differences": [row for part in parts for row in _differences(part)],
        "layers": [_layer(found) for found in analysis.layers],
        "ceilings": [{**_place(x), **_values(x.ceiling, ("spearman",))} for x in ceilings],
    }


def csv_text(rows: Sequence[Row]) -> str:
    """Return rows that have the same keys as CSV: six digits, nothing for None."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{x:.6g}" if isinstance(x, float) else x for k, x in row.items()})
    return text.getvalue()


def _correlations(part: Part) -> list[Row]:
    return [
        {
            **_place(part),
            "predictor": name,
            "is_resque": PREDICTORS[name].is_resque,
            "needs_labels": PREDICTORS[name].needs_labels,
            **_values(found),
        }
        for name, found in part.correlations.items()
    ]


def _differences(part: Part) -> list[Row]:
    return [
        {
            **_place(part),
            "resque": x.ours,
            "rival": x.rival,
            "runs": x.difference.runs,
            "shifts": x.difference.clusters,
            **_bounds("difference", Estimate(x.difference.value, x.difference.interval)),
            "p": x.difference.p,
            "p_holm": x.p_holm,
        }
        for x in part.comparisons
    ]


def _layer(found: LayerPart) -> Row:
    return {
        "model": found.model,
        "layer": found.layer,
        "depth": found.depth,
        "labels": found.labels,
        "measure": found.measure,
        **_values(found.correlation),
    }


def _place(part: Part) -> Row:
    return {"scope": part.scope.kind, "group": part.scope.name, "measure": part.measure}


def _values(found: Correlation, kinds: Iterable[str] = COEFFICIENTS) -> Row:
    values: Row = {"runs": found.runs, "censored": found.censored, "shifts": found.clusters}
    for kind in kinds:
        values |= _bounds(kind, getattr(found, kind))
    return values | {"undefined": found.undefined}


def _bounds(name: str, found: Estimate | None) -> Row:
    low, high = found.interval if found and found.interval else (None, None)
    return {name: found.value if found else None, f"{name}_low": low, f"{name}_high": high}
