"""Choice and interval of a forecast by leaving families out: closed forms, coverage, ignorance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm, t

from resque.forecast_folds import Folds, effective_number, expected_errors, growth
from resque.forecast_models import Runs, fit_log_linear
from test_forecast_models import NAMES, make_runs


def test_intervals_grow_with_the_distance_to_what_was_seen():
    seen, spread = np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([1.0, 0.5])
    at = np.array([[1.0, 2.0], [2.0, 3.0], [4.0, 2.0], [-3.0, 5.0]])
    assert growth(seen, at, spread) == pytest.approx([1.0, 1.0, 3.0, 1.0 + 5.0])


def test_errors_that_are_alike_within_families_count_once():
    families = np.repeat([0, 1, 2], 4)
    alike = np.repeat([1.0, -1.0, 0.5], 4)
    assert effective_number(alike, families) == pytest.approx(3)
    apart = np.tile([1.0, -1.0, 2.0, -2.0], 3)
    assert effective_number(apart, families) == pytest.approx(12)
    assert effective_number(np.array([1.0, 2.0, 3.0]), np.arange(3)) == 3


@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=20), st.integers(0, 1000), st.floats(0, 1e3)
)
def test_errors_are_worth_from_the_number_of_families_to_their_own(families, seed, common):
    rng = np.random.default_rng(seed)
    errors = common * rng.standard_normal(4)[families] + rng.standard_normal(len(families))
    found = effective_number(errors, np.array(families))
    assert 1 - 1e-9 <= found <= len(families) + 1e-9
    equal = len(set(np.unique(families, return_counts=True)[1])) == 1
    assert not equal or found >= len(set(families)) - 1e-9


def test_without_bounds_the_interval_is_the_widened_quantile_of_absolute_errors():
    runs = make_runs(n=40)
    rng = np.random.default_rng(1)
    predicted, grown = runs.cost + rng.standard_normal(40), 1 + rng.random(40)
    errors = expected_errors(runs, predicted, grown, 0.9)
    sizes = np.sort(np.abs(runs.cost - predicted) / grown)
    effective = effective_number((runs.cost - predicted) / grown, runs.families)
    # (1 + 1/40) × 0.9 × 40 = 36.9: the 37th of 40
    ratio = t.ppf(0.95, effective - 1) / norm.ppf(0.95)
    assert errors.quantile(np.array([0.9]))[0] == pytest.approx(ratio * sizes[36])


def test_a_run_without_its_target_widens_the_interval():
    runs = make_runs(n=40)
    exact = expected_errors(runs, runs.cost - 0.1, np.ones(40), 0.9)
    bounds = replace(runs, side=(np.arange(40) < 10) * 1)
    unknown = expected_errors(bounds, runs.cost - 0.1, np.ones(40), 0.9)
    levels = np.array([0.1, 0.9])
    assert (unknown.quantile(levels) >= exact.quantile(levels)).all()
    assert unknown.quantile(levels)[1] > 1.2 * exact.quantile(levels)[1]
    far_above = expected_errors(bounds, runs.cost + 30.0 * (bounds.side > 0), np.ones(40), 0.9)
    assert np.isfinite(far_above.sizes).all()


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_intervals_cover_unseen_families_whether_or_not_their_runs_are_alike(correlation):
    """Errors about a common mean: families N(0, correlation), runs N(0, 1 − correlation)."""
    rng = np.random.default_rng(7)
    held, families = [], np.repeat(np.arange(5), 8)
    for _ in range(400):
        common = np.sqrt(correlation) * rng.standard_normal(6)
        errors = common[:, None] + np.sqrt(1 - correlation) * rng.standard_normal((6, 8))
        seen, unseen = errors[:5], errors[5]
        means = [np.delete(seen, i, axis=0).mean() for i in range(5)]  # without the family
        runs = Runs(np.zeros((40, 1)), np.zeros((40, 1)), seen.ravel(), 0 * families, families)
        found = expected_errors(runs, np.repeat(means, 8), np.ones(40), 0.9)
        held.append(np.mean(np.abs(unseen - seen.mean()) <= found.quantile(np.array([0.9]))))
    assert 0.88 <= np.mean(held) <= 0.95


def test_nothing_of_a_family_is_known_to_its_own_forecast():
    runs = make_runs(n=40, limit=2.0)
    spread = np.ones(3)
    before = Folds(runs, NAMES, spread, 0.9).forecast_unseen()
    other = runs.families == 2
    cost = np.where(other, 7.0 - 3 * runs.cost, runs.cost)
    changed = replace(runs, cost=cost, side=np.where(other, 0, runs.side))
    after = Folds(changed, NAMES, spread, 0.9).forecast_unseen()
    assert (after.predicted[other] == before.predicted[other]).all()
    assert (after.width[other] == before.width[other]).all()
    assert after.methods[2] == before.methods[2]
    assert (after.width[~other] > before.width[~other]).all()


def test_the_choice_is_the_least_error_on_families_left_out():
    runs = make_runs(n=40)
    folds = Folds(runs, NAMES, np.ones(3), 0.9)
    fitted = folds.fit()
    assert fitted.candidates[fitted.method] == min(fitted.candidates.values())
    predicted = np.empty(40)
    for family in range(4):
        rows = runs.families == family
        model = fit_log_linear(runs.select(~rows))
        predicted[rows] = model(runs.features[rows], runs.controls[rows])
    expected = np.mean(
        [np.abs(runs.cost - predicted)[runs.families == family].mean() for family in range(4)]
    )
    assert fitted.candidates["log-linear"] == pytest.approx(expected)
