"""When a retraining run stops, and where between two evaluations it met its target: arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from resque.errors import UsageError


@dataclass(frozen=True)
class Patience:
    """Stop near the target once accuracy has not risen for a while.

    Attributes:
        difference: how far below the target the best accuracy may be, in [0, 1].
        epochs: how long the best accuracy must have stood, in epochs.
    """

    difference: float
    epochs: float

    def __post_init__(self) -> None:
        if not 0 <= self.difference <= 1 or not 0 <= self.epochs < math.inf:
            raise UsageError(
                f"patience {self.difference:g}:{self.epochs:g} is out of range; expected an "
                "accuracy difference from 0 to 1 and epochs from 0 up"
            )

    def __str__(self) -> str:
        return f"{self.difference:g}:{self.epochs:g}"


def parse_patience(text: str) -> Patience:
    """Read `DIFFERENCE:EPOCHS`.

    Raises:
        UsageError: where it is not of that form.

    >>> parse_patience("0.02:3")
    Patience(difference=0.02, epochs=3.0)
    """
    difference, _, epochs = text.partition(":")
    try:
        return Patience(float(difference), float(epochs))
    except ValueError as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"patience {text!r} is not DIFFERENCE:EPOCHS, as in 0.02:3 (stop when the best "
            "accuracy is within 0.02 of the target and has stood for 3 epochs)"
        ) from None


def parse_target(text: str) -> tuple[str, float]:
    """Read `accuracy:A`, or `recovery:R`: a share of the accuracy on the original data.

    Raises:
        UsageError: where it is not of that form, or the share is not above 0 and at most 1.

    >>> parse_target("recovery:0.95")
    ('recovery', 0.95)
    """
    kind, _, number = text.partition(":")
    try:
        share = float(number)
    except ValueError:
        share = math.nan
    if kind not in ("accuracy", "recovery") or not 0 < share <= 1:
        raise UsageError(
            f"target {text!r} is not accuracy:A or recovery:R, as in recovery:0.95 (a share above "
            "0, at most 1)"
        )
    return kind, share


def wanted_accuracy(target: str, original: float | None) -> float | None:
    """Return the accuracy that a target means, or None where it rests on one that is not known.

    Args:
        target: see `parse_target`.
        original: accuracy on the original data, where known.
    """
    kind, share = parse_target(target)
    if kind == "accuracy":
        return share
    return share * original if original else None


def best(history: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return (epoch, accuracy) of the first evaluation with the highest accuracy."""
    return max(history, key=lambda point: point[1])


def stopping_rule(
    history: Sequence[tuple[float, float]],
    target: float | None,
    patience: Sequence[Patience] = (),
) -> str | None:
    """Return the rule that ends a run after its last evaluation, or None to go on.

    The rules are those of the official code (`PASS`, `PASS_1`, `PASS_2`), asked in its order:
    the target is met; else each patience in turn, where the best accuracy is near enough to the
    target and has stood long enough.

    Args:
        history: (epoch, accuracy) of each evaluation, in order.
        target: accuracy to reach, or None.
        patience: the patience rules; none by default.

    >>> stopping_rule([(1, 0.5), (2, 0.91)], 0.9)
    'target'
    >>> stopping_rule([(1, 0.89), (2, 0.5), (3, 0.5)], 0.9, [Patience(0.02, 2)])
    'patience_1'
    """
    if target is None:
        return None
    epoch, accuracy = history[-1]
    if accuracy >= target:
        return "target"
    since, highest = best(history)
    for number, rule in enumerate(patience, start=1):
        if target - highest <= rule.difference and epoch - since >= rule.epochs:
            return f"patience_{number}"
    return None


def crossing(before: tuple[float, float], after: tuple[float, float], target: float) -> float:
    """Return where a line through two evaluations meets the target accuracy.

    Args:
        before: (position, accuracy) of the last evaluation under the target.
        after: (position, accuracy) of the first one that meets it.
        target: the accuracy.

    >>> crossing((10, 0.8), (20, 0.9), 0.85)
    15.0
    """
    (start, low), (stop, high) = before, after
    share = (target - low) / (high - low)
    return start + min(max(share, 0.0), 1.0) * (stop - start)
