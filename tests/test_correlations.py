"""Correlations: against scipy, plain loops over pairs, and a truth that is known."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from resque.correlations import (
    Observations,
    compare,
    correlate,
    holm,
    mean_of_others,
    resample,
    scores,
    spearman,
)
from resque.errors import UsageError


def observe(cost, censored=None, clusters=None):
    cost = np.asarray(cost, float)
    censored = np.zeros(len(cost), bool) if censored is None else np.asarray(censored, bool)
    clusters = np.arange(len(cost)) if clusters is None else np.asarray(clusters)
    return Observations(cost, censored, clusters)


def found(x, observed, resamples=100):
    return correlate(np.asarray(x, float), resample(observed, resamples, seed=0))


def study(rng, shifts, seeds=3, noise=1.0):
    """A predictor and a cost that share a shift's size; the seeds of a shift are alike."""
    clusters = np.repeat(np.arange(shifts), seeds)
    size = rng.normal(size=shifts)
    cost = (size + noise * rng.normal(size=shifts))[clusters] + 0.5 * rng.normal(size=len(clusters))
    return size[clusters] + 0.1 * rng.normal(size=len(clusters)), observe(cost, clusters=clusters)


small = st.integers(0, 6).map(float)  # ties are common
runs = st.lists(st.tuples(small, small, st.booleans()), min_size=5, max_size=30)


@settings(max_examples=40)
@given(runs)
def test_without_censoring_the_coefficients_are_those_of_scipy(rows):
    x, y, _ = map(np.array, zip(*rows, strict=True))
    result = found(x, observe(y))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert result.spearman is result.pearson is result.kendall is None
        assert "the same in every run" in result.undefined
        return
    assert result.pearson.value == pytest.approx(stats.pearsonr(x, y)[0])
    assert result.spearman.value == pytest.approx(stats.spearmanr(x, y)[0])
    assert result.kendall.value == pytest.approx(stats.kendalltau(x, y)[0])


def harrell(x, y, censored):
    """Harrell's C as it is defined: over the pairs whose shorter time was observed."""
    agreeing = comparable = 0.0
    for i, j in product(range(len(x)), repeat=2):
        if censored[i] or not (y[i] < y[j] or (y[i] == y[j] and censored[j])):
            continue  # j surely cost more than i only where i was observed, and first
        comparable += 1
        agreeing += 1.0 if x[j] > x[i] else 0.5 if x[j] == x[i] else 0.0
    return agreeing / comparable if comparable else None


@settings(max_examples=40)
@given(runs)
def test_concordance_is_harrells(rows):
    x, y, censored = map(np.array, zip(*rows, strict=True))
    result, expected = found(x, observe(y, censored)), harrell(x, y, censored)
    if np.ptp(x) and expected is not None:
        assert result.concordance.value == pytest.approx(expected)
    else:
        assert result.concordance is None


@settings(max_examples=40)
@given(runs, st.integers(1, 6))
def test_runs_censored_at_one_limit_tie_for_the_greatest_rank(rows, limit):
    x, y, _ = map(np.array, zip(*rows, strict=True))
    censored = y > limit
    result = found(x, observe(np.minimum(y, limit), censored))
    ranked = np.where(censored, 99.0, y)
    if np.ptp(x) and np.ptp(ranked):
        assert result.spearman.value == pytest.approx(stats.spearmanr(x, ranked)[0])
        assert result.kendall.value == pytest.approx(stats.kendalltau(x, ranked)[0])
        assert result.censored == censored.sum()


def test_censored_run_says_nothing_about_dearer_ones():
    # The run that ended at 2 may have cost less or more than 3 and 4: a tie with both.
    y = observe([1.0, 2.0, 3.0, 4.0], [False, True, False, False])
    assert scores(y).tolist() == [-3.0, 1.0, 0.0, 2.0]
    assert scores(observe([5.0, 1.0, 3.0])).tolist() == [2.0, -2.0, 0.0]


def test_pearson_leaves_censored_runs_out():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30))
    censored = np.arange(30) < 6
    result = found(x, observe(np.where(censored, 1e6, y), censored))
    assert result.pearson.value == pytest.approx(stats.pearsonr(x[6:], y[6:])[0])
    assert (result.runs, result.censored) == (30, 6)


def test_row_of_counts_stands_for_the_runs_drawn():
    x, y = study(np.random.default_rng(0), 12)
    over = resample(y, 100, seed=1)
    rhos = spearman(x, y, over.counts)
    for counts, rho in zip(over.counts[:20], rhos, strict=False):
        times = counts[y.clusters].astype(int)
        drawn = stats.spearmanr(np.repeat(x, times), np.repeat(y.cost, times))[0]
        assert rho == pytest.approx(drawn)
    assert over.counts[0].tolist() == [1.0] * 12  # the data themselves
    assert set(over.counts.sum(axis=1)) == {12.0}


def test_interval_is_that_of_resampling_plainly():
    x, y = study(np.random.default_rng(3), 20)
    rng, drawn = np.random.default_rng(4), []
    for _ in range(1000):
        rows = np.concatenate([np.flatnonzero(y.clusters == c) for c in rng.integers(20, size=20)])
        drawn.append(stats.spearmanr(x[rows], y.cost[rows])[0])
    z = np.arctanh(stats.spearmanr(x, y.cost)[0])
    half = stats.t.ppf(0.975, 18) * np.std(np.arctanh(drawn))
    result = found(x, y, resamples=1000)
    assert result.spearman.interval == pytest.approx(np.tanh([z - half, z + half]), abs=0.02)


