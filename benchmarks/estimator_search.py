"""Try variants of RESQUE_dist on studies: which goes best with what retraining cost?

    python benchmarks/estimator_search.py digits fashion --output estimator_search.json

Each folder is of a study, and what it was run on must lie where it lay. Variants differ in what
the classes are (the data's labels, predicted ones, predicted ones of aligned data, class
probabilities) and in what is compared of their mean vectors; sums of two variants are tried as
well. On digits and fashion the turn of centered means with the loss of eta squared is level with
the best in epochs and parameter change: from it comes `resque.separation.scatter_shift`, which
holds the shares of the classes besides. For aligned data the same sum is near the best that needs
no labels. Both are judged on other studies by benchmarks/estimators.py.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_run
from rich.console import Console
from rich.table import Table
from scipy.special import softmax
from scipy.stats import rankdata
from tqdm import tqdm

from resque.correlations import Observations, scores
from resque.ledger import Entry, read_ledger
from resque.outcomes import outcome
from resque.representations import Vectors
from resque.separation import align
from resque.study_measurement import Measurer
from resque.uncertainty import angles

MEASURES = ("epochs", "param_change", "grad_norm")


def class_weights(side: Vectors, kind: str, names: Sequence[Any]) -> np.ndarray:
    """Return (N, K): how far each sample belongs to each class."""
    if kind == "data":
        return (np.array(side.labels, object)[:, None] == np.array(names, object)).astype(float)
    chances = softmax(side.logits, axis=1).astype(float)
    return chances if kind == "soft" else (chances == chances.max(axis=1, keepdims=True)) * 1.0


def means(a: Vectors, b: Vectors, layer: str, kind: str) -> list[np.ndarray]:
    """Return (K, D) class means of both sides, of the classes that both have."""
    names = list(dict.fromkeys(a.labels))
    weights = [class_weights(x, kind, names) for x in (a, b)]
    some = np.logical_and(*(w.sum(axis=0) > 0 for w in weights))
    return [
        w[:, some].T @ x.vectors[layer].astype(float) / w[:, some].sum(axis=0)[:, None]
        for w, x in zip(weights, (a, b), strict=True)
    ]


def variants(a: Vectors, b: Vectors, layer: str) -> Iterator[tuple[str, float]]:
    """Yield the variants by name; each is 0 without a shift and rises with it."""
    x, y = (side.vectors[layer].astype(float) for side in (a, b))
    for kind in ("data", "predicted", "soft"):
        u, v = means(a, b, layer, kind)
        own = angles(u, v) / np.pi
        yield f"{kind}: angle", own.mean()
        yield f"{kind}: largest angle", own.max()
        yield f"{kind}: angle of centered means", _turn(u - x.mean(0), v - y.mean(0))
        yield f"{kind}: angle from the original mean", _turn(u - x.mean(0), v - x.mean(0))
        deviation = x.std(axis=0) + 1e-6
        yield f"{kind}: angle, standardised", _turn(*((z - x.mean(0)) / deviation for z in (u, v)))
        yield f"{kind}: distance", np.linalg.norm(u - v, axis=1).mean() / _size(u)
        yield (
            f"{kind}: distance over spread",
            np.linalg.norm(u - v, axis=1).mean() / _size(u - u.mean(0)),
        )
        if len(u) < 2:
            continue
        yield f"{kind}: loss of spread", -np.log(_size(v - v.mean(0)) / _size(u - u.mean(0)))
        yield f"{kind}: loss of angle", 1 - _between(v) / _between(u)
        yield f"{kind}: angle over angle between", own.mean() / _between(u)
        cross = np.array([angles(np.repeat(v[[i]], len(u), 0), u) for i in range(len(u))]) / np.pi
        near = np.where(np.eye(len(u), dtype=bool), np.inf, cross).min(axis=1)
        yield f"{kind}: angle to own over nearest", (own / (own + near)).mean()
    yield "data: loss of eta squared", _eta_squared(x, a.labels) - _eta_squared(y, b.labels)
    before, after = (side.logits.argmax(axis=1) for side in (a, b))
    yield "predicted: loss of eta squared", _eta_squared(x, before) - _eta_squared(y, after)
    z, anew = align(x, a.logits.astype(float), y)
    u, v = _predicted_means(x, before, z, anew)
    yield "aligned: angle of centered means", _turn(u - x.mean(0), v - z.mean(0))
    yield "aligned: loss of eta squared", _eta_squared(x, before) - _eta_squared(z, anew)


def _predicted_means(
    x: np.ndarray, before: np.ndarray, z: np.ndarray, anew: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (K, D) means on both sides of the classes that are predicted on both."""
    classes = np.intersect1d(before, anew)
    u, v = (
        np.stack([rows[found == k].mean(axis=0) for k in classes])
        for rows, found in ((x, before), (z, anew))
    )
    return u, v


