"""One pass of a model over labelled data for `rank`: moments of all rows, and a sample of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from resque.data import Data
from resque.errors import ResqueError
from resque.fingerprint_header import Counts
from resque.kept_rows import KeptRows, rows_for, sizes
from resque.labels import ClassMap
from resque.layers import Layer
from resque.models import Model
from resque.moments import Moments
from resque.processes import fit_memory, on_all
from resque.representations import Output, Settings, Times, check_any, count, forward
from resque.sums import Floats, Label
from resque.words import WORD_BITS

KEPT_ROWS = 10_000  # for kNN, LEEP and RESQUE_task, whose time grows faster than the rows
KEPT_VALUES = 1 << 26  # of all layers and the logits together: 256 MiB
MEAN = "mean"  # the layer that is the mean of all hidden layers


@dataclass
class Observed:
    """What was seen in a pass; two of them add.

    Attributes:
        moments: of all rows, by layer.
        kept: a sample of the rows.
        predicted: rows by (class that the head predicts, class of the data).
        counts: what happened to the samples.
        times: seconds.
    """

    moments: dict[str, Moments]
    kept: KeptRows
    predicted: Counter[tuple[int, Label]] = field(default_factory=Counter)
    counts: Counts = field(default_factory=Counts)
    times: Times = field(default_factory=Times)

    def __add__(self, other: Observed) -> Observed:
        """Return what was seen in both."""
        names = self.moments or other.moments
        return Observed(
            {n: self.moments.get(n, Moments()) + other.moments.get(n, Moments()) for n in names},
            self.kept + other.kept,
            self.predicted + other.predicted,
            self.counts + other.counts,
            max(self.times, other.times, key=lambda times: times.total),
        )

    def contingency(self) -> Floats | None:
        """Return the (classes of the head, classes of the data) counts; None without a head."""
        if not self.predicted:
            return None
        rows, columns = (
            {key: i for i, key in enumerate(dict.fromkeys(pair[side] for pair in self.predicted))}
            for side in (0, 1)
        )
        table = np.zeros((len(rows), len(columns)))
        for (z, y), n in self.predicted.items():
            table[rows[z], columns[y]] = n
        return table


def observe(
    model: Model,
    data: Data,
    layers: Sequence[Layer],
    classes: ClassMap,
    *,
    averaged: Sequence[str] = (),
    settings: Settings | None = None,
) -> Observed:
    """Run the model once over labelled data.

    Under `accelerate launch`, each process takes its part of the batches and all get the whole.

    Args:
        model: the model.
        data: the data.
        layers: which representations.
        classes: how the data's labels become classes.
        averaged: layers whose mean is one more, named "mean", and that are not kept by themselves.
        settings: how it runs.

    Raises:
        ResqueError: where a row cannot be read, memory does not do, or no sample is left.
        ValueError: where representations are NaN or infinite.
    """
    settings = settings or Settings()

    def run(batch_size: int) -> Observed:
        bits = WORD_BITS if data.columns.target == "words" else 0
        seen = Observed({}, KeptRows(KEPT_ROWS, bits_within=bits))
        use = replace(settings, batch_size=batch_size)
        for out in forward(model, data, layers, None, True, use, seen.times):
            seen.counts += count(out, classes)
            if not out.vectors:
                continue
            vectors = _with_mean(out.vectors, averaged)
            labels, numbers = _targets(out, data, classes)
            for name, x in vectors.items():
                seen.moments.setdefault(name, Moments()).add(x, labels, out.batch.indices, numbers)
            unread = out.logits is None or model.n_classes is None or numbers is not None
            logits = None if unread or out.logits is None else out.logits.numpy()
            width = sizes(vectors) + (0 if logits is None else logits.shape[1])
            seen.kept.limit = rows_for(width, KEPT_ROWS, KEPT_VALUES)
            kept = labels if numbers is None else numbers.tolist()
            seen.kept.add(out.batch.indices, kept, vectors, logits)
            if logits is not None:
                seen.predicted.update(zip(logits.argmax(axis=1).tolist(), labels, strict=True))
        return seen

    first, *rest = on_all(lambda: fit_memory(run, settings.batch_size))
    for part in rest:
        first += part
    check_any(first.counts, data)
    first.kept.settle()
    return first


def _targets(out: Output, data: Data, classes: ClassMap) -> tuple[list[Label], Floats | None]:
    """Return the classes of a batch; where its labels are numbers, these, and one class for all."""
    labels = [label for label in out.batch.labels if label is not None]
    if data.columns.target == "number":
        return ["number"] * len(labels), np.array(labels, np.float64)
    return [classes.key(label) for label in labels], None


def _with_mean(
    vectors: dict[str, NDArray[np.float32]], averaged: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    if not averaged:
        return vectors
    parts = [vectors[name] for name in averaged]
    if len({part.shape[1] for part in parts}) > 1:
        raise ResqueError(
            "the hidden layers have different dimensions and no mean: "
            + ", ".join(f"{x} {part.shape[1]}" for x, part in zip(averaged, parts, strict=True))
        )
    return {MEAN: np.mean(parts, axis=0, dtype=np.float32)}
