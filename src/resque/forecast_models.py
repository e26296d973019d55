"""Small monotone models of the log of a cost: arrays in, functions out.

Every model is a function f with E[log cost] = f(features, controls) that does not fall where a
feature rises. A run that did not reach its target gives a bound of its cost: the log-linear model
takes that into its likelihood, and the others are fitted to what the log-linear model expects of
such a run, given that its cost is above the bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resque.sums import Floats, Ints

Predict = Callable[[Floats, Floats], Floats]

PENALTY = 1.0  # a prior N(0, 1) of the effect, in log units, of a column's standard deviation
LENGTHS = (0.5, 1.0, 2.0)  # length scales of the Gaussian process, in standard deviations
NOISES = (0.1, 0.3)  # its noise, over the variance of its signal
GRID = 64  # points at which it is made monotone


@dataclass(frozen=True, eq=False)
class Runs:
    """What models are fitted to: N runs.

    Attributes:
        features: (N, P) columns that the cost does not fall with.
        controls: (N, C) columns that it may rise or fall with.
        cost: (N,) log cost, or a bound of it.
        side: (N,) 1 where the cost is greater than the bound (the target was not reached), −1
            where it is at most the bound (the target was met before the first step), else 0.
        families: (N,) number of each run's family.
        context: (N, X) columns that no model is fitted to; they tell how far a run is from others.
    """

    features: Floats
    controls: Floats
    cost: Floats
    side: Ints
    families: Ints
    context: Floats | None = None

    @property
    def columns(self) -> Floats:
        """(N, P + C + X) all of them."""
        context = () if self.context is None else (self.context,)
        return np.hstack([self.features, self.controls, *context])

    def select(self, rows: NDArray[np.bool_]) -> Runs:
        """Return the runs where a mask is true."""
        return Runs(
            self.features[rows],
            self.controls[rows],
            self.cost[rows],
            self.side[rows],
            self.families[rows],
            None if self.context is None else self.context[rows],
        )


@dataclass(frozen=True, eq=False)
class LogLinear:
    """The Tobit model: log cost = intercept + features · slopes + controls · effects + noise.

    Attributes:
        intercept: log cost where all columns are 0.
        slopes: (P,) at least 0.
        effects: (C,).
        scale: standard deviation of the normal noise.
    """

    intercept: float
    slopes: Floats
    effects: Floats
    scale: float

    def __call__(self, features: Floats, controls: Floats) -> Floats:
        """Return (N,) log costs."""
        return np.asarray(self.intercept + features @ self.slopes + controls @ self.effects)


def fit_models(runs: Runs, names: Sequence[str]) -> dict[str, Predict]:
    """Fit every candidate.

    Args:
        runs: at least one.
        names: of the P features.

    Returns:
        Functions of (N, P) features and (N, C) controls, by the candidate's name.
    """
    base = fit_log_linear(runs)
    found: dict[str, Predict] = {"log-linear": base}
    target = impute(runs, base)
    found["Gaussian process"] = _fit_gaussian_process(runs, base, target)
    for i, name in enumerate(names):
        found[f"isotonic in {name}"] = _fit_isotonic(runs, base, target, i)
    found["boosted trees"] = _fit_trees(runs, target)
    return found


def fit_log_linear(runs: Runs) -> LogLinear:
    """Fit the Tobit model (Tobin, Econometrica 1958) by penalised maximum likelihood.

    Bounds count with the probability of the costs beyond them. Columns that do not vary have no
    effect.
    """
    from scipy.optimize import minimize

    columns = np.hstack([runs.features, runs.controls])
    mean, deviation = columns.mean(axis=0), columns.std(axis=0)
    deviation = np.where(deviation > 1e-9 * (1 + np.abs(mean)), deviation, np.inf)
    design = np.hstack([np.ones((len(columns), 1)), (columns - mean) / deviation])
    start = np.zeros(design.shape[1] + 1)
    start[0], start[-1] = runs.cost.mean(), np.log(runs.cost.std() + 0.1)
    p, c = runs.features.shape[1], runs.controls.shape[1]
    bounds = [(None, None), *[(0, None)] * p, *[(None, None)] * c, (-5, 5)]
    found = minimize(
        _tobit_loss, start, (design, runs.cost, runs.side), "L-BFGS-B", jac=True, bounds=bounds
    ).x
    slopes = found[1:-1] / deviation
    intercept = float(found[0] - mean @ slopes)
    return LogLinear(intercept, slopes[:p], slopes[p:], float(np.exp(found[-1])))


def _tobit_loss(
    parameters: Floats, design: Floats, cost: Floats, side: Ints
) -> tuple[float, Floats]:
    """Return the penalised negative log-likelihood and its gradient.

    Args:
        parameters: intercept, weights of the standardised columns, log of the noise's deviation.
        design: (N, 1 + P + C).
        cost: (N,) log costs or bounds.
        side: (N,) see `Runs`.
    """
    from scipy.special import log_ndtr

    weights, log_scale = parameters[:-1], parameters[-1]
    scale, exact = np.exp(log_scale), side == 0
    z = (cost - design @ weights) / scale
    beyond = log_ndtr(-side * z)  # log probability of the costs beyond a bound
    by_z = np.where(exact, z, side * _density(z, beyond))
    loss = np.where(exact, z * z / 2 + log_scale, -beyond).sum()
    gradient = np.append(-design.T @ by_z / scale, exact.sum() - by_z @ z)
    gradient[1:-1] += PENALTY * weights[1:]
    return float(loss + PENALTY * (weights[1:] ** 2).sum() / 2), gradient


def _density(z: Floats, log_probability: Floats) -> Floats:
    """Return the standard normal density at z, over a probability."""
    return np.asarray(np.exp(-z * z / 2 - log_probability) / np.sqrt(2 * np.pi))


def impute(runs: Runs, model: LogLinear) -> Floats:
    """Return (N,) log costs: of runs without their target, what a model expects above the bound.

    It is never below the bound. The others keep their cost, and those whose target was met
    before the first step their bound.
    """
    from scipy.special import log_ndtr

    expected = model(runs.features, runs.controls)
    z = (runs.cost - expected) / model.scale
    above = expected + model.scale * _density(z, log_ndtr(-z))
    return np.where(runs.side > 0, np.maximum(above, runs.cost), runs.cost)


def _fit_isotonic(runs: Runs, base: LogLinear, target: Floats, feature: int) -> Predict:
    """Fit a step-wise line in one feature, beside the log-linear model's effects of controls."""
    from sklearn.isotonic import IsotonicRegression

    curve = IsotonicRegression(out_of_bounds="clip")
    curve.fit(runs.features[:, feature], target - runs.controls @ base.effects)

    def predict(features: Floats, controls: Floats) -> Floats:
        return np.asarray(curve.predict(features[:, feature]) + controls @ base.effects)

    return predict


