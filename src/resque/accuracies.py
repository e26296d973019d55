"""Accuracy, loss and confidence of logits, and accuracies foreseen without labels.

Arrays are numpy, torch or nested lists. Every function raises TypeError where they do not hold
real numbers, and UsageError, naming the array, where shapes do not fit, rows are too few, values
are NaN or infinite, or an option is out of range.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from resque.distances import two_sides
from resque.errors import UsageError
from resque.sums import Floats, Ints
from resque.transfer_scores import as_rows


def _log_softmax(logits: Any, name: str) -> Floats:
    from scipy.special import log_softmax

    return np.asarray(log_softmax(as_rows(logits, name), axis=1))


def _check_targets(targets: Any, shape: tuple[int, ...], name: str) -> Ints:
    """Return (N,) class ids of logits (N, C)."""
    ids = np.asarray(targets)
    if ids.shape != shape[:1] or ids.dtype.kind not in "iu":
        raise UsageError(
            f"{name} has shape {ids.shape} of {ids.dtype}; expected {shape[:1]} class ids (ints)"
        )
    if ids.min() < 0 or ids.max() >= shape[1]:
        raise UsageError(
            f"{name} has class ids from {ids.min()} to {ids.max()}; expected 0 to {shape[1] - 1}, "
            f"the {shape[1]} columns of the logits"
        )
    return ids.astype(np.int64)


def accuracy(logits: Any, targets: Any) -> float:
    """Share of rows whose greatest logit is that of their target, in [0, 1].

    Args:
        logits: (N, C).
        targets: (N,) class ids 0 … C−1.

    >>> accuracy([[2.0, 1.0], [0.0, 1.0]], [0, 0])
    0.5
    """
    rows = as_rows(logits, "logits")
    return float(np.mean(rows.argmax(axis=1) == _check_targets(targets, rows.shape, "targets")))


def cross_entropy(logits: Any, targets: Any) -> float:
    """Mean −log softmax of the target, in nats; arguments as for `accuracy`."""
    log_p = _log_softmax(logits, "logits")
    ids = _check_targets(targets, log_p.shape, "targets")
    return float(np.mean(-log_p[np.arange(len(ids)), ids]))


def mean_entropy(logits: Any) -> float:
    """Mean entropy of the softmax of logits (N, C), in nats, from 0 to log C.

    >>> round(mean_entropy([[0.0, 0.0]]), 3)  # log(2)
    0.693
    """
    return float(-np.mean(_confidence(logits, "logits", "entropy")))


def mean_confidence(logits: Any) -> float:
    """Mean of the greatest softmax probability of logits (N, C), from 1/C to 1.

    >>> mean_confidence([[0.0, 0.0]])
    0.5
    """
    return float(np.mean(_confidence(logits, "logits", "confidence")))


def _confidence(logits: Any, name: str, score: str) -> Floats:
    """Return each row's greatest probability, or its negative entropy in nats."""
    log_p = _log_softmax(logits, name)
    if score == "entropy":
        return np.asarray((np.exp(log_p) * log_p).sum(axis=1))
    return np.asarray(np.exp(log_p.max(axis=1)))


def atc(
    original_logits: Any,
    original_targets: Any,
    shifted_logits: Any,
    score: Literal["confidence", "entropy"] = "confidence",
) -> float:
    """Average Thresholded Confidence: accuracy on the shifted data, foreseen without its labels.

    Garg et al. (ICLR 2022, arXiv 2201.04234): the share of shifted rows whose score is at least
    the threshold that leaves as many original rows under it as are wrong. Of the thresholds that
    do so, the greatest is taken: a score of the original data.

    Args:
        original_logits: (N, C).
        original_targets: (N,) class ids 0 … C−1.
        shifted_logits: (M, C).
        score: "confidence" (the greatest probability) or "entropy" (its negative).

    Returns:
        An accuracy in [0, 1].
    """
    if score not in ("confidence", "entropy"):
        raise UsageError(f"score is {score!r}; expected 'confidence' or 'entropy'")
    x, y = two_sides(original_logits, shifted_logits, ("original_logits", "shifted_logits"))
    wrong = x.argmax(axis=1) != _check_targets(original_targets, x.shape, "original_targets")
    if wrong.all():
        return 0.0
    threshold = np.sort(_confidence(x, "original_logits", score))[np.count_nonzero(wrong)]
    return float(np.mean(_confidence(y, "shifted_logits", score) >= threshold))


def doc(original_logits: Any, original_targets: Any, shifted_logits: Any) -> float:
    """Difference of Confidences: accuracy on the shifted data, foreseen without its labels.

    Guillory et al. (ICCV 2021, arXiv 2107.03315): the original accuracy less the fall of the mean
    confidence, clipped to [0, 1]. Arguments as for `atc`.
    """
    x, y = two_sides(original_logits, shifted_logits, ("original_logits", "shifted_logits"))
    fall = mean_confidence(x) - mean_confidence(y)
    return min(max(accuracy(x, original_targets) - fall, 0.0), 1.0)
