"""Transferability scores against their definitions written plainly, and on odd inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf

from resque.transfer_scores import h_score, knn_accuracy, leep, logme, nce, transfer_scores

seeds = st.integers(0, 2**32 - 1)
ON_FEATURES = [logme, h_score, knn_accuracy]


def samples(seed, n=40, dim=6, classes=3, apart=1.0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % classes)
    return rng.normal(size=(n, dim)) + apart * rng.normal(size=(classes, dim))[y], y


def probabilities(seed, n=40, classes=5):
    p = np.exp(2 * np.random.default_rng(seed).normal(size=(n, classes)))
    return p / p.sum(axis=1, keepdims=True)


def turned(seed, x):
    return x @ np.linalg.qr(np.random.default_rng(seed).normal(size=(x.shape[1],) * 2))[0]


def plain_maxima(x, t):
    """Maxima over α and β of the log density of t ~ N(0, I/β + XXᵀ/α), per sample."""
    n = len(t)

    def loss(logs):
        alpha, beta = np.exp(logs)
        cov = np.eye(n) / beta + x @ x.T / alpha
        return -multivariate_normal(np.zeros(n), cov).logpdf(t) / n

    starts = [(a, b) for a in (-2, 8) for b in (0, 7)]
    bounds = [(-9, 18), (-3, 10)]
    return [-minimize(loss, s, bounds=bounds, method="L-BFGS-B").fun for s in starts]


@pytest.mark.parametrize(
    ("seed", "n", "dim", "apart"), [(0, 40, 6, 1.0), (1, 30, 8, 0.3), (3, 30, 3, 3.0)]
)
def test_logme_is_the_greatest_evidence(seed, n, dim, apart):
    x, y = samples(seed, n, dim, apart=apart)
    plain = [max(plain_maxima(x, (y == k).astype(float))) for k in range(3)]
    assert logme(x, y) == pytest.approx(np.mean(plain), abs=1e-6)


def test_logme_takes_the_greater_of_two_maxima():
    rng = np.random.default_rng(30)
    y = rng.permutation(np.arange(14) % 2)
    x = rng.normal(size=(14, 16)) + 5
    first, second = plain_maxima(x, y.astype(float)), plain_maxima(x, 1.0 - y)
    assert max(first) - min(first) > 0.01  # there are two
    assert logme(x, y) == pytest.approx((max(first) + max(second)) / 2, abs=1e-6)


def test_logme_of_features_that_say_nothing_is_that_of_noise():
    y = np.array([0] * 9 + [1])
    noise = [(np.log(1 / (2 * np.pi * share)) - 1) / 2 for share in (0.9, 0.1)]
    assert logme(np.zeros((10, 4)), y) == pytest.approx(np.mean(noise), rel=1e-12)


@given(seeds, st.floats(1e-6, 1e6))
@settings(max_examples=15)
def test_logme_does_not_depend_on_scale_rotation_or_empty_columns(seed, scale):
    x, y = samples(seed)
    value = logme(x, y)
    assert logme(scale * x, y) == pytest.approx(value, abs=1e-9)
    assert logme(turned(seed, x), y) == pytest.approx(value, abs=1e-9)
    assert logme(np.hstack([x, np.zeros((40, 50))]), y) == pytest.approx(value, abs=1e-9)


def test_labels_that_are_fitted_exactly_have_a_finite_logme():
    y = np.arange(20) % 2
    # 18 directions of noise with β = 1e8, and 2 of the features with the variance 5: the labels'
    # square, 10, shared by two.
    closed = (18 * np.log(1e8 / (2 * np.pi)) - 2 * np.log(2 * np.pi * 5) - 10 / 5) / (2 * 20)
    assert logme(np.eye(2)[y], y) == pytest.approx(closed, abs=1e-6)


def plain_h_score(x, y):
    """The paper's formula: rows replaced by their class's mean, whole covariances, an inverse."""
    model = LedoitWolf().fit(x)
    means = np.stack([x[y == label].mean(axis=0) for label in y])
    inverse = np.linalg.inv(model.covariance_)
    return (1 - model.shrinkage_) * np.trace(inverse @ np.cov(means, rowvar=False))


@given(seeds, st.sampled_from([(40, 6), (12, 30)]))
@settings(max_examples=15)
def test_h_score_is_the_formula(seed, shape):
    x, y = samples(seed, *shape)
    value = h_score(x, y)
    assert value == pytest.approx(plain_h_score(x, y), rel=1e-9, abs=1e-9)
    assert h_score(1e3 * turned(seed, x) + 7, y) == pytest.approx(value, rel=1e-6, abs=1e-9)


def plain_leep(theta, y):
    n, classes = theta.shape
    total = 0.0
    for i in range(n):
        likelihood = 0.0
        for z in range(classes):
            joint = sum(theta[j, z] for j in range(n) if y[j] == y[i]) / n
            likelihood += joint / (sum(theta[:, z]) / n) * theta[i, z]
        total += np.log(likelihood)
    return total / n


@given(seeds)
@settings(max_examples=10)
def test_leep_and_nce_are_the_definitions(seed):
    theta = probabilities(seed)
    y = np.random.default_rng(seed).integers(0, 3, 40)
    assert leep(theta, y) == pytest.approx(plain_leep(theta, y), rel=1e-12)
    z = theta.argmax(axis=1)
    plain = 0.0
    for i in range(40):
        same = z == z[i]
        plain += np.log(np.mean(y[same] == y[i])) / 40
    assert nce(z, y) == pytest.approx(plain, rel=1e-12)


@given(seeds)
@settings(max_examples=10)
def test_leep_of_certain_predictions_is_nce(seed):
    z, y = np.random.default_rng(seed).integers(0, 4, (2, 40))
    assert leep(np.eye(4)[z], y) == pytest.approx(nce(z, y), rel=1e-12, abs=1e-12)
    assert leep(1.005 * np.eye(4)[z], y) == pytest.approx(nce(z, y), rel=1e-12, abs=1e-12)
    unseen = np.hstack([np.eye(4)[z], np.zeros((40, 2))])
    assert leep(unseen, y) == leep(np.eye(4)[z], y)


def test_nce_is_0_where_the_source_decides_and_the_entropy_where_it_says_nothing():
    y = ["a"] * 3 + ["b"]
    assert nce([5, 5, 5, 2], y) == 0
    assert nce([1, 1, 1, 1], y) == pytest.approx(0.75 * np.log(0.75) + 0.25 * np.log(0.25))


def plain_knn(x, y, k):
    """Leave-one-out by whole sorting; of tied classes the one with the nearest neighbour."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    right = 0
    for i in range(len(x)):
        order = [j for j in np.argsort(-unit @ unit[i]) if j != i][:k]
        votes = [sum(y[j] == y[m] for m in order) for j in order]
        right += y[order[int(np.argmax(votes))]] == y[i]
    return right / len(x)


