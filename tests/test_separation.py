"""Scores of how far a shift moves classes into each other, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resque.separation import aligned_scatter_shift, scatter_shift

LABELS = [0, 1, 2, 1, 0, 2, 2, 1, 0, 0]
HEAD = np.random.default_rng(9).normal(size=(4, 3)) + 3 * np.eye(4)[:, :3]


def draw(seed: int = 0, n: int = 10) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)) + 3 * np.eye(4)[(LABELS * (n // 10 + 1))[:n]]


def angle(u, v):
    return np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))


def mean_of(x, k):
    return np.mean([row for row, y in zip(x, LABELS, strict=True) if y == k], axis=0)


def ratio(x):
    between = sum(LABELS.count(k) * ((mean_of(x, k) - x.mean(0)) ** 2).sum() for k in (0, 1, 2))
    return between / ((x - x.mean(0)) ** 2).sum()


def test_it_equals_its_definition_written_plainly():
    x, y = draw(1), draw(2)
    turns = [angle(mean_of(x, k) - x.mean(0), mean_of(y, k) - y.mean(0)) / np.pi for k in (0, 1, 2)]
    expected = np.mean(turns) + ratio(x) - ratio(y)
    assert scatter_shift(x, LABELS, y, LABELS) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 1000), st.floats(0.1, 10), st.permutations(range(10)))
def test_order_and_scale_change_nothing_and_no_shift_gives_zero(seed, scale, order):
    x, y, order = draw(seed), draw(seed + 1), list(order)
    plain = scatter_shift(x, LABELS, y, LABELS)
    turned = scatter_shift(scale * x, LABELS, scale * y[order], [LABELS[i] for i in order])
    assert turned == pytest.approx(plain, abs=1e-9)
    same = scatter_shift(x, LABELS, x[order], [LABELS[i] for i in order])
    assert same == pytest.approx(0, abs=1e-7)


@given(st.integers(0, 1000), st.tuples(*[st.integers(1, 6)] * 3))
def test_other_shares_of_the_same_classes_are_no_shift(seed, often):
    x, y = draw(seed), draw(seed + 1)
    rows = [i for i, k in enumerate(LABELS) for _ in range(often[k])]
    labels = [LABELS[i] for i in rows]
    assert scatter_shift(x, LABELS, x[rows], labels) == pytest.approx(0, abs=1e-7)
    plain = scatter_shift(x, LABELS, y, LABELS)
    assert scatter_shift(x, LABELS, y[rows], labels) == pytest.approx(plain, abs=1e-9)


def test_classes_that_move_together_cost_more():
    x = draw(3)
    nearer = x - 0.8 * np.array([mean_of(x, k) - x.mean(0) for k in LABELS])
    assert scatter_shift(x, LABELS, nearer, LABELS) > 0.1


def test_classes_that_one_side_lacks_are_left_out():
    x, y = draw(4), draw(5)
    kept = [i for i, k in enumerate(LABELS) if k != 2]
    two = [LABELS[i] for i in kept]
    without = scatter_shift(x[kept], two, y[kept], two)
    assert scatter_shift(x, LABELS, y[kept], two) == pytest.approx(without)
    assert np.isnan(scatter_shift(x, LABELS, y, ["other"] * 10))
    assert np.isnan(scatter_shift(x, LABELS, y, [0] * 10))
    assert scatter_shift(np.ones((10, 4)), LABELS, np.ones((10, 4)), LABELS) == 0


@given(
    st.integers(0, 1000),
    st.lists(st.floats(0.1, 10), min_size=4, max_size=4),
    st.lists(st.floats(-100, 100), min_size=4, max_size=4),
)
def test_alignment_undoes_other_means_and_spreads_of_features(seed, scales, moves):
    x = draw(seed, 40)
    found = aligned_scatter_shift(x, x @ HEAD + 1, x * scales + moves)
    assert found == pytest.approx(0, abs=1e-7)


def test_what_alignment_cannot_undo_is_told_as_with_the_labels():
    x = draw(6, 400)
    logits = x @ HEAD
    noise = np.random.default_rng(1).normal(size=x.shape)
    found = [aligned_scatter_shift(x, logits, x + level * noise) for level in (0, 0.5, 1, 2)]
    assert np.all(np.diff(found) > 0)
    assert found[-1] > 0.2
    aligned = (x + noise) / (x + noise).std(axis=0) * x.std(axis=0)
    aligned += x.mean(axis=0) - aligned.mean(axis=0)
    with_labels = scatter_shift(
        x, logits.argmax(axis=1).tolist(), aligned, (aligned @ HEAD).argmax(axis=1).tolist()
    )
    assert found[2] == pytest.approx(with_labels, abs=1e-9)


def test_shifts_that_leave_nothing_and_models_that_tell_nothing():
    x = draw(7, 40)
    logits = x @ HEAD
    assert aligned_scatter_shift(x, logits, np.full((40, 4), 0.1, np.float32)) == 1
    assert np.isnan(aligned_scatter_shift(x, logits[:, :1], x))
    assert np.isnan(aligned_scatter_shift(x, np.where(logits > 3, np.inf, logits), x))
