"""Scores of a shift against their definitions written plainly, closed forms and properties."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.linalg import sqrtm

from resque.accuracies import accuracy, atc, cross_entropy, doc, mean_confidence, mean_entropy
from resque.baselines import BASELINES, Representations, compare
from resque.distances import arm, energy_distance, frechet_distance, linear_cka, mmd
from resque.transfer_scores import h_score, knn_accuracy, leep, logme

seeds = st.integers(0, 2**32 - 1)
DISTANCES = [frechet_distance, mmd, energy_distance]
TWO_SIDED = [*DISTANCES, linear_cka]


def samples(seed, n=12, m=15, dim=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)), 0.5 + 1.3 * rng.normal(size=(m, dim))


def turned(seed, *arrays):
    dim = arrays[0].shape[1]
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))[0]
    return [x @ turn + 3 for x in arrays]


def outputs(seed, n=50, classes=4, sharp=2.0):
    rng = np.random.default_rng(seed)
    logits = sharp * rng.normal(size=(n, classes))
    return logits, np.where(rng.random(n) < 0.7, logits.argmax(axis=1), rng.integers(classes))


# Distances


@given(seeds, st.sampled_from([(12, 15), (10, 10)]))
@settings(max_examples=20)
def test_arm_is_the_mean_wasserstein_distance(seed, sizes):
    x, y = samples(seed, *sizes)
    a, b = samples(seed + 1, *sizes, dim=2)
    plain = [stats.wasserstein_distance(p.ravel(), q.ravel()) for p, q in ((x, y), (a, b))]
    value = arm({"last": x, "first": a}, {"first": b, "last": y})
    assert value == pytest.approx(np.mean(plain), rel=1e-12)
    assert arm({"last": x}, {"last": x + 2.5}) == pytest.approx(2.5)
    assert arm({"last": x}, {"last": x[::-1, ::-1]}) == 0


def test_arm_asks_for_the_same_layers():
    x, y = samples(0)
    for a, b in (({"a": x}, {"b": y}), ({"a": x}, {"a": y, "b": y}), ({}, {})):
        with pytest.raises(ValueError, match="expected the same layers"):
            arm(a, b)
    with pytest.raises(
        ValueError, match="original layer 'a' has 4 columns and shifted layer 'a' 3"
    ):
        arm({"a": x}, {"a": y[:, 1:]})
    with pytest.raises(ValueError, match="of shifted layer 'b' have NaN"):
        arm({"a": x, "b": x}, {"a": y, "b": y * np.nan})


@given(seeds)
@settings(max_examples=20)
def test_frechet_is_the_formula(seed):
    x, y = samples(seed)
    p, q = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    gap = x.mean(axis=0) - y.mean(axis=0)
    plain = gap @ gap + np.trace(p + q - 2 * sqrtm(p @ q).real)
    assert frechet_distance(x, y) == pytest.approx(plain, rel=1e-9)


@given(seeds)
@settings(max_examples=20)
def test_frechet_of_diagonal_covariances(seed):
    rng = np.random.default_rng(seed)
    a, b, shift = rng.uniform(0.1, 3, (3, 5))
    x, y = (np.concatenate([np.diag(s), -np.diag(s)]) for s in (a, b))
    deviations = (a - b) * np.sqrt(2 / 9)  # of 10 rows, two of which are not 0 in a column
    closed = np.sum(shift**2) + np.sum(deviations**2)
    assert frechet_distance(x, y + shift) == pytest.approx(closed, rel=1e-12)
    wide = np.pad(x, ((0, 0), (0, 40))), np.pad(y + shift, ((0, 0), (0, 40)))
    assert frechet_distance(*wide) == pytest.approx(closed, rel=1e-12)  # 10 rows, 45 columns


def plain_mmd(x, y, h, paired):
    def k(a, b):
        return np.exp(-np.sum((a - b) ** 2) / (2 * h**2))

    n, m = len(x), len(y)
    xx = [k(x[i], x[j]) for i in range(n) for j in range(n) if i != j]
    yy = [k(y[i], y[j]) for i in range(m) for j in range(m) if i != j]
    xy = [k(x[i], y[j]) for i in range(n) for j in range(m) if i != j or not paired]
    return np.mean(xx) + np.mean(yy) - 2 * np.mean(xy)


@given(seeds, st.floats(0.2, 5), st.booleans())
@settings(max_examples=15)
def test_mmd_is_the_double_loop(seed, bandwidth, paired):
    x, y = samples(seed, 12, 12 if paired else 15)
    plain = plain_mmd(x, y, bandwidth, paired)
    assert mmd(x, y, bandwidth, paired=paired) == pytest.approx(plain, rel=1e-10, abs=1e-14)


def test_the_bandwidth_is_the_median_distance_of_different_rows():
    x, y = samples(0)
    rows = [*x, *y]
    pairs = [np.linalg.norm(rows[i] - rows[j]) for i in range(len(rows)) for j in range(i)]
    assert mmd(x, y) == pytest.approx(mmd(x, y, float(np.median(pairs))), rel=1e-12)


def test_the_bandwidth_where_most_rows_are_equal_is_the_mean_distance():
    x, y = np.zeros((9, 2)), np.zeros((9, 2))
    y[:2] = (3, 4), (3, 3)
    mean = (16 * 5 + 16 * 3 * np.sqrt(2) + 1) / (18 * 17 / 2)
    assert mmd(x, y) == pytest.approx(mmd(x, y, mean), rel=1e-12)
    assert mmd(x, y) != pytest.approx(mmd(x, y, 2 * mean), rel=1e-3)


def test_mmd_is_around_0_with_no_shift_and_above_it_with_one():
    rng = np.random.default_rng(0)
    same = [mmd(*rng.normal(size=(2, 20, 3)), 1.5) for _ in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(200)
    assert min(same) < 0
    assert mmd(rng.normal(size=(20, 3)), rng.normal(size=(20, 3)) + 2, 1.5) > max(same)


@given(seeds)
@settings(max_examples=15)
def test_energy_distance_is_the_double_loop(seed):
    x, y = samples(seed)

    def mean_distance(a, b):
        return np.mean([np.linalg.norm(p - q) for p in a for q in b])

    plain = 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
    assert energy_distance(x, y) == pytest.approx(plain, rel=1e-10)
    root = stats.energy_distance(x[:, 0], y[:, 0])
    assert energy_distance(x[:, :1], y[:, :1]) == pytest.approx(root**2, rel=1e-9)


@given(seeds, st.sampled_from([(30, 4, 3), (8, 20, 5), (8, 5, 20)]))
@settings(max_examples=20)
def test_cka_is_the_ratio_of_hsic(seed, shape):
    n, d, e = shape
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    y = x[:, :1] + rng.normal(size=(n, e))
    h = np.eye(n) - 1 / n

    def hsic(k, m):
        return np.trace(k @ h @ m @ h) / (n - 1) ** 2

    k, m = x @ x.T, y @ y.T
    plain = hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))
    assert linear_cka(x, y) == pytest.approx(plain, rel=1e-9)
    assert linear_cka(1e-3 * x + 5, 1e3 * y) == pytest.approx(plain, rel=1e-9)


def test_cka_of_rows_that_do_not_vary():
    x, _ = samples(0)
    flat = np.full_like(x, 0.1)
    assert (linear_cka(x, flat), linear_cka(flat, x), linear_cka(flat, 3 * flat)) == (0, 0, 1)


@given(seeds)
@settings(max_examples=20)
def test_properties_of_distances(seed):
    x, y = samples(seed, 12, 12)
    order = np.random.default_rng(seed).permutation(12)
    for distance in TWO_SIDED:
        value = distance(x, y)
        assert distance(*turned(seed, x, y)) == pytest.approx(value, rel=1e-9, abs=1e-12)
        assert distance(y, x) == pytest.approx(value, rel=1e-9, abs=1e-12)
        assert distance(x[order], y[order]) == pytest.approx(value, rel=1e-9, abs=1e-12)
    assert frechet_distance(2 * x, 2 * y) == pytest.approx(4 * frechet_distance(x, y))
    assert energy_distance(2 * x, 2 * y) == pytest.approx(2 * energy_distance(x, y))
    assert mmd(2 * x, 2 * y) == pytest.approx(mmd(x, y), rel=1e-9, abs=1e-12)


@given(seeds, st.sampled_from([(12, 4), (5, 30), (2, 1)]))
@settings(max_examples=20)
def test_identical_data_are_at_distance_0(seed, shape):
    x = np.random.default_rng(seed).normal(size=shape)
    assert energy_distance(x, x) == 0
    assert mmd(x, x, paired=True) == pytest.approx(0, abs=1e-15)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-12)
    assert linear_cka(x, x) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("distance", [mmd, energy_distance])
def test_subsamples_are_seeded_and_keep_the_same_rows_of_both_sides(distance):
    x, _ = samples(0, n=80)
    y = x + 0.3 * samples(1, n=80)[0]
    value = distance(x, y, max_samples=20, seed=1)
    assert value == distance(x, y, max_samples=20, seed=1)
    assert value != distance(x, y, max_samples=20, seed=2)
    assert distance(x, y, max_samples=80) == distance(x, y)
    assert energy_distance(x, x, max_samples=20) == 0


@pytest.mark.parametrize("distance", DISTANCES)
def test_equal_rows_and_far_fewer_rows_than_columns(distance):
    rng = np.random.default_rng(0)
    flat = np.full((6, 500), 0.1)
    assert distance(flat, flat) == pytest.approx(0, abs=1e-15)
    wide = rng.normal(size=(2, 3, 500))
    assert np.isfinite(distance(*wide))
    assert distance(flat, np.repeat(wide[0], 2, axis=0)) > 0
    assert distance(*wide) < distance(wide[0], wide[1] + 10)


@pytest.mark.parametrize("distance", TWO_SIDED)
def test_bad_arrays_are_named(distance):
    x, y = samples(0, 12, 12)
    for bad in (np.nan, -np.inf):
        broken = y.copy()
        broken[7, 0] = bad
        with pytest.raises(ValueError, match=r"1 row\(s\) of y have NaN or infinite.*row 7"):
            distance(x, broken)
        with pytest.raises(ValueError, match="of x have NaN"):
            distance(broken, x)
    with pytest.raises(ValueError, match=r"x has shape \(4,\)"):
        distance(x[0], y)
    with pytest.raises(ValueError, match=r"y has shape \(0, 4\)"):
        distance(x, y[:0])
    with pytest.raises(TypeError, match="y holds"):
        distance(x, y.astype(str))


@pytest.mark.parametrize("distance", DISTANCES)
def test_distances_ask_for_two_rows_of_the_same_layer(distance):
    x, y = samples(0)
    with pytest.raises(ValueError, match="x has 4 columns and y 3"):
        distance(x, y[:, :3])
    with pytest.raises(ValueError, match=r"y has shape.*N at least 2"):
        distance(x, y[:1])


def test_options_out_of_range():
    x, y = samples(0)
    for bandwidth in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="bandwidth is"):
            mmd(x, y, bandwidth)
    for distance in (mmd, energy_distance):
        with pytest.raises(ValueError, match="max_samples is 1"):
            distance(x, y, max_samples=1)
    with pytest.raises(ValueError, match="12 rows and y 15; paired"):
        mmd(x, y, paired=True)
    with pytest.raises(ValueError, match="12 rows and y 15; paired"):
        mmd(x, y, paired=True, max_samples=10)
    with pytest.raises(ValueError, match="12 rows and y 15; CKA"):
        linear_cka(x, y)


# Outputs of the classifier


@given(seeds)
@settings(max_examples=20)
def test_outputs_are_as_in_torch(seed):
    logits, targets = outputs(seed)
    rows, ids = torch.tensor(logits), torch.tensor(targets)
    p = rows.softmax(dim=1)
    assert accuracy(logits, targets) == (rows.argmax(dim=1) == ids).double().mean().item()
    loss = torch.nn.functional.cross_entropy(rows, ids).item()
    assert cross_entropy(logits, targets) == pytest.approx(loss, rel=1e-12)
    entropy = torch.distributions.Categorical(logits=rows).entropy().mean().item()
    assert mean_entropy(logits) == pytest.approx(entropy, rel=1e-12)
    assert mean_confidence(logits) == pytest.approx(p.max(dim=1).values.mean().item(), rel=1e-12)
    assert cross_entropy(rows, ids) == cross_entropy(logits, targets)


def test_great_logits_do_not_overflow():
    logits = np.array([[1e4, 0.0, -1e4], [0.0, 2e4, 1e3]])
    assert cross_entropy(logits, [1, 1]) == 5e3
    assert mean_entropy(logits) == 0
    assert mean_confidence(logits) == 1


def plain_atc(x, targets, y, score):
    """The greatest threshold that has no more original scores under it than there are errors."""

    def scores(logits):
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return p.max(axis=1) if score == "confidence" else (p * np.log(p)).sum(axis=1)

    errors = sum(np.argmax(row) != t for row, t in zip(x, targets, strict=True))
    kept = [s for s in scores(x) if sum(scores(x) < s) <= errors]
    return np.mean(scores(y) >= max(kept))


@given(seeds, st.sampled_from(["confidence", "entropy"]))
@settings(max_examples=20)
def test_atc_is_the_definition(seed, score):
    (x, targets), (y, _) = outputs(seed), outputs(seed + 1, n=33, sharp=1.0)
    found = atc(x, targets, y, score)
    assert found == pytest.approx(plain_atc(x, targets, y, score), abs=1e-12)
    assert atc(x, targets, x, score) == accuracy(x, targets)


@given(seeds)
@settings(max_examples=20)
def test_doc_is_the_definition(seed):
    (x, targets), (y, _) = outputs(seed), outputs(seed + 1, n=33, sharp=1.0)
    plain = accuracy(x, targets) - (mean_confidence(x) - mean_confidence(y))
    assert doc(x, targets, y) == pytest.approx(plain, abs=1e-12)
    assert doc(x, targets, x) == accuracy(x, targets)


def test_foreseen_accuracies_stay_in_0_to_1():
    sure, unsure = 50 * np.eye(4), 0.1 * np.eye(4)
    right, wrong = np.arange(4), np.array([1, 2, 3, 0])
    assert (atc(sure, right, unsure), atc(unsure, right, sure)) == (0, 1)
    assert (atc(sure, wrong, sure), atc(unsure, wrong, sure)) == (0, 0)
    assert (doc(unsure, right, sure), doc(sure, wrong, unsure)) == (1, 0)


def test_bad_outputs_are_named():
    logits, targets = outputs(0)
    broken = np.where(np.arange(50)[:, None] == 4, np.nan, logits)
    for score in (mean_entropy, mean_confidence, lambda x: cross_entropy(x, targets)):
        with pytest.raises(ValueError, match=r"of logits have NaN.*row 4"):
            score(broken)
    for score in (atc, doc):
        with pytest.raises(ValueError, match="of original_logits have NaN"):
            score(broken, targets, logits)
        with pytest.raises(ValueError, match="of shifted_logits have NaN"):
            score(logits, targets, broken)
        with pytest.raises(ValueError, match="4 columns and shifted_logits 3"):
            score(logits, targets, logits[:, :3])
    for wrong in (targets - 1, targets + 1):
        with pytest.raises(ValueError, match="expected 0 to 3"):
            accuracy(logits, wrong)
    for wrong in (targets[1:], targets + 0.0, targets[:, None]):
        with pytest.raises(ValueError, match=r"targets has shape .*expected \(50,\) class ids"):
            cross_entropy(logits, wrong)
    with pytest.raises(ValueError, match="score is 'margin'"):
        atc(logits, targets, logits, "margin")


# All of them


def representations(seed, n=50, shift=0.0):
    logits, targets = outputs(seed, n)
    x = np.random.default_rng(seed).normal(size=(n, 6)) + np.eye(6)[targets] + shift
    return Representations({"first": x[:, :2], "last": x}, "last", logits, targets)


def test_all_baselines_of_paired_data():
    a, b = representations(0), representations(1, shift=1.0)
    x, y, p, q = a.vectors["last"], b.vectors["last"], a.logits, b.logits
    right = accuracy(p, a.targets)
    likelihoods = np.exp(q) / np.exp(q).sum(axis=1, keepdims=True)
    found = compare(a, b, paired=True)
    assert found == pytest.approx(
        {
            "arm": arm(a.vectors, b.vectors),
            "accuracy_drop": right - accuracy(q, b.targets),
            "loss_increase": cross_entropy(q, b.targets) - cross_entropy(p, a.targets),
            "entropy_increase": mean_entropy(q) - mean_entropy(p),
            "confidence_drop": mean_confidence(p) - mean_confidence(q),
            "atc_drop": right - atc(p, a.targets, q),
            "doc_drop": right - doc(p, a.targets, q),
            "frechet": frechet_distance(x, y),
            "mmd": mmd(x, y, paired=True),
            "cka": 1 - linear_cka(x, y),
            "energy_distance": energy_distance(x, y),
            "logme": logme(y, b.targets),
            "hscore": h_score(y, b.targets),
            "leep": leep(likelihoods, b.targets),
            "knn_error": 1 - knn_accuracy(y, b.targets),
        },
        rel=1e-12,
    )
    assert list(found) == [name for name in BASELINES if name in found]
    assert set(BASELINES) - set(found) == {"gradient_norm", "n_parameters", "n_train"}


def test_no_shift_is_0_by_every_distance():
    a = representations(0)
    found = compare(a, a, paired=True)
    of_labels = {"logme", "hscore", "leep", "knn_error"}
    for name in set(found) - of_labels:
        assert found[name] == pytest.approx(0, abs=1e-12), name


def test_only_what_can_be_computed():
    a, b = representations(0), representations(1, n=40)
    everything = set(BASELINES) - {"cka", "gradient_norm", "n_parameters", "n_train"}
    assert set(compare(a, b, paired=False)) == everything
    unlabelled = {name for name in everything if not BASELINES[name].needs_labels}
    blind = dataclasses.replace(b, targets=None)
    assert set(compare(a, blind, paired=False)) == unlabelled
    unknown = dataclasses.replace(b, targets=np.full(40, -1))
    assert set(compare(a, unknown, paired=False)) == unlabelled
    distances = {"arm", "frechet", "mmd", "energy_distance"}
    no_logits = dataclasses.replace(blind, logits=None)
    assert set(compare(a, no_logits, paired=False)) == distances
    headless = dataclasses.replace(b, logits=None)
    assert set(compare(a, headless, paired=False)) == distances | {"logme", "hscore", "knn_error"}


def test_rows_without_a_target_do_not_count():
    a, b = representations(0), representations(1)
    partly = dataclasses.replace(b, targets=np.where(np.arange(50) < 30, b.targets, -1))
    found = compare(a, partly, paired=True)
    first = slice(30)
    right = accuracy(a.logits, a.targets)
    assert found["accuracy_drop"] == right - accuracy(b.logits[first], b.targets[first])
    assert found["logme"] == logme(b.vectors["last"][first], b.targets[first])
    assert found["leep"] != compare(a, b, paired=True)["leep"]
    other = compare(dataclasses.replace(a, targets=partly.targets), b, paired=True)
    before = accuracy(a.logits[first], partly.targets[first])
    assert other["atc_drop"] == before - atc(a.logits[first], partly.targets[first], b.logits)


def test_bad_sides_are_named():
    a, b = representations(0), representations(1)
    replace = dataclasses.replace
    broken = {**b.vectors, "last": b.vectors["last"] * np.nan}
    other_width = {**b.vectors, "first": b.vectors["last"]}
    for side, message in (
        (replace(b, vectors=broken), "of shifted layer 'last' have NaN"),
        (replace(b, vectors=other_width), "original layer 'first' has 2 columns and shifted"),
        (replace(b, vectors={"last": a.vectors["last"]}), "expected the same layers"),
        (replace(b, layer="pooler"), "shifted has no layer 'pooler'"),
        (replace(b, layer="first"), "original's layer is 'last' and shifted's 'first'"),
        (replace(b, logits=b.logits * np.inf), "of shifted logits have NaN"),
        (replace(b, logits=b.logits[1:]), "shifted has 50 rows and 49 rows of logits"),
        (replace(b, targets=b.targets[1:]), "shifted has 50 rows and targets of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(a, side, paired=True)
    with pytest.raises(ValueError, match="so they are not paired"):
        compare(a, representations(1, n=40), paired=True)


def test_every_baseline_says_what_it_is():
    for name, baseline in BASELINES.items():
        assert baseline.sign in (-1, 1), name
        assert baseline.what, name
        assert baseline.source, name
    cheaper = {name for name, baseline in BASELINES.items() if baseline.sign == -1}
    assert cheaper == {"logme", "hscore", "leep", "n_train"}
