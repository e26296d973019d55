"""Small fingerprints made without a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resque import Fingerprint
from resque.fingerprint_header import Counts, Header, Source
from resque.sums import ClassSums

HEADER = Header(
    model="m",
    model_revision=None,
    weights="w",
    layers=("a", "b"),
    pooling=("mean", "mean"),
    preprocessing="p",
    dtype="float32",
    labels="data",
    corruption=None,
    class_names=None,
    sources=(),
    counts=Counts(),
)


def made(rows, seed=0, source="d", **changes):
    rng = np.random.default_rng(seed)
    x = rng.normal(1, 1, (100, 5))[rows]
    labels = [int(row) % 3 for row in rows]
    sums = {}
    for layer in HEADER.layers:
        sums[layer] = ClassSums(16)
        sums[layer].add(x if layer == "a" else -2 * x, labels, np.asarray(rows))
    header = replace(
        HEADER,
        sources=(Source(source, split=f"{min(rows)}-{max(rows)}"),),
        counts=Counts(samples=len(rows), scored=len(rows), correct=1, loss_sum=0.5),
        **changes,
    )
    return Fingerprint(header, sums)
