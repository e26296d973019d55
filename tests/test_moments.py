"""Moments and kept rows: filled by batch, merged and split, they give what whole arrays give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resque.kept_rows import KeptRows
from resque.moments import Moments
from resque.transfer_scores import (
    h_score,
    h_score_of_moments,
    leep,
    logme,
    logme_of_moments,
    nce,
    nce_of_counts,
)
from test_transfer_scores import plain_h_score, plain_leep, samples

seeds = st.integers(0, 2**32 - 1)


def moments_of(x, y, rows=None, batch=7):
    rows = np.arange(len(y)) if rows is None else rows
    found = Moments()
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        found.add(x[part], [int(label) for label in y[part]], part)
    return found


def same(found, wanted):
    assert found.n == wanted.n
    moved = found.about(wanted.centre)
    order = [moved.classes.labels.index(label) for label in wanted.classes.labels]
    assert moved.classes.sums[order] == pytest.approx(wanted.classes.sums, rel=1e-9, abs=1e-9)
    assert moved.gram == pytest.approx(wanted.gram, rel=1e-9, abs=1e-9)
    assert moved.cubic == pytest.approx(wanted.cubic, rel=1e-9, abs=1e-8)
    assert moved.quartic == pytest.approx(wanted.quartic, rel=1e-9, abs=1e-8)


@given(seeds, st.sampled_from([(40, 6, 3), (12, 30, 3), (90, 5, 77)]), st.floats(-100, 100))
@settings(max_examples=20)
def test_scores_of_moments_are_those_of_the_arrays(seed, shape, offset):
    x, y = samples(seed, *shape)
    found = moments_of(x + offset, y)
    assert h_score_of_moments(found) == pytest.approx(plain_h_score(x, y), rel=1e-6, abs=1e-9)
    assert logme_of_moments(found) == pytest.approx(logme(x + offset, y), abs=1e-6)


@given(seeds)
@settings(max_examples=15)
def test_moments_add_and_subtract(seed):
    x, y = samples(seed, 60, 5)
    rows = np.random.default_rng(seed).permutation(60)
    whole = moments_of(x, y)
    parts = moments_of(x, y, rows[:20]), moments_of(x, y, rows[20:])
    same(parts[0] + parts[1], whole)
    same(Moments() + whole, whole)
    same(whole - parts[0], parts[1])
    left = whole - parts[0]
    assert logme_of_moments(left) == pytest.approx(logme(x[rows[20:]], y[rows[20:]]), abs=1e-9)
    assert h_score_of_moments(left) == pytest.approx(h_score(x[rows[20:]], y[rows[20:]]), rel=1e-9)


def test_a_class_that_is_taken_away_whole_no_longer_counts():
    x, y = samples(0, 60, 5)
    kept = y != 2
    left = moments_of(x, y) - moments_of(x, y, np.flatnonzero(~kept))
    assert len(left.counts) == 2
    assert logme_of_moments(left) == pytest.approx(logme(x[kept], y[kept]), abs=1e-9)


ODD = {
    "one class": lambda x, y: (x, 0 * y),
    "classes of one sample": lambda x, y: (x, np.arange(len(y))),
    "constant features": lambda x, y: (np.full_like(x, 0.1), y),
    "some constant features": lambda x, y: (np.hstack([x, np.full((len(y), 4), 3.3)]), y),
    "rows that are repeated": lambda x, y: (np.repeat(x[:5], 8, axis=0), y),
    "a large mean": lambda x, y: (x + 1e4, y),
    "one dimension": lambda x, y: (x[:, :1], y),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_rows(kind):
    x, y = ODD[kind](*samples(3))
    found = moments_of(x, y)
    assert h_score_of_moments(found) == pytest.approx(h_score(x, y), rel=1e-6, abs=1e-9)
    assert logme_of_moments(found) == pytest.approx(logme(x, y), abs=1e-6)
    if kind in ("one class", "constant features"):
        assert h_score_of_moments(found) == 0


def test_rows_that_cannot_be_are_named():
    x, y = samples(0)
    x[11, 2] = np.nan
    with pytest.raises(ValueError, match=r"1 row\(s\) have NaN.*rows 11"):
        moments_of(x, y)
    found = moments_of(*samples(0))
    with pytest.raises(ValueError, match="3 dimensions, those before 6"):
        found.add(np.ones((1, 3)), [0], np.array([0]))
    one = moments_of(*samples(0, n=1, classes=1))
    with pytest.raises(ValueError, match="2 rows at least; there are 1"):
        h_score_of_moments(one)
    with pytest.raises(ValueError, match="there are no rows"):
        logme_of_moments(Moments())


def test_nce_and_leep_are_their_papers_definitions():
    """Tran et al. 2019, eq. 4; Nguyen et al. 2020, eq. 2: sums over classes, in full."""
    rng = np.random.default_rng(0)
    z, y = rng.integers(0, 4, 200), rng.integers(0, 3, 200)
    table = np.zeros((4, 3))
    np.add.at(table, (z, y), 1)
    joint = table / 200
    entropy = -sum(
        joint[i, j] * np.log(joint[i, j] / joint[i].sum()) for i in range(4) for j in range(3)
    )
    assert nce_of_counts(table) == pytest.approx(-entropy, rel=1e-12)
    assert nce(z, y) == pytest.approx(-entropy, rel=1e-12)
    theta = rng.dirichlet(np.ones(4), 200)
    assert leep(theta, y) == pytest.approx(plain_leep(theta, y), rel=1e-12)


@given(seeds, st.integers(1, 60))
@settings(max_examples=20)
def test_which_rows_are_kept_depends_on_their_indices_alone(seed, limit):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(50, 3)).astype(np.float32)

    def kept(order, cuts):
        sides = []
        for part in np.array_split(order, cuts):
            side = KeptRows(limit)
            for batch in np.array_split(part, 4):
                side.add(batch, [f"c{i % 3}" for i in batch], {"a": x[batch]}, x[batch, :2])
            sides.append(side)
        total = KeptRows(limit)
        for side in sides:
            total = total + side
        return total

    one, other = kept(np.arange(50), 1), kept(rng.permutation(50), 3)
    assert len(one.indices) == min(limit, 50)
    assert list(one.indices) == list(other.indices) == sorted(one.indices)
    assert one.labels == other.labels == [f"c{i % 3}" for i in one.indices]
    assert (one.vectors["a"] == x[one.indices]).all()
    assert (other.vectors["a"] == x[one.indices]).all()
    assert (other.logits == x[one.indices, :2]).all()