def _eta_squared(x: np.ndarray, labels: Sequence[Any]) -> float:
    """Return the share of the variance that lies between the classes."""
    _, classes = np.unique([str(y) for y in labels], return_inverse=True)
    means = np.stack([x[classes == k].mean(axis=0) for k in range(classes.max() + 1)])
    whole = ((x - x.mean(axis=0)) ** 2).sum()
    return float(1 - ((x - means[classes]) ** 2).sum() / whole) if whole else 0.0


def _turn(u: np.ndarray, v: np.ndarray) -> float:
    some = u.any(axis=1) & v.any(axis=1)
    return float(angles(u[some], v[some]).mean() / np.pi) if some.any() else 0.0


def _size(u: np.ndarray) -> float:
    return float(np.linalg.norm(u, axis=1).mean()) + 1e-12


def _between(u: np.ndarray) -> float:
    i, j = np.triu_indices(len(u), 1)
    return float(angles(u[i], u[j]).mean() / np.pi) + 1e-12


def score(entries: Sequence[Entry], values: np.ndarray) -> list[float]:
    """Return Spearman's ρ with each measure of cost."""
    found = []
    for measure in MEASURES:
        costs = [outcome(x.record, measure) for x in entries if x.record]
        rows = [i for i, cost in enumerate(costs) if cost and np.isfinite(values[i])]
        cost = np.array([costs[i].value for i in rows])
        censored = np.array([costs[i].censored for i in rows])
        ranks = scores(Observations(cost, censored, np.arange(len(rows))))
        found.append(float(np.corrcoef(rankdata(values[rows]), ranks)[0, 1]))
    return found


def search(folder: Path) -> dict[str, list[float]]:
    """Return each variant's correlations on a study, sums of two of the best among them."""
    measurer, entries = Measurer("cpu"), list(read_ledger([folder]).done)
    seen: dict[tuple[str, int], dict[str, float]] = {}
    rows = []
    for entry in tqdm(entries, desc=folder.name):
        key = entry.cell.shift, entry.cell.seed
        if key not in seen:
            a, b, layers = measurer.representations(entry.cell)
            seen[key] = dict(variants(a, b, layers[-1]))
        rows.append(seen[key])
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {n: np.array([row.get(n, np.nan) for row in rows]) for n in names}
    pairs = itertools.combinations(sorted(names), 2)  # in the same order for each study
    sums = {f"{m} + {n}": columns[m] + columns[n] for m, n in pairs}
    return {name: score(entries, x) for name, x in {**columns, **sums}.items()}


def main() -> None:
    """Print the best variants, and write all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--output", type=Path)
    use = parser.parse_args()
    found = {folder.name: search(folder) for folder in use.folders}
    names = [n for n in next(iter(found.values())) if all(n in x for x in found.values())]
    mean = {n: float(np.mean([x[n] for x in found.values()])) for n in names}
    table = Table("variant", "mean", *(f"{s} {m}" for s in found for m in MEASURES))
    for name in sorted(names, key=lambda n: -mean[n])[:40]:
        numbers = [f"{v:.2f}" for x in found.values() for v in x[name]]
        table.add_row(name, f"{mean[name]:.3f}", *numbers)
    Console(width=200).print(table)
    if use.output:
        rounded = {s: {k: [round(v, 3) for v in x] for k, x in f.items()} for s, f in found.items()}
        document = {"machine": describe_run(), "measures": MEASURES, "spearman": rounded}
        use.output.write_text(json.dumps(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
