"""Leave-one-family-out: which model forecasts unseen families best, and how far it is off.

The prediction interval is conformal, grouped by family: its half-width, in log units, is a
quantile of the errors that the chosen model makes on families that it was not fitted to, divided
there and multiplied here by `growth`. Errors of one family are alike, so that they tell less than
as many independent ones: the quantile is widened by Student's t over the normal, with the degrees
of freedom of the effective number of errors (Kish's design effect). Costs above the ledger's limit
of epochs are extrapolated, and intervals hold less often there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resque.forecast_models import (
    Predict,
    Runs,
    best_of,
    family_mean,
    fit_models,
    shortfall,
)
from resque.sums import Floats, Ints

POINTS = 9  # equally likely errors that stand for the unknown one of a run without its target


@dataclass(frozen=True, eq=False)
class Errors:
    """The errors that are to be expected on an unseen family, in units of growth.

    Attributes:
        sizes: (M,) absolute errors of log costs, ascending.
        weights: (M,) their probabilities; each family has the same.
        widening: what sizes are multiplied by.
        effective: how many independent errors they are worth.
    """

    sizes: Floats
    weights: Floats
    widening: float
    effective: float

    def quantile(self, probabilities: Floats) -> Floats:
        """Return absolute errors that are not exceeded with these probabilities, widened."""
        at = np.searchsorted(np.cumsum(self.weights), probabilities - 1e-12)
        return self.widening * self.sizes[np.minimum(at, len(self.sizes) - 1)]


@dataclass(frozen=True, eq=False)
class Fitted:
    """The model that forecasts unseen families best.

    Attributes:
        method: its name.
        candidates: leave-one-family-out error of each, the mean over families of the mean
            absolute error of log costs.
        model: log costs from features and controls.
        errors: on unseen families.
        seen: (N, P + C + X) columns of the runs that it was fitted to.
        spread: (P + C + X,) units of distance to these.
    """

    method: str
    candidates: dict[str, float]
    model: Predict
    errors: Errors
    seen: Floats
    spread: Floats

    def growth(self, columns: Floats) -> Floats:
        """Return (N,) factors of the interval's half-width, see `growth`."""
        return growth(self.seen, columns, self.spread)


@dataclass(frozen=True, eq=False)
class Unseen:
    """Forecasts of N runs, each from the other families.

    Attributes:
        predicted: (N,) log costs.
        width: (N,) half-widths of their intervals.
        methods: model that was chosen, by number of the family that it was chosen without.
    """

    predicted: Floats
    width: Floats
    methods: dict[int, str]


def growth(seen: Floats, columns: Floats, spread: Floats) -> Floats:
    """Return how much wider an interval is outside of what was seen: 1 within its ranges.

    Args:
        seen: (N, D).
        columns: (M, D).
        spread: (D,) the unit of each column.

    Returns:
        (M,) 1 + the Euclidean distance to the box of what was seen.

    >>> growth(np.array([[0.0], [1.0]]), np.array([[0.5], [3.0]]), np.array([2.0])).tolist()
    [1.0, 2.0]
    """
    beyond = np.maximum(seen.min(axis=0) - columns, columns - seen.max(axis=0))
    return np.asarray(1 + np.linalg.norm(np.maximum(beyond, 0) / spread, axis=1))


class Folds:
    """Models that were fitted without some of the families; each is fitted once."""

    def __init__(self, runs: Runs, names: Sequence[str], spread: Floats, level: float) -> None:
        """Fit nothing yet.

        Args:
            runs: of two families at least.
            names: (P,) of the features.
            spread: (P + C + X,) unit of each column.
            level: of prediction intervals, in (0, 1).
        """
        self.runs, self.names, self.spread, self.level = runs, names, spread, level
        self.families = frozenset(runs.families.tolist())
        self._models: dict[frozenset[int], dict[str, Predict]] = {}

    def models(self, without: frozenset[int]) -> dict[str, Predict]:
        """Return the candidates, fitted to all families but these."""
        if without not in self._models:
            self._models[without] = fit_models(self._rest(without), self.names)
        return self._models[without]

    def fit(self, without: frozenset[int] = frozenset()) -> Fitted:
        """Choose, fit and judge a model by leave-one-family-out, as if some families were not.

        Args:
            without: families that nothing is taken from; two others remain at least.
        """
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        with threadpool_limits(1):  # one thread is the fastest for so few runs
            return self._fit(without)

    def _fit(self, without: frozenset[int]) -> Fitted:
        rest = self._rest(without)
        predicted: dict[str, Floats] = {name: rest.cost.copy() for name in self.models(without)}
        grown = np.ones(len(rest.cost))
        for family in sorted(self.families - without):
            fold, rows = without | {family}, rest.families == family
            held, kept = rest.select(rows), rest.select(~rows)
            for name, model in self.models(fold).items():
                predicted[name][rows] = model(held.features, held.controls)
            grown[rows] = growth(kept.columns, held.columns, self.spread)
        errors = {k: family_mean(shortfall(rest, v), rest.families) for k, v in predicted.items()}
        method = best_of(errors)
        judged = expected_errors(rest, predicted[method], grown, self.level)
        model = self.models(without)[method]
        return Fitted(method, errors, model, judged, rest.columns, self.spread)

    def forecast_unseen(self) -> Unseen:
        """Forecast every run with a model whose choice, fit and errors know not of its family."""
        predicted, width = np.empty((2, len(self.runs.cost)))
        methods = {}
        for family in sorted(self.families):
            fitted = self.fit(frozenset({family}))
            rows = self.runs.families == family
            held = self.runs.select(rows)
            predicted[rows] = fitted.model(held.features, held.controls)
            grown = fitted.growth(held.columns)
            width[rows] = grown * fitted.errors.quantile(np.array([self.level]))
            methods[family] = fitted.method
        return Unseen(predicted, width, methods)

    def _rest(self, without: frozenset[int]) -> Runs:
        return self.runs.select(~np.isin(self.runs.families, list(without)))


