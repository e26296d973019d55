"""How far a shift moves classes into each other: RESQUE_dist, made to go better with the cost.

RESQUE_dist sees how far the classes' mean vectors turn. Retraining is dear where they also come
to lie closer together, or their samples farther apart. Of 34 variants and the sums of two of them,
`scatter_shift` goes best with epochs and parameter change on the studies `digits` and `fashion`,
and `angle_loss` is near the best that needs no labels (benchmarks/estimator_search.py). On other
studies they were judged once: see benchmarks/estimators.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resque.sums import ClassSums, Floats, Label
from resque.uncertainty import angles


def scatter_shift(
    original: NDArray[Any],
    original_labels: Sequence[Label],
    shifted: NDArray[Any],
    shifted_labels: Sequence[Label],
) -> float:
    """RESQUE_dist of centered classes, and the loss of their separation.

    The mean over the classes of the angle between their two means / π, each taken from the mean of
    its own side; plus the correlation ratio η² (the share of the variance that lies between the
    classes, Fisher 1925) of the original less that of the shifted data.

    Args:
        original: (N, D) representations, at least two classes.
        original_labels: N classes.
        shifted: (M, D).
        shifted_labels: M classes.

    Returns:
        A number in [−1, 2], 0 without a shift; NaN where the sides share no class.
    """
    a, b = np.asarray(original, np.float64), np.asarray(shifted, np.float64)
    names, x = class_means(a, original_labels)
    others, y = class_means(b, shifted_labels)
    rows, columns = _shared(names, others)
    if not rows:
        return float("nan")
    u, v = x[rows] - a.mean(axis=0), y[columns] - b.mean(axis=0)
    some = u.any(axis=1) & v.any(axis=1)
    turn = float(angles(u[some], v[some]).mean() / np.pi) if some.any() else 0.0
    return turn + correlation_ratio(a, original_labels) - correlation_ratio(b, shifted_labels)


def angle_loss(
    original: NDArray[Any],
    original_labels: Sequence[Label],
    shifted: NDArray[Any],
    shifted_labels: Sequence[Label],
) -> float:
    """How much of the angle between classes is lost, for labels that the model predicts.

    1 − the mean angle between each two class means of the shifted data over that of the original,
    over classes that both sides have. Where fewer than two are left, all is lost: 1.

    Args:
        original: (N, D) representations.
        original_labels: N classes.
        shifted: (M, D).
        shifted_labels: M classes.

    Returns:
        A number up to 1, 0 without a shift, negative where the classes move apart; NaN where the
        original classes have no angle between them.
    """
    names, x = class_means(np.asarray(original, np.float64), original_labels)
    others, y = class_means(np.asarray(shifted, np.float64), shifted_labels)
    rows, columns = _shared(names, others)
    if len(rows) < 2:
        return 1.0
    before, after = _mean_angle(x[rows]), _mean_angle(y[columns])
    return 1 - after / before if before else float("nan")


def class_means(x: Floats, labels: Sequence[Label]) -> tuple[list[Label], Floats]:
    """Return the classes, in order of their first rows, and (K, D) their mean vectors."""
    sums = ClassSums(n_groups=1)
    sums.add(x, labels, np.zeros(len(x), np.int64))
    return sums.labels, sums.sums[:, 0] / sums.counts


def correlation_ratio(x: Floats, labels: Sequence[Label]) -> float:
    """Return η²: the variance between classes over the whole variance, in [0, 1]; 0 without any.

    >>> correlation_ratio(np.array([[0.0], [2.0], [10.0], [12.0]]), ["a", "a", "b", "b"])
    0.9615...
    """
    names, means = class_means(x, labels)
    at = {name: i for i, name in enumerate(names)}
    whole = ((x - x.mean(axis=0)) ** 2).sum()
    within = ((x - means[[at[y] for y in labels]]) ** 2).sum()
    return float(1 - within / whole) if whole else 0.0


def _shared(names: list[Label], others: list[Label]) -> tuple[list[int], list[int]]:
    """Return the places, on each side, of the classes that both have."""
    at = {name: i for i, name in enumerate(others)}
    pairs = [(i, at[name]) for i, name in enumerate(names) if name in at]
    return [i for i, _ in pairs], [j for _, j in pairs]


def _mean_angle(means: Floats) -> float:
    """Return the mean angle between each two of the rows that are not zero, in rad."""
    some = means[means.any(axis=1)]
    i, j = np.triu_indices(len(some), 1)
    return float(angles(some[i], some[j]).mean()) if len(i) else 0.0
