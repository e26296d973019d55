"""How far a shift moves classes into each other: RESQUE_dist, made to go better with the cost.

RESQUE_dist sees how far the classes' mean vectors turn. Retraining is dear where they also come
to lie closer together, or their samples farther apart. Of 37 variants and the sums of two of them,
the turn of centered classes with the loss of their separation is level with the best in epochs and
parameter change on the studies `digits` and `fashion` (benchmarks/estimator_search.py): that is
`scatter_shift`, which besides holds the shares of the classes, so that a label shift alone adds
nothing. `aligned_scatter_shift` is the same without labels. On other studies both are judged by
benchmarks/estimators.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resque.sums import Floats, Ints, Label
from resque.uncertainty import angles

LEAST_SPREAD = 1e-6  # of a feature, over its size: below it, floats of 32 bits tell nothing


def scatter_shift(
    original: NDArray[Any],
    original_labels: Sequence[Label],
    shifted: NDArray[Any],
    shifted_labels: Sequence[Label],
) -> float:
    """RESQUE_dist of centered classes, and the loss of their separation.

    The mean over the classes of the angle between their two means / π, each taken from the center
    of its own side; plus the correlation ratio η² (the share of the variance that lies between the
    classes, Fisher 1925) of the original less that of the shifted data. It is taken over classes
    that both sides have, each with its share of the original data: other shares of the same
    classes are no shift.

    Args:
        original: (N, D) representations.
        original_labels: N classes.
        shifted: (M, D).
        shifted_labels: M classes.

    Returns:
        A number in [−1, 2], 0 without a shift; NaN where the sides share fewer than two classes.
    """
    before, after = _by_class(original, original_labels), _by_class(shifted, shifted_labels)
    shared = [label for label in before if label in after]
    if len(shared) < 2:
        return float("nan")
    counts = np.array([len(before[label]) for label in shared])
    (u, share), (v, left) = (
        _separation([side[label] for label in shared], counts / counts.sum())
        for side in (before, after)
    )
    some = u.any(axis=1) & v.any(axis=1)
    turn = float(angles(u[some], v[some]).mean() / np.pi) if some.any() else 0.0
    return turn + share - left


def aligned_scatter_shift(
    original: NDArray[Any], original_logits: NDArray[Any], shifted: NDArray[Any]
) -> float:
    """What is left of `scatter_shift` where each feature is brought back to its mean and spread.

    Retraining undoes a change of the features' means and spreads fast: batch normalization with
    the shifted data's statistics does it without labels (Li et al., arXiv 1603.04779). So the
    shifted data are aligned first, and the classes are those that the model then predicts;
    predictions on data that are not aligned often collapse into few classes.

    Args:
        original: (N, D) representations, the classifier's input.
        original_logits: (N, K) what the model makes of them.
        shifted: (M, D).

    Returns:
        A number in [−1, 2], 0 where alignment undoes the shift; 1 where the aligned data are
        predicted to be of fewer than two of the classes: all is lost; NaN where the original
        data are, too, or a logit is not finite.
    """
    a, b = np.asarray(original, np.float64), np.asarray(shifted, np.float64)
    logits = np.asarray(original_logits, np.float64)
    predicted = logits.argmax(axis=1)
    if len(np.unique(predicted)) < 2 or not np.isfinite(logits).all():
        return float("nan")
    aligned, anew = align(a, logits, b)
    found = scatter_shift(a, predicted.tolist(), aligned, anew.tolist())
    return 1.0 if np.isnan(found) else found


def _by_class(x: NDArray[Any], labels: Sequence[Label]) -> dict[Label, Floats]:
    """Return the rows of each class."""
    rows: dict[Label, list[int]] = {}
    for i, label in enumerate(labels):
        rows.setdefault(label, []).append(i)
    return {label: np.asarray(x[i], np.float64) for label, i in rows.items()}


def _separation(classes: Sequence[Floats], shares: Floats) -> tuple[Floats, float]:
    """Return (K, D) means of the classes less their center, and η²; 0 without any variance.

    Args:
        classes: K of them, (n, D) rows each.
        shares: (K,) weights of the classes, which add up to 1.

    >>> classes = [np.array([[0.0], [2.0]]), np.array([[10.0], [12.0]])]
    >>> _separation(classes, np.array([0.5, 0.5]))[1]
    0.9615...
    """
    means = np.stack([x.mean(axis=0) for x in classes])
    within = shares @ [
        ((x - mean) ** 2).sum(axis=1).mean() for x, mean in zip(classes, means, strict=True)
    ]
    centered = means - shares @ means
    between = shares @ (centered**2).sum(axis=1)
    whole = between + within
    return centered, float(between / whole) if whole else 0.0


def align(original: Floats, logits: Floats, shifted: Floats) -> tuple[Floats, Ints]:
    """Bring each feature of shifted data back to its mean and spread, and predict classes anew.

    Args:
        original: (N, D) representations, the classifier's input.
        logits: (N, K) what the model makes of them: its head is the linear map that fits best.
        shifted: (M, D).

    Returns:
        (M, D) shifted data whose features have the means and deviations of the original's, and
        (M,) the classes that the head predicts of them.
    """
    mean, spread = shifted.mean(axis=0), shifted.std(axis=0)
    some = spread > LEAST_SPREAD * np.abs(mean)
    scale = np.divide(original.std(axis=0), spread, out=np.zeros_like(spread), where=some)
    aligned = (shifted - mean) * scale + original.mean(axis=0)
    design = np.column_stack([original, np.ones(len(original))])
    weights = np.linalg.lstsq(design, logits, rcond=None)[0]
    return aligned, (aligned @ weights[:-1] + weights[-1]).argmax(axis=1)
