"""A random sample of the rows of a pass, kept whole for scores that sums do not give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resque.sums import Ints, hash_of


@dataclass
class KeptRows:
    """The rows whose indices have the least hashes, at most `limit` of them; two samples add.

    Which rows are kept depends on their indices alone: not on order, batches, processes or model.

    Attributes:
        limit: rows kept at most.
        indices: (n,) the rows' indices; ascending after `settle`.
        labels: n classes, or numbers.
        vectors: (n, D) float32 by layer.
        logits: (n, C) float32, or None.
        bits_within: lowest bits of an index that number what lies within one sample.
    """

    limit: int
    indices: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    labels: list[Any] = field(default_factory=list)
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    logits: NDArray[np.float32] | None = None
    bits_within: int = 0
    _parts: list[KeptRows] = field(default_factory=list, repr=False)

    def add(
        self,
        indices: Ints,
        labels: Sequence[Any],
        vectors: Mapping[str, NDArray[np.float32]],
        logits: NDArray[np.float32] | None,
    ) -> None:
        """Add a batch of n rows: indices, labels, (n, D) vectors by layer, and logits or None."""
        part = KeptRows(self.limit, indices, list(labels), dict(vectors), logits)
        self._parts.append(part)
        if sum(len(x.indices) for x in self._parts) > self.limit:
            self.settle()

    def settle(self) -> None:
        """Put the batches together, in the rows' order, and drop what is over the limit."""
        parts = [x for x in (self, *self._parts) if len(x.indices)]
        if not self._parts or not parts:
            return
        indices = np.concatenate([x.indices for x in parts])
        kept = np.argsort(hash_of(indices), kind="stable")[: self.limit]
        kept = kept[np.argsort(indices[kept], kind="stable")]
        labels = [label for x in parts for label in x.labels]
        self.labels = [labels[i] for i in kept]
        self.vectors = {
            name: np.concatenate([x.vectors[name] for x in parts])[kept]
            for name in parts[0].vectors
        }
        logits = [x.logits for x in parts if x.logits is not None]
        self.logits = np.concatenate(logits)[kept] if len(logits) == len(parts) else None
        self.indices, self._parts = indices[kept], []

    def __add__(self, other: KeptRows) -> KeptRows:
        """Return the sample of both sets of rows."""
        total = KeptRows(self.limit, bits_within=self.bits_within)
        for side in (self, other):
            side.settle()
            total.add(side.indices, side.labels, side.vectors, side.logits)
        total.settle()
        return total


def rows_for(dimension: int, most_rows: int, most_values: int) -> int:
    """Return how many rows to keep of so many values each: `most_rows`, fewer where they are wide.

    >>> rows_for(768, 10_000, 1 << 26)
    10000
    """
    return max(1, min(most_rows, most_values // max(1, dimension)))


def sizes(vectors: Mapping[str, NDArray[Any]]) -> int:
    """Return the sum of the layers' dimensions."""
    return sum(int(x.shape[1]) for x in vectors.values())
