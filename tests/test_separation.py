"""Scores of how far a shift moves classes into each other, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resque.separation import angle_loss, correlation_ratio, scatter_shift

RNG = np.random.default_rng(0)
LABELS = [0, 1, 2, 1, 0, 2, 2, 1, 0, 0]


def draw(seed: int = 0, n: int = 10) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)) + 3 * np.eye(4)[[*LABELS, *LABELS][:n]]


def angle(u, v):
    return np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))


def mean_of(x, k):
    return np.mean([row for row, y in zip(x, LABELS, strict=True) if y == k], axis=0)


def ratio(x):
    between = sum(LABELS.count(k) * ((mean_of(x, k) - x.mean(0)) ** 2).sum() for k in (0, 1, 2))
    return between / ((x - x.mean(0)) ** 2).sum()


def test_both_equal_their_definitions_written_plainly():
    x, y = draw(1), draw(2)
    turns = [angle(mean_of(x, k) - x.mean(0), mean_of(y, k) - y.mean(0)) / np.pi for k in (0, 1, 2)]
    expected = np.mean(turns) + ratio(x) - ratio(y)
    assert scatter_shift(x, LABELS, y, LABELS) == pytest.approx(expected, abs=1e-12)
    pairs = [(0, 1), (0, 2), (1, 2)]
    before, after = (
        np.mean([angle(mean_of(z, i), mean_of(z, j)) for i, j in pairs]) for z in (x, y)
    )
    assert angle_loss(x, LABELS, y, LABELS) == pytest.approx(1 - after / before, abs=1e-12)
    assert correlation_ratio(x, LABELS) == pytest.approx(ratio(x), abs=1e-12)


@given(st.integers(0, 1000), st.floats(0.1, 10), st.permutations(range(10)))
def test_order_and_scale_change_nothing_and_no_shift_gives_zero(seed, scale, order):
    x, y, order = draw(seed), draw(seed + 1), list(order)
    for score in (scatter_shift, angle_loss):
        plain = score(x, LABELS, y, LABELS)
        turned = score(scale * x, LABELS, scale * y[order], [LABELS[i] for i in order])
        assert turned == pytest.approx(plain, abs=1e-9)
        assert score(x, LABELS, x[order], [LABELS[i] for i in order]) == pytest.approx(0, abs=1e-7)


def test_classes_that_move_together_cost_more():
    x = draw(3)
    nearer = x - 0.8 * np.array([mean_of(x, k) - x.mean(0) for k in LABELS])
    for score in (scatter_shift, angle_loss):
        assert score(x, LABELS, nearer, LABELS) > 0.1


def test_classes_that_one_side_lacks_and_predictions_that_collapse():
    x, y = draw(4), draw(5)
    assert angle_loss(x, LABELS, y, [0] * 10) == 1.0
    assert np.isnan(scatter_shift(x, LABELS, y, ["other"] * 10))
    kept = [i for i, k in enumerate(LABELS) if k != 2]
    two = [LABELS[i] for i in kept]
    without = angle_loss(x[kept], two, y[kept], two)
    assert angle_loss(x, LABELS, y[kept], two) == pytest.approx(without)
    same = np.ones((10, 4))
    assert np.isnan(angle_loss(same, LABELS, y, LABELS))
    assert scatter_shift(same, LABELS, same, LABELS) == 0
