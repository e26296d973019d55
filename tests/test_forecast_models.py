"""The models of a forecast: against their likelihood, closed forms, and what must never fall."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad
from scipy.stats import norm, truncnorm

from resque.forecast_models import (
    LogLinear,
    Runs,
    _tobit_loss,
    best_of,
    family_mean,
    fit_log_linear,
    fit_models,
    impute,
    shortfall,
)

NAMES = ("a", "b")


def make_runs(seed=0, n=60, families=4, slope=(2.0, 1.0), noise=0.2, limit=np.inf, floor=-np.inf):
    """Runs by a log-linear law of two features and one control, cut at a limit and a floor."""
    rng = np.random.default_rng(seed)
    features, controls = rng.random((n, 2)), rng.random((n, 1))
    cost = features @ slope - 0.5 * controls[:, 0] + noise * rng.standard_normal(n)
    side = np.where(cost > limit, 1, np.where(cost < floor, -1, 0))
    return Runs(features, controls, np.clip(cost, floor, limit), side, np.arange(n) % families)


@pytest.mark.parametrize(("limit", "floor"), [(np.inf, -np.inf), (1.5, -np.inf), (2.0, 0.8)])
def test_the_log_linear_model_has_the_greatest_penalised_likelihood(limit, floor):
    runs = make_runs(limit=limit, floor=floor)
    model = fit_log_linear(runs)
    columns = np.hstack([runs.features, runs.controls])

    def loss(intercept, weights, scale):
        mean = intercept + columns @ weights
        logs = {
            0: norm.logpdf(runs.cost, mean, scale),
            1: norm.logsf(runs.cost, mean, scale),
            -1: norm.logcdf(runs.cost, mean, scale),
        }
        likelihood = sum(logs[side][runs.side == side].sum() for side in logs)
        return ((weights * columns.std(axis=0)) ** 2).sum() / 2 - likelihood

    best = model.intercept, np.append(model.slopes, model.effects), model.scale
    least = loss(*best)
    rng = np.random.default_rng(0)
    for size in (0.3, 0.03, 0.003):
        for _ in range(50):
            step = size * rng.standard_normal(5)
            weights = np.append(np.maximum(best[1][:2] + step[1:3], 0), best[1][2] + step[3])
            assert loss(best[0] + step[0], weights, best[2] * np.exp(step[4])) > least - 1e-6


def test_the_gradient_is_that_of_the_loss():
    runs = make_runs(limit=2.0, floor=0.8)
    assert set(runs.side) == {-1, 0, 1}
    design = np.hstack([np.ones((60, 1)), runs.features, runs.controls])
    at = np.array([0.1, 1.0, 0.5, -0.2, -0.7])

    def part(i):
        return lambda at: _tobit_loss(at, design, runs.cost, runs.side)[i]

    error = check_grad(part(0), part(1), at)
    assert error < 1e-4 * np.abs(part(1)(at)).max()


def test_bounds_do_not_flatten_the_log_linear_model():
    runs = make_runs(n=400, limit=1.5)
    assert 0.3 < (runs.side > 0).mean() < 0.6
    assert fit_log_linear(runs).slopes == pytest.approx([2.0, 1.0], abs=0.2)
    as_if_exact = replace(runs, side=0 * runs.side)
    assert fit_log_linear(as_if_exact).slopes[0] < 1.5


def test_what_a_run_without_its_target_took_is_the_mean_above_its_bound():
    runs = make_runs(limit=1.2)
    model = LogLinear(0.2, np.array([1.0, 1.0]), np.array([0.0]), 0.4)
    mean = model(runs.features, runs.controls)
    for cost, side, found, expected in zip(
        runs.cost, runs.side, impute(runs, model), mean, strict=True
    ):
        if side > 0:
            low = (cost - expected) / 0.4
            assert found == pytest.approx(truncnorm.mean(low, np.inf, expected, 0.4), rel=1e-6)
        else:
            assert found == cost


numbers = st.floats(-3, 3, allow_subnormal=False)


@given(st.integers(0, 10_000), st.integers(0, 1), numbers, numbers, st.sampled_from([0.8, 9.0]))
@settings(max_examples=15)
def test_no_model_falls_with_a_feature(seed, feature, other, control, limit):
    rng = np.random.default_rng(seed)
    runs = make_runs(seed, n=30, slope=rng.normal(size=2), noise=0.5, limit=limit)
    at = np.full((50, 2), other)
    at[:, feature] = np.linspace(-3, 3, 50)
    for name, model in fit_models(runs, NAMES).items():
        assert np.diff(model(at, np.full((50, 1), control))).min() >= -1e-9, name


def test_the_models_differ_in_what_they_can_follow():
    runs = make_runs(n=120, slope=(0.0, 0.0), noise=0.05)
    step = 3.0 * (runs.features[:, 0] > 0.5)
    runs = replace(runs, cost=runs.cost + step)
    error = {
        name: np.mean(np.abs(model(runs.features, runs.controls) - runs.cost))
        for name, model in fit_models(runs, NAMES).items()
    }
    assert best_of(error) in ("isotonic in a", "boosted trees")
    assert error["isotonic in a"] < 0.1 < error["log-linear"]
    assert error["Gaussian process"] < error["log-linear"]


def test_columns_that_do_not_vary_have_no_effect():
    runs = make_runs()
    features = np.hstack([runs.features, np.full((60, 1), 0.1)])
    still = replace(runs, features=features)
    for name, model in fit_models(still, (*NAMES, "still")).items():
        moved = still.features + np.array([0, 0, 5])
        assert model(moved, runs.controls) == pytest.approx(model(still.features, runs.controls)), (
            name
        )


@pytest.mark.parametrize(
    ("side", "predicted", "expected"),
    [(0, 3.0, 1.0), (0, 1.0, 1.0), (1, 1.0, 1.0), (1, 3.0, 0.0), (-1, 3.0, 1.0), (-1, 1.0, 0.0)],
)
def test_a_bound_is_wrong_only_where_it_is_violated(side, predicted, expected):
    one = np.ones((1, 1))
    runs = Runs(one, one, np.array([2.0]), np.array([side]), np.array([0]))
    assert shortfall(runs, np.array([predicted])) == [expected]


def test_every_family_counts_alike():
    assert family_mean(np.array([1.0, 1.0, 1.0, 5.0]), np.array([0, 0, 0, 1])) == 3.0