def expected_errors(runs: Runs, predicted: Floats, grown: Floats, level: float) -> Errors:
    """Return the errors to expect, from predictions of families that the model had not seen.

    Args:
        runs: N of them.
        predicted: (N,) their log costs.
        grown: (N,) growth of each.
        level: at which the quantile is conformal: (1 + 1/N) × level of the errors.
    """
    from scipy.stats import norm, t

    floor = np.where(runs.side < 0, runs.cost, -np.inf)  # no cost is below it
    error = (runs.cost - np.maximum(predicted, floor)) / grown
    numbers, counts = np.unique(runs.families, return_counts=True)
    weights = 1 / (len(numbers) * counts[np.searchsorted(numbers, runs.families)])
    likely = _fill_in(error, runs.side > 0, weights)
    effective = effective_number(likely.mean(axis=1), runs.families)
    sizes, weights = np.abs(likely).ravel(), np.repeat(weights / POINTS, POINTS)
    order = np.argsort(sizes, kind="stable")
    plain = Errors(sizes[order], weights[order], 1.0, effective)
    ratio = t.ppf((1 + level) / 2, max(effective - 1, 1)) / norm.ppf((1 + level) / 2)
    usual, conformal = plain.quantile(np.array([level, level * (1 + 1 / len(error))]))
    widening = float(ratio * (conformal / usual if usual > 0 else 1.0))
    return Errors(plain.sizes, plain.weights, widening, effective)


def _fill_in(error: Floats, bound: NDArray[np.bool_], weights: Floats) -> Floats:
    """Return (N, POINTS) equally likely errors: where only a bound is known, normal ones above it.

    The deviation is that of all errors (expectation and maximisation in turn).
    """
    from scipy.special import log_ndtr, ndtri_exp

    likely = np.repeat(error[:, None], POINTS, axis=1)
    upper = (np.arange(POINTS) + 0.5) / POINTS
    for _ in range(20 if bound.any() else 0):
        deviation = np.sqrt(weights @ (likely**2).mean(axis=1)) + 1e-9
        tail = log_ndtr(-error[bound, None] / deviation) + np.log(upper)
        likely[bound] = np.maximum(-deviation * ndtri_exp(tail), error[bound, None])
    return likely


def effective_number(errors: Floats, families: Ints) -> float:
    """Return how many independent errors are worth as much as these, each family counting alike.

    That is Kish's effective sample size, with the correlation of errors of one family by
    analysis of variance about 0: their common mean is part of the error.

    Args:
        errors: (N,).
        families: (N,) number of each error's family.

    Returns:
        From the number of families (errors of a family are equal) to that of errors.

    >>> effective_number(np.array([1.0, 1.0, -1.0, -1.0]), np.array([0, 0, 1, 1]))
    2.0
    """
    numbers, counts = np.unique(families, return_counts=True)
    means = np.array([errors[families == number].mean() for number in numbers])
    k, n = len(numbers), len(errors)
    if n == k:
        return float(k)
    within = np.sum((errors - means[np.searchsorted(numbers, families)]) ** 2) / (n - k)
    between = np.sum(counts * means**2) / k
    total = between + (n / k - 1) * within
    alike = min(max((between - within) / total, 0.0), 1.0) if total > 0 else 0.0
    return float(k**2 / np.sum((1 + (counts - 1) * alike) / counts))