@given(seeds, st.integers(1, 7), st.floats(1e-3, 1e3))
@settings(max_examples=20)
def test_knn_accuracy_is_the_definition(seed, k, scale):
    x, y = samples(seed)
    assert knn_accuracy(scale * x, y, k) == pytest.approx(plain_knn(x, y, k), abs=1e-12)


def test_a_row_is_not_its_own_neighbour_even_where_it_is_repeated():
    x = np.repeat(np.eye(3), 4, axis=0)
    y = np.repeat(np.arange(3), 4)
    assert knn_accuracy(x, y, k=3) == 1
    assert knn_accuracy(x, np.tile([0, 1, 2, 3], 3), k=1) == 0


def test_more_neighbours_than_rows_are_all_the_others():
    x, y = samples(0, n=7)
    assert knn_accuracy(x, y, k=100) == knn_accuracy(x, y, k=6)


@given(seeds)
@settings(max_examples=10)
def test_names_of_classes_and_order_of_rows_do_not_matter(seed):
    x, y = samples(seed)
    order = np.random.default_rng(seed).permutation(len(y))
    names = np.array(["c", "a", "b"])
    theta = probabilities(seed)
    for score, values in [(f, x) for f in ON_FEATURES] + [(leep, theta)]:
        value = score(values, y)
        assert score(values, names[y]) == pytest.approx(value, abs=1e-12)
        assert score(values[order], 7 * y[order] - 3) == pytest.approx(value, abs=1e-9)


