"""Draws some of many rows at random, the same ones for the same seed."""

from __future__ import annotations

import numpy as np

from resque.sums import Ints


def draw_rows(n: int, most: int | None, seed: int) -> Ints:
    """Return the positions of at most so many of n rows, drawn without replacement.

    Args:
        n: rows.
        most: how many; None for all.
        seed: of the draw.

    Returns:
        (min(n, most),) positions, ascending.

    >>> draw_rows(4, 9, seed=0)
    array([0, 1, 2, 3])
    """
    if most is None or most >= n:
        return np.arange(n, dtype=np.int64)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