def test_repeating_every_run_as_another_seed_narrows_nothing():
    x, y = study(np.random.default_rng(0), 15)
    twice = observe(np.tile(y.cost, 2), clusters=np.tile(y.clusters, 2))
    once, more = found(x, y), found(np.tile(x, 2), twice)
    for kind in ("pearson", "spearman", "kendall", "concordance"):
        a, b = getattr(once, kind), getattr(more, kind)
        assert b.interval == pytest.approx(a.interval)
        assert b.value == pytest.approx(a.value)
    # Taken for independent, the same rows would seem to say more.
    alone = found(np.tile(x, 2), observe(twice.cost))
    assert np.ptp(alone.spearman.interval) < 0.6 * np.ptp(more.spearman.interval)


def test_interval_covers_the_truth():
    truth_x, truth_y = study(np.random.default_rng(0), 100_000, seeds=1)
    truth = stats.spearmanr(truth_x, truth_y.cost)[0]
    rng, hits, alone = np.random.default_rng(1), 0, 0
    for _ in range(150):
        x, y = study(rng, 25)
        low, high = found(x, y, resamples=200).spearman.interval
        hits += low <= truth <= high
        low, high = found(x, observe(y.cost), resamples=200).spearman.interval
        alone += low <= truth <= high
    assert 0.92 <= hits / 150 <= 0.99
    assert alone / 150 < 0.85  # runs of one shift are not independent


def test_difference_is_of_the_two_correlations_over_the_runs_with_both():
    rng = np.random.default_rng(0)
    x, y = study(rng, 20, noise=0.3)
    rival = np.where(np.arange(60) < 9, np.nan, x + 4 * rng.normal(size=60))
    both = np.isfinite(rival)
    over = resample(y, 500, seed=0)
    difference = compare(x, rival, over)
    expected = [stats.spearmanr(z[both], y.cost[both])[0] for z in (x, rival)]
    assert difference.value == pytest.approx(expected[0] - expected[1])
    assert difference.interval[0] > 0
    assert difference.p < 0.05
    assert compare(x, -x, over).p == pytest.approx(2 / 501)  # no resample on the other side
    assert (difference.runs, difference.clusters) == (51, 17)


def test_difference_from_itself_is_nothing():
    x, y = study(np.random.default_rng(0), 10)
    difference = compare(x, 3 * x + 1, resample(y, 100, seed=0))
    assert (difference.value, difference.interval, difference.p) == (0.0, (0.0, 0.0), 1.0)
    assert compare(x, np.ones(30), resample(y, 100, seed=0)) is None


def test_difference_of_equals_is_seldom_called_one():
    rng, called = np.random.default_rng(0), 0
    for _ in range(100):
        _, y = study(rng, 15)
        size = (y.cost.reshape(15, 3).mean(axis=1) + 2 * rng.normal(size=(2, 15)))[:, y.clusters]
        called += compare(*size, resample(y, 200, seed=0)).p < 0.05
    assert called <= 10


@pytest.mark.parametrize(
    ("x", "observed", "why"),
    [
        ([1, 1, 1, 1], observe([1, 2, 3, 4]), "the predictor is the same in every run"),
        ([1, 2, 3, 4], observe([2, 2, 2, 2]), "the cost is the same in every run"),
        ([1, 2, 3, 4], observe([1, 2, 3, 4], [True] * 4), "no run reached its target"),
        ([1, 2, 3, 4], observe([1, 2, 3, 4], clusters=[0, 0, 1, 1]), "2, and 3 are needed"),
        ([np.nan] * 4, observe([1, 2, 3, 4]), "too few shifts: 0"),
        ([], observe([]), "too few shifts: 0"),
    ],
)
def test_undefined_correlation_says_why(x, observed, why):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = found(x, observed)
    assert why in result.undefined
    assert (result.pearson, result.spearman, result.kendall, result.concordance) == (None,) * 4


def test_few_clusters_give_a_value_and_no_interval():
    x, y = study(np.random.default_rng(0), 4)
    result = found(x, y)
    assert result.spearman.value == pytest.approx(stats.spearmanr(x, y.cost)[0])
    assert result.spearman.interval is None
    assert compare(x, -x, resample(y, 100, seed=0)).p is None


def test_interval_needs_most_resamples():
    # Nine in ten costs are equal: in a third of the resamples all are, and ρ is undefined.
    result = found(np.arange(10), observe([0] * 9 + [1]))
    assert result.spearman.value == pytest.approx(stats.spearmanr(range(10), [0] * 9 + [1])[0])
    assert result.spearman.interval is None


def test_too_few_resamples_are_refused():
    with pytest.raises(UsageError, match="take 100 or more"):
        resample(observe([1, 2, 3]), 99, seed=0)


def test_same_seed_gives_the_same_interval():
    x, y = study(np.random.default_rng(0), 10)
    assert found(x, y) == found(x, y)


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_its_definition(p_values):
    corrected = holm(p_values)
    n = len(p_values)
    order = sorted(range(n), key=lambda i: p_values[i])
    for place, i in enumerate(order):
        steps = [(n - k) * p_values[order[k]] for k in range(place + 1)]
        assert corrected[i] == min(1.0, max(steps))


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5)), min_size=1, max_size=20))
def test_mean_of_others(rows):
    groups, values = map(np.array, zip(*rows, strict=True))
    means = mean_of_others(values.astype(float), groups)
    for i, mean in enumerate(means):
        others = [v for j, v in enumerate(values) if groups[j] == groups[i] and j != i]
        if others:
            assert mean == pytest.approx(np.mean(others), abs=1e-9)
        else:
            assert np.isnan(mean)