def test_classes_that_are_apart_score_higher():
    near, y = samples(0, n=90, apart=0.1)
    far, _ = samples(0, n=90, apart=3.0)
    for score in ON_FEATURES:
        assert score(far, y) > score(near, y)


def test_one_class():
    x, _ = samples(0)
    y = np.zeros(40, int)
    assert (h_score(x, y), leep(probabilities(0), y), nce(y, y), knn_accuracy(x, y)) == (0, 0, 0, 1)
    assert np.isfinite(logme(x, y))


def test_constant_features_say_nothing():
    _, y = samples(0)
    x = np.full((40, 6), 0.1)
    assert h_score(x, y) == 0
    assert logme(x, y) == pytest.approx(logme(np.ones((40, 1)), y), abs=1e-9)
    with_constant = np.hstack([samples(0)[0], x])
    assert 0 < h_score(with_constant, y) < 10


@pytest.mark.parametrize(
    ("n", "dim", "classes"), [(2, 1, 2), (5, 20, 5), (20, 50, 4), (200, 10, 77), (77, 4, 77)]
)
def test_few_rows_and_many_classes(n, dim, classes):
    x, y = samples(0, n, dim, classes)
    for rows in (x, np.repeat(x[:1], n, axis=0), x.astype(np.float16), x.tolist()):
        found = transfer_scores(rows, y, probabilities(0, n, classes))
        assert set(found) == {"logme", "hscore", "knn_error", "leep"}
        assert np.isfinite(list(found.values())).all()
        assert found["hscore"] >= 0
        assert 0 <= found["knn_error"] <= 1
        assert found["leep"] <= 0


def test_all_scores_by_name():
    x, y = samples(0)
    logits = np.log(probabilities(0)) + 3
    assert transfer_scores(x, y, logits) == {
        "logme": logme(x, y),
        "hscore": h_score(x, y),
        "knn_error": 1 - knn_accuracy(x, y),
        "leep": pytest.approx(leep(probabilities(0), y), rel=1e-12),
    }
    assert "leep" not in transfer_scores(x, y)


@pytest.mark.parametrize("score", [*ON_FEATURES, leep])
def test_bad_arrays_are_named(score):
    x, y = probabilities(0), np.zeros(40, int)
    name = "probabilities" if score is leep else "features"
    for bad in (np.nan, np.inf):
        broken = x.copy()
        broken[3, 1] = bad
        with pytest.raises(ValueError, match=rf"1 row\(s\) of {name} have NaN.*row 3"):
            score(broken, y)
    for wrong in (x[0], x[:0], x[None], x[:, :0]):
        with pytest.raises(ValueError, match=f"{name} has shape"):
            score(wrong, y)
    with pytest.raises(ValueError, match=r"labels has shape \(39,\)"):
        score(x, y[1:])
    with pytest.raises(TypeError, match=name):
        score(x.astype(str), y)
    with pytest.raises(TypeError, match="labels"):
        score(x, y + 0.5)


def test_other_bad_arguments():
    x, y = samples(0)
    with pytest.raises(ValueError, match="softmax outputs, not logits"):
        leep(x, y)
    with pytest.raises(ValueError, match="softmax outputs, not logits"):
        leep(np.full((40, 3), 0.5), y)
    with pytest.raises(ValueError, match="k is 0"):
        knn_accuracy(x, y, k=0)
    for score in (h_score, knn_accuracy):
        with pytest.raises(ValueError, match="N at least 2"):
            score(x[:1], y[:1])
    with pytest.raises(ValueError, match="target_labels has shape"):
        nce(y, y[1:])
    with pytest.raises(ValueError, match="source_labels is empty"):
        nce([], [])
