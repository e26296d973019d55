"""Per-class sums of representations over random groups: what an index and its error need."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Label = int | str
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHUNK_VALUES = 1 << 22  # values converted to float64 at a time: 32 MiB


def hash_of(indices: Ints) -> NDArray[np.uint64]:
    """Return a pseudo-random number for each of (N,) row indices (splitmix64, Steele et al. 2014).

    It depends on the row's index alone, never on batch size, order or process.

    >>> hash_of(np.arange(2))
    array([16294208416658607535, 10451216379200822465], dtype=uint64)
    """
    with np.errstate(over="ignore"):
        z = np.asarray(indices).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), np.uint64)


def group_of(indices: Ints, n_groups: int) -> Ints:
    """Assign rows to random groups by `hash_of` their index.

    Args:
        indices: (N,) row indices, at least 0.
        n_groups: number of groups.

    Returns:
        (N,) groups in [0, n_groups).

    >>> group_of(np.arange(5), 4)
    array([3, 1, 2, 1, 2])
    """
    return np.asarray(hash_of(indices) % np.uint64(n_groups), np.int64)


def clip(vectors: NDArray[Any], norm: float) -> Floats:
    """Shorten the rows that are longer than a norm to it.

    Args:
        vectors: (N, D) of any float dtype.
        norm: Euclidean norm, above 0.

    >>> clip(np.array([[3.0, 4.0], [0.3, 0.4]]), 1.0)
    array([[0.6, 0.8],
           [0.3, 0.4]])
    """
    rows: Floats = vectors.astype(np.float64)
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows * (norm / np.maximum(sizes, norm)), np.float64)


@dataclass
class ClassSums:
    """Counts and sum vectors for each class and group, filled by batch; two of them add.

    Attributes:
        n_groups: number of random groups that each class is split into.
        labels: the classes seen, in order of their first appearance.
        counts: (K, G) int64 samples per class and group.
        sums: (K, G, D) float64 sums of the samples' vectors.
    """

    n_groups: int
    labels: list[Label] = field(default_factory=list)
    counts: Ints = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    sums: Floats = field(default_factory=lambda: np.zeros((0, 0, 0)))

    def add(self, vectors: NDArray[Any], labels: Sequence[Label], indices: Ints) -> None:
        """Add a batch.

        Args:
            vectors: (N, D) of any float dtype.
            labels: N class labels.
            indices: (N,) rows' indices in their data set, which decide the groups.

        Raises:
            ValueError: where a vector is NaN or infinite (naming the rows), or D differs.
        """
        if len(vectors) == 0:
            return
        rows = self._rows_of(labels, vectors.shape[1])
        keys = rows * self.n_groups + group_of(indices, self.n_groups)
        flat = self.sums.reshape(-1, self.sums.shape[2])
        step = max(1, CHUNK_VALUES // max(1, vectors.shape[1]))
        for start in range(0, len(vectors), step):
            part = slice(start, start + step)
            chunk = vectors[part].astype(np.float64)
            check_finite(chunk, labels[part], indices[part])
            _add_rows(flat, keys[part], chunk)
        np.add.at(self.counts.reshape(-1), keys, 1)

    def _rows_of(self, labels: Sequence[Label], dim: int) -> Ints:
        """Return each label's row, growing the arrays for labels not seen before."""
        if self.labels and dim != self.sums.shape[2]:
            raise ValueError(f"vectors have {dim} dimensions, those before {self.sums.shape[2]}")
        known = {label: row for row, label in enumerate(self.labels)}
        new = [label for label in dict.fromkeys(labels) if label not in known]
        if new:
            self.counts = np.concatenate(
                [
                    self.counts.reshape(len(known), self.n_groups),
                    np.zeros((len(new), self.n_groups), np.int64),
                ]
            )
            self.sums = np.concatenate(
                [
                    self.sums.reshape(len(known), self.n_groups, dim),
                    np.zeros((len(new), self.n_groups, dim)),
                ]
            )
            known |= {label: len(known) + i for i, label in enumerate(new)}
            self.labels = list(known)
        return np.fromiter((known[label] for label in labels), np.int64, len(labels))

    def __add__(self, other: ClassSums) -> ClassSums:
        """Return the sums over both sets of rows, classes matched by label."""
        if self.n_groups != other.n_groups:
            raise ValueError(f"cannot add sums over {self.n_groups} and {other.n_groups} groups")
        if not self.labels or not other.labels:
            return other if not self.labels else self
        if self.sums.shape[2] != other.sums.shape[2]:
            raise ValueError(
                f"cannot add sums of {self.sums.shape[2]} and {other.sums.shape[2]} dimensions"
            )
        labels = list(dict.fromkeys([*self.labels, *other.labels]))
        total = ClassSums(self.n_groups, labels)
        total.counts = np.zeros((len(labels), self.n_groups), np.int64)
        total.sums = np.zeros((len(labels), self.n_groups, self.sums.shape[2]))
        for part in (self, other):
            rows = [labels.index(label) for label in part.labels]
            total.counts[rows] += part.counts
            total.sums[rows] += part.sums
        return total

    def select(self, labels: Iterable[Label]) -> tuple[Ints, Floats]:
        """Return counts (K, G) and sums (K, G, D) of these classes, in this order."""
        at = {label: row for row, label in enumerate(self.labels)}
        rows = [at[label] for label in labels]
        return self.counts[rows], self.sums[rows]

    @property
    def class_counts(self) -> dict[Label, int]:
        """Samples per class."""
        totals = self.counts.sum(axis=1)
        return {label: int(n) for label, n in zip(self.labels, totals, strict=True)}


def _add_rows(total: Floats, keys: Ints, rows: Floats) -> None:
    """Add each row to total[key], several rows a key, by sorting: no row is added twice."""
    order = np.argsort(keys, kind="stable")
    present, starts = np.unique(keys[order], return_index=True)
    total[present] += np.add.reduceat(rows[order], starts, axis=0)


def check_finite(rows: Floats, labels: Sequence[Hashable], indices: Ints) -> None:
    """Raise ValueError, naming rows and classes, where (N, D) rows are NaN or infinite."""
    if np.isfinite(rows.sum()):
        return
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if not len(bad):
        return
    first = ", ".join(str(indices[i]) for i in bad[:5]) + (", …" if len(bad) > 5 else "")
    classes = ", ".join(repr(c) for c in dict.fromkeys(labels[i] for i in bad[:1000]))
    raise ValueError(
        f"{len(bad)} row(s) have NaN or infinite values (rows {first}; class {classes}). "
        "Remove them; if the model ran in float16, run it in float32 (--dtype float32)."
    )
