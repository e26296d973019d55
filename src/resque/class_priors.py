"""A shift of the labels: rows are left out so that some classes become rare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resque.errors import UsageError
from resque.sums import Ints

SEVERITIES = (0.5, 0.8, 0.9, 0.95, 0.98)  # ours: the rarest class 2 to 50 times rarer


@dataclass(frozen=True)
class ClassPrior:
    """Uneven class frequencies, as in long-tailed data (Cui et al., CVPR 2019, arXiv 1901.05555).

    The classes are put in a random order, and the share of rows that is kept falls geometrically
    along it, from 1 to 1 − `level`. Where all classes were equally frequent, the most frequent is
    then 1 / (1 − level) times as frequent as the rarest.

    Attributes:
        level: strength in [0, 1); 0 keeps every row.
        seed: of the classes' order and of the rows drawn.

    Raises:
        ValueError: where the level is not in that range.
    """

    level: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.level < 1:
            raise UsageError(
                f"the level of class_prior is {self.level}; expected a number from 0 to below 1 "
                "(share of the rows that the rarest class loses)"
            )

    def __str__(self) -> str:
        return f"class_prior:{self.level:.12g}"

    def keep(self, labels: Sequence[int] | NDArray[np.integer[Any]]) -> Ints:
        """Return the positions of the rows to keep, ascending.

        A class keeps at least one row. With the same seed, the rows that a higher level keeps
        are among those that a lower level keeps.

        Args:
            labels: (N,) class ids.

        Returns:
            (n,) positions, n at most N.

        >>> ClassPrior(0.5).keep([0, 0, 0, 0, 1, 1, 1, 1]).tolist()
        [0, 1, 2, 3, 6, 7]
        """
        rng = np.random.default_rng(np.random.SeedSequence(self.seed))
        classes, ids = np.unique(np.asarray(labels), return_inverse=True)
        order = rng.permutation(len(classes))
        kept: list[Ints] = [np.zeros(0, np.int64)]
        for place, k in enumerate(order):
            share = (1 - self.level) ** (place / max(len(classes) - 1, 1))
            rows = rng.permutation(np.flatnonzero(ids == k))
            kept.append(rows[: max(1, round(share * len(rows)))])
        return np.sort(np.concatenate(kept))
