"""Uneven class frequencies: how many rows of each class stay, and which."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resque.class_priors import SEVERITIES, ClassPrior


def labels_of(n_classes=5, each=200, seed=0):
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(n_classes), each))


@pytest.mark.parametrize("level", SEVERITIES)
def test_frequencies_fall_geometrically(level):
    labels = labels_of()
    counts = np.sort(np.bincount(labels[ClassPrior(level).keep(labels)]))[::-1]
    expected = [200 * (1 - level) ** (k / 4) for k in range(5)]
    assert counts == pytest.approx(expected, abs=0.5)


def test_the_order_of_classes_and_the_rows_come_from_the_seed():
    labels = labels_of()
    kept = [ClassPrior(0.9, seed).keep(labels) for seed in range(20)]
    assert (ClassPrior(0.9, 3).keep(labels) == kept[3]).all()
    rarest = {int(np.argmin(np.bincount(labels[rows]))) for rows in kept}
    assert rarest == set(range(5))
    pairs = [rows for rows in kept if np.argmin(np.bincount(labels[rows])) == 0]
    assert len({tuple(rows[labels[rows] == 0]) for rows in pairs}) == len(pairs) > 1


@given(
    labels=st.lists(st.integers(0, 4), max_size=60),
    low=st.floats(0, 0.99),
    high=st.floats(0, 0.99),
    seed=st.integers(0, 5),
)
def test_rows_of_a_higher_level_are_among_those_of_a_lower(labels, low, high, seed):
    low, high = sorted((low, high))
    more, fewer = (ClassPrior(level, seed).keep(labels) for level in (low, high))
    assert set(fewer) <= set(more) <= set(range(len(labels)))
    assert list(fewer) == sorted(set(fewer))
    assert {labels[i] for i in fewer} == set(labels)  # no class is lost
    assert ClassPrior(0, seed).keep(labels).tolist() == list(range(len(labels)))


def test_other_ids_than_0_to_k_will_do():
    labels = [7, 7, 7, 7, -3, -3, -3, -3]
    kept = ClassPrior(0.75).keep(labels)
    assert sorted(np.unique([labels[i] for i in kept], return_counts=True)[1]) == [1, 4]
    assert (
        len(ClassPrior(0.98).keep([4] * 50)) == 50
    )  # a single class has no other to be rarer than


def test_levels_out_of_range_are_named():
    for level in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to below 1"):
            ClassPrior(level)
    assert str(ClassPrior(0.95)) == "class_prior:0.95"