def _fit_gaussian_process(runs: Runs, base: LogLinear, target: Floats) -> Predict:
    """Fit a smooth curve in the log-linear model's sum of features, made monotone.

    Length scale and noise have the greatest marginal likelihood of a few. The curve is replaced
    by the mean of the least monotone curve above it and the greatest below it (Mukarjee & Stern,
    JASA 1994).
    """
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel

    index = runs.features @ base.slopes
    if np.ptp(index) == 0:
        return base
    center, scale = index.mean(), index.std()
    x, y = ((index - center) / scale)[:, None], target - runs.controls @ base.effects
    kernels = [RBF(length) + WhiteKernel(noise) for length in LENGTHS for noise in NOISES]
    models = [GaussianProcessRegressor(k, optimizer=None, normalize_y=True) for k in kernels]
    best = max((m.fit(x, y) for m in models), key=lambda m: m.log_marginal_likelihood_value_)
    grid = np.linspace(x.min(), x.max(), GRID)
    curve = best.predict(grid[:, None])
    above, below = np.maximum.accumulate(curve), np.minimum.accumulate(curve[::-1])[::-1]
    curve = (above + below) / 2

    def predict(features: Floats, controls: Floats) -> Floats:
        at = (features @ base.slopes - center) / scale
        return np.asarray(np.interp(at, grid, curve) + controls @ base.effects)

    return predict


def _fit_trees(runs: Runs, target: Floats) -> Predict:
    """Fit boosted trees that are monotone in the features."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    rising, free = runs.features.shape[1], runs.controls.shape[1]
    model = HistGradientBoostingRegressor(
        max_iter=20,
        learning_rate=0.25,
        max_leaf_nodes=4,
        min_samples_leaf=5,
        l2_regularization=1.0,
        monotonic_cst=[1] * rising + [0] * free,
        early_stopping=False,
        random_state=0,
    )
    model.fit(np.hstack([runs.features, runs.controls]), target)

    def predict(features: Floats, controls: Floats) -> Floats:
        return np.asarray(model.predict(np.hstack([features, controls])))

    return predict


def shortfall(runs: Runs, predicted: Floats) -> Floats:
    """Return (N,) absolute errors of log costs; of a run with a bound, how far it is violated.

    Args:
        runs: N of them.
        predicted: (N,) log costs.
    """
    error = runs.cost - predicted
    return np.where(runs.side == 0, np.abs(error), np.maximum(runs.side * error, 0))


def family_mean(values: Floats, families: Ints) -> float:
    """Return the mean over families of the mean over their runs."""
    return float(np.mean([values[families == family].mean() for family in np.unique(families)]))


def best_of(errors: Mapping[str, float]) -> str:
    """Return the name with the least error; the first of equals."""
    return min(errors, key=errors.__getitem__)
