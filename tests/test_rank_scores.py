"""The scores of a ranking with their errors, against plain leave-outs and on odd rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from resque.clustering import contingency
from resque.kept_rows import KeptRows
from resque.moments import Moments
from resque.rank_scores import MEAN_RANK, PARTS, SCORES, difference, score_layer
from resque.sums import group_of
from resque.transfer_scores import h_score, knn_accuracy, leep, logme, nce
from test_transfer_scores import samples


def scores_of(x, y, logits=None, limit=10_000, wanted=tuple(SCORES), **options):
    x = x.astype(np.float32)
    indices, labels = np.arange(len(y)), [int(label) for label in y]
    moments, kept = Moments(), KeptRows(limit)
    moments.add(x, labels, indices)
    kept.add(indices, labels, {"layer": x}, logits)
    kept.settle()
    table = None if logits is None else contingency(logits.argmax(axis=1), np.asarray(y))
    return score_layer(moments, kept, "layer", table, wanted, **options)


def with_logits(seed=0, n=120, dim=6, classes=3, apart=1.0):
    x, y = samples(seed, n, dim, classes, apart)
    return x, y, np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)


def test_values_and_replicates_are_plain_leave_outs():
    x, y, logits = with_logits()
    found, notes = scores_of(x, y, logits)
    assert set(found) == set(SCORES) - {MEAN_RANK}
    assert not notes
    x = x.astype(np.float32)
    whole = {
        "logme": logme(x, y), "hscore": h_score(x, y), "knn": knn_accuracy(x, y),
        "leep": leep(softmax(logits.astype(float), axis=1), y), "nce": nce(logits.argmax(1), y),
    }  # fmt: skip
    for name, value in whole.items():
        assert found[name].value == pytest.approx(value, abs=1e-9)
    groups = group_of(np.arange(len(y)), PARTS)
    for name, score in (("logme", logme), ("hscore", h_score)):
        parts = np.array([score(x[groups != g], y[groups != g]) for g in range(PARTS)])
        spread = np.array(found[name].replicates) - found[name].value
        assert spread == pytest.approx(parts - parts.mean(), abs=1e-9)
    z = logits.argmax(axis=1)
    parts = [nce(z[groups != g], y[groups != g]) for g in range(PARTS)]
    assert found["nce"].replicates == pytest.approx(parts, abs=1e-12)


def test_intervals_hold_what_other_rows_give():
    """Of 60 draws of 150 rows from one source, about 95 % hold the mean of all draws."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 4))
    draws = []
    for _ in range(60):
        y = rng.integers(0, 3, 150)
        x = rng.normal(size=(150, 4)) + centres[y]
        draws.append(scores_of(x, y, wanted=["hscore"])[0]["hscore"])
    mean = np.mean([x.value for x in draws])
    held = sum(x.interval[0] <= mean <= x.interval[1] for x in draws)
    assert held >= 50


def test_the_error_of_many_rows_is_smaller_than_that_of_those_kept():
    x, y, _ = with_logits(n=1600)
    every = scores_of(x, y, wanted=["hscore"])[0]["hscore"]
    some = scores_of(x, y, limit=400, wanted=["hscore"])[0]["hscore"]
    assert some.value == pytest.approx(every.value, rel=1e-9)
    ratio = np.ptp(some.interval) / np.ptp(every.interval)
    assert 0.4 < ratio < 2.5  # both are the error of 1,600 rows


def test_the_error_of_a_difference_is_paired():
    x, y, _ = with_logits(n=400)
    a, b = (scores_of(x + shift, y, wanted=["knn"])[0]["knn"] for shift in (0.0, 1e-3))
    gap, half = difference(a, b)
    assert abs(gap) < 0.02
    assert half < np.ptp(a.interval) / 2
    few = scores_of(x[:20], y[:20], wanted=["knn"])[0]["knn"]
    assert few.interval is None
    assert np.isnan(difference(a, few)[1])


ODD = {
    "one class": lambda x, y: (x, 0 * y),
    "classes of one sample": lambda x, y: (x, np.arange(len(y))),
    "constant features": lambda x, y: (np.full_like(x, 0.1), y),
    "fewer rows than dimensions": lambda x, y: (np.hstack([x] * 40), y),
    "rows that are repeated": lambda x, y: (np.repeat(x[:6], 20, axis=0), y),
    "77 classes": lambda x, y: (x, np.arange(len(y)) % 77),
    "two rows": lambda x, y: (x[:2], y[:2]),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("init", ["centroids", "k-means++"])
def test_odd_rows_have_finite_scores(kind, init):
    x, y, logits = with_logits()
    x, y = ODD[kind](x, y)
    found, _ = scores_of(x, y, logits[: len(y)], init=init)
    assert set(found) == set(SCORES) - {MEAN_RANK}
    for estimate in found.values():
        assert np.isfinite([estimate.value, *estimate.replicates]).all()
    assert 0 <= found["knn"].value <= 1
    assert -1e-12 <= found["resque_task"].value <= 1.5
    assert found["leep"].value <= 1e-12
    if kind == "one class":
        assert [found[x].value for x in ("hscore", "nce", "knn")] == [0, 0, 1]
        assert found["leep"].value == pytest.approx(0, abs=1e-12)


def test_too_few_rows_for_the_class_means_are_told():
    x, y, _ = with_logits(n=60)
    _, notes = scores_of(np.hstack([x] * 30), y)
    assert "take 135, or init='k-means++'" in notes[0]
    _, notes = scores_of(np.hstack([x] * 30), y, init="k-means++")
    assert not notes
