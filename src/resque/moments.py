"""What a linear model's scores need of many rows: sums and products, filled by batch, that add."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resque.sums import CHUNK_VALUES, ClassSums, Floats, Ints, Label, check_finite


@dataclass(frozen=True)
class Targets:
    """Sums with a number y of each row.

    Attributes:
        total: Σ y.
        square: Σ y².
        cross: (D,) Σ y z.
    """

    total: float
    square: float
    cross: Floats

    def about(self, moved: Floats) -> Targets:
        """Return the same where each z is greater by (D,)."""
        return replace(self, cross=self.cross + self.total * moved)

    def plus(self, other: Targets | None, sign: float = 1.0) -> Targets:
        """Return the sums of both; with a sign of −1, those without the other's rows."""
        if other is None:
            return self
        return Targets(
            self.total + sign * other.total,
            self.square + sign * other.square,
            self.cross + sign * other.cross,
        )


@dataclass
class Moments:
    """Class sums, Gram matrix and the next two powers of rows less a centre, in float64.

    K classes of D dimensions take 8·D·(D + K) bytes, however many rows there are. The centre, the
    first row seen, keeps features that hardly vary about a large mean exact.

    Attributes:
        centre: (D,) what is subtracted from each row; None before the first.
        classes: counts, and sums of z = row − centre, by class.
        gram: (D, D) Σ z zᵀ.
        cubic: (D,) Σ ‖z‖² z.
        quartic: Σ ‖z‖⁴.
        targets: sums with numbers, where rows have such; their label is then all the same.
    """

    centre: Floats | None = None
    classes: ClassSums = field(default_factory=lambda: ClassSums(1))
    gram: Floats = field(default_factory=lambda: np.zeros((0, 0)))
    cubic: Floats = field(default_factory=lambda: np.zeros(0))
    quartic: float = 0.0
    targets: Targets | None = None

    def add(
        self,
        vectors: NDArray[Any],
        labels: Sequence[Label],
        indices: Ints,
        numbers: Floats | None = None,
    ) -> None:
        """Add a batch.

        Args:
            vectors: (N, D) of any float dtype.
            labels: N class labels.
            indices: (N,) rows' indices, which an error names.
            numbers: (N,) targets, where they are no classes.

        Raises:
            ValueError: where a vector is NaN or infinite (naming the rows), or D differs.
        """
        step = max(1, CHUNK_VALUES // max(1, vectors.shape[1]))
        for start in range(0, len(vectors), step):
            part = slice(start, start + step)
            rows = vectors[part].astype(np.float64)
            check_finite(rows, labels[part], indices[part])
            if self.centre is None:
                self.centre, dim = rows[0].copy(), rows.shape[1]
                self.gram, self.cubic = np.zeros((dim, dim)), np.zeros(dim)
            elif rows.shape[1] != len(self.centre):
                raise ValueError(
                    f"vectors have {rows.shape[1]} dimensions, those before {len(self.centre)}"
                )
            rows -= self.centre
            self.classes.add(rows, labels[part], indices[part])
            norms = np.einsum("nd,nd->n", rows, rows)
            self.gram += rows.T @ rows
            self.cubic += norms @ rows
            self.quartic += float(norms @ norms)
            if numbers is not None:
                y = numbers[part]
                found = Targets(float(y.sum()), float(y @ y), y @ rows)
                self.targets = found.plus(self.targets)

    @property
    def n(self) -> int:
        """How many rows."""
        return int(self.classes.counts.sum())

    @property
    def counts(self) -> Floats:
        """(K,) rows of each class that has any."""
        counts = self.classes.counts.sum(axis=1)
        return np.asarray(counts[counts > 0], np.float64)

    @property
    def sums(self) -> Floats:
        """(K, D) sums of z of each class that has rows."""
        return np.asarray(self.classes.sums.sum(axis=1)[self.classes.counts.sum(axis=1) > 0])

    def about(self, centre: Floats) -> Moments:
        """Return the same about another centre (D,)."""
        if self.centre is None:
            return self
        d, n = self.centre - centre, self.n
        total, trace, square = self.sums.sum(axis=0), float(np.trace(self.gram)), float(d @ d)
        gram_d, along = self.gram @ d, float(total @ d)
        counts = self.classes.counts[:, :, None]
        return Moments(
            centre,
            replace(self.classes, sums=self.classes.sums + counts * d),
            self.gram + np.outer(total, d) + np.outer(d, total) + n * np.outer(d, d),
            self.cubic + trace * d + 2 * gram_d + 2 * along * d + square * (total + n * d),
            self.quartic
            + 4 * float(self.cubic @ d + d @ gram_d)
            + 2 * square * (trace + 2 * along)
            + n * square**2,
            self.targets and self.targets.about(d),
        )

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both sets of rows, classes matched by label."""
        if self.centre is None or other.centre is None:
            return other if self.centre is None else self
        other = other.about(self.centre)
        return Moments(
            self.centre,
            self.classes + other.classes,
            self.gram + other.gram,
            self.cubic + other.cubic,
            self.quartic + other.quartic,
            self.targets and self.targets.plus(other.targets),
        )

    def __sub__(self, part: Moments) -> Moments:
        """Return the moments without some of the rows."""
        if self.centre is None or part.centre is None:
            return self
        part = part.about(self.centre)
        less = replace(part.classes, counts=-part.classes.counts, sums=-part.classes.sums)
        negative = Moments(self.centre, less, -part.gram, -part.cubic, -part.quartic)
        return replace(
            self + negative, targets=self.targets and self.targets.plus(part.targets, -1.0)
        )

    def covariance(self) -> tuple[Floats, float]:
        """Return the (D, D) covariance over N, and Σ ‖row − mean‖⁴."""
        mean = self.sums.sum(axis=0) / self.n
        square = float(mean @ mean)
        fourth = (
            self.quartic
            - 4 * float(self.cubic @ mean - mean @ self.gram @ mean)
            + 2 * square * float(np.trace(self.gram))
            - 3 * self.n * square**2
        )
        return self.gram / self.n - np.outer(mean, mean), fourth
