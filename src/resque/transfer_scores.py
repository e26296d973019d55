"""Transferability scores: how well a model's representations, as they are, fit the labels.

Arrays are numpy, torch or nested lists. Every function raises TypeError where they hold values of
another type, and ValueError, naming the array, where shapes do not fit, rows are too few, or
values are NaN or infinite.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from resque.clustering import contingency, on_gpu
from resque.errors import UsageError
from resque.indices import as_labels, as_numpy, device_of
from resque.moments import Moments
from resque.sums import Floats, Ints

MAX_PRECISION = 1e8  # LogME's β: labels are 0 and 1, and their noise is 1e-4 at least
KNN_MEGABYTES = 64  # distances held at a time
LOG_RATIOS = np.log(10) * np.linspace(-12, 12, 97)  # LogME's α/β that are tried, logarithms


def as_rows(x: Any, name: str, least: int = 1) -> Floats:
    """Return rows in float64.

    Args:
        x: (N, D) numpy, torch or nested lists.
        name: what an error calls it.
        least: rows that there must be.

    Returns:
        (N, D) rows.

    Raises:
        TypeError: where it does not hold real numbers.
        UsageError: where it is not (N, D), has fewer rows, or holds NaN or infinite values.
    """
    rows = as_numpy(x, name)
    if rows.ndim != 2 or len(rows) < least or rows.shape[1] < 1:
        raise UsageError(
            f"{name} has shape {rows.shape}; expected (N, D) with N at least {least} and D at "
            "least 1"
        )
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise UsageError(
            f"{len(bad)} row(s) of {name} have NaN or infinite values (first: row {bad[0]}). "
            "Remove them; if the model ran in float16, run it in float32"
        )
    return rows.astype(np.float64, copy=False)


def centred(x: Floats) -> Floats:
    """Return the rows of (N, D) less their mean: exactly 0 where a column is constant."""
    x = x - x[0]
    return np.asarray(x - x.mean(axis=0))


def _as_classes(labels: Any, n: int, name: str) -> Ints:
    """Return n labels as classes 0 … K−1, each of which occurs."""
    names = np.array(as_labels(labels, n, name))
    return np.asarray(np.unique(names, return_inverse=True)[1], np.int64)


def logme(features: Any, labels: Any) -> float:
    """LogME: evidence per sample of a Bayesian linear model that tells a class from the others.

    You et al. (ICML 2021, arXiv 2102.11005; JMLR 2022, arXiv 2110.10545). A class's labels, 1
    and 0, are linear in the features (not centred), with the prior N(0, I/α) of the weights and
    the noise N(0, 1/β). The log evidence, at its greatest over α and β, is averaged over the
    classes.

    It differs from the authors' code (github.com/thuml/LogME, LogME.py) in three ways. Where the
    features' rank is below D, that code counts log α for D directions but log(α + βσ) for fewer;
    in the evidence, directions without features cancel. That code stops a fixed-point iteration
    after 11 steps; here the maximum is found. And it adds 1e-5 to two denominators, so that its
    score depends on the features' scale; here β is at most 1e8 instead.

    Args:
        features: (N, D) representations.
        labels: (N,) ints or strings. A single class is a model of the constant 1.

    Returns:
        The score in nats per sample. Greater is better.
    """
    x = as_rows(features, "features")
    y = _as_classes(labels, len(x), "labels")
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    sigma = (s / s[0]) ** 2 if s[0] > 0 else s
    one_hot = (y[:, None] == np.arange(int(y.max()) + 1)).astype(np.float64)
    return _mean_evidence(sigma, (one_hot.T @ u) ** 2, one_hot.sum(axis=0), len(x))


def logme_of_moments(moments: Moments) -> float:
    """LogME of rows of which only the moments are kept; see `logme`.

    Where the rows have numbers for targets, it is the evidence of these numbers as they are.

    The Gram matrix knows the features' directions down to 1e-16 of the greatest one's square;
    those below count as constant zero.
    """
    centre, sums, n = moments.centre, moments.sums, moments.n
    if centre is None:
        raise UsageError("there are no rows")
    total, squares = sums.sum(axis=0), moments.counts  # a class's labels are 1 and 0
    cross = sums + squares[:, None] * centre  # (K, D): products of labels and features
    if moments.targets is not None:
        cross = (moments.targets.cross + moments.targets.total * centre)[None]
        squares = np.array([moments.targets.square])
    gram = moments.gram + np.outer(total, centre) + np.outer(centre, total)
    values, vectors = np.linalg.eigh(gram + n * np.outer(centre, centre))
    known = values > len(values) * np.finfo(np.float64).eps * values[-1]
    if not known.any() or values[-1] <= 0:
        return _mean_evidence(np.zeros(1), np.zeros((len(squares), 1)), squares, n)
    values, vectors = values[known], vectors[:, known]
    projected = (cross @ vectors) ** 2 / values
    return _mean_evidence(values / values[-1], projected, squares, n)


def _mean_evidence(sigma: Floats, projected: Floats, squares: Floats, n: int) -> float:
    """Return the mean over K targets of the greatest log evidence per sample.

    Args:
        sigma: (k,) squared singular values of the features, over the greatest.
        projected: (K, k) squared products of the targets with the left singular vectors.
        squares: (K,) squared norms of the targets.
        n: samples.
    """
    rest = np.maximum(squares - projected.sum(axis=1), 0.0)
    each = zip(projected, rest, strict=True)
    return float(np.mean([_max_evidence(sigma, p, float(r), n) for p, r in each]))


def _max_evidence(sigma: Floats, projected: Floats, rest: float, n: int) -> float:
    """Return the greatest log evidence per sample of a target, over α/β and β; see `_evidence`.

    The evidence may have two maxima over α/β (the fixed point of the papers finds one of them),
    so the greatest value on a grid is refined.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_ratio: float) -> float:
        return -float(_evidence(np.exp([log_ratio]), sigma, projected, rest, n)[0])

    best = int(np.argmax(_evidence(np.exp(LOG_RATIOS), sigma, projected, rest, n)))
    around = LOG_RATIOS[max(best - 1, 0)], LOG_RATIOS[min(best + 1, len(LOG_RATIOS) - 1)]
    refined = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-8})
    return max(-loss(LOG_RATIOS[best]), -float(refined.fun))


def _evidence(ratios: Floats, sigma: Floats, projected: Floats, rest: float, n: int) -> Floats:
    """Return the log evidence per sample (G,), at its greatest over β.

    The labels are N(0, (I + FFᵀ/ratio)/β), of which each singular vector of F is one direction.

    Args:
        ratios: (G,) α/β, over the greatest squared singular value.
        sigma: (k,) squared singular values of the features F, over the greatest.
        projected: (k,) squared products of the labels with the left singular vectors.
        rest: squared norm of the labels outside of these vectors.
        n: samples.
    """
    noise = ratios[:, None] / (sigma + ratios[:, None])  # its share in each direction
    misfit = noise @ projected + rest
    beta = np.minimum(n / misfit, MAX_PRECISION)
    log_det = -np.log(noise).sum(axis=1)
    return np.asarray((np.log(beta / (2 * np.pi)) - (beta * misfit + log_det) / n) / 2)


def h_score(features: Any, labels: Any) -> float:
    """Regularized H-score: spread of the class means over the features' shrunk covariance.

    (1 − α)·tr(Σ_α⁻¹ Σ_means), where Σ_α is the Ledoit-Wolf covariance with shrinkage α, and
    Σ_means is the covariance (over N − 1) of the rows replaced by their class's mean: Ibrahim et
    al. (2021, arXiv 2110.06893), after the H-score of Bao et al. (ICIP 2019).

    Args:
        features: (N, D) representations, N at least 2.
        labels: (N,) ints or strings.

    Returns:
        The score, at least 0: 0 for one class and for constant features. Greater is better.
    """
    x = as_rows(features, "features", least=2)
    moments = Moments()
    moments.add(x, _as_classes(labels, len(x), "labels").tolist(), np.arange(len(x)))
    return h_score_of_moments(moments)


def h_score_of_moments(moments: Moments) -> float:
    """Regularized H-score of rows of which only the moments are kept; see `h_score`.

    Raises:
        UsageError: where there are fewer than 2 rows.
    """
    from scipy.linalg import pinvh, solve

    n, counts = moments.n, moments.counts[:, None]
    if n < 2:
        raise UsageError(f"the H-score needs 2 rows at least; there are {n}")
    covariance, fourth = moments.covariance()
    size = float(np.trace(covariance)) / len(covariance)
    if len(counts) < 2 or size <= 0:
        return 0.0
    means = moments.sums / counts
    means = np.sqrt(counts) * (means - moments.sums.sum(axis=0) / n)
    shrinkage = _shrinkage(covariance, fourth, n)
    shrunk = (1 - shrinkage) * covariance + shrinkage * size * np.eye(len(covariance))
    if shrinkage > 1e-8:
        solved = solve(shrunk, means.T, assume_a="pos").T
    else:
        solved = means @ pinvh(shrunk)
    return max((1 - shrinkage) * float(np.sum(solved * means)) / (n - 1), 0.0)


def _shrinkage(covariance: Floats, fourth: float, n: int) -> float:
    """Return the weight of the identity, in [0, 1], of Ledoit & Wolf (2004), Lemma 3.2 and 3.3.

    Args:
        covariance: (D, D) over N.
        fourth: Σ ‖row − mean‖⁴.
        n: rows.
    """
    dim, square = len(covariance), float(np.sum(covariance**2))
    distance = square - float(np.trace(covariance)) ** 2 / dim
    error = min((fourth / n - square) / n, distance)
    return error / distance if dim > 1 and error > 0 else 0.0


def leep(probabilities: Any, labels: Any) -> float:
    """LEEP: mean log-likelihood of the labels, predicted from the model's own classes.

    Nguyen et al. (ICML 2020, arXiv 2002.12462): the model's probabilities
    θ(x) of its classes z give P(y | z) over the data, and then Σ_z P(y | z) θ(x)_z.

    Args:
        probabilities: (N, C) the model's softmax outputs; each row is divided by its sum.
        labels: (N,) ints or strings of the data's own classes.

    Returns:
        The score in nats, at most 0. Greater is better.

    >>> leep([[1.0, 0.0], [0.0, 1.0]], ["cat", "dog"])
    0.0
    """
    return min(float(leep_of_rows(probabilities, labels).mean()), 0.0)


def leep_of_rows(probabilities: Any, labels: Any) -> Floats:
    """Return each row's (N,) log-likelihood, of which LEEP is the mean; see `leep`."""
    theta = as_rows(probabilities, "probabilities")
    y = _as_classes(labels, len(theta), "labels")
    total = theta.sum(axis=1)
    if theta.min() < 0 or np.abs(total - 1).max() > 1e-2:
        raise UsageError(
            "probabilities has rows that are negative or do not add up to 1; "
            "expected softmax outputs, not logits"
        )
    theta = theta / total[:, None]
    joint = np.zeros((int(y.max()) + 1, theta.shape[1]))
    np.add.at(joint, y, theta)
    given = joint / np.maximum(joint.sum(axis=0), np.finfo(np.float64).tiny)
    likelihood = np.einsum("nz,nz->n", theta, given[y])
    return np.asarray(np.log(likelihood))


def nce(source_labels: Any, target_labels: Any) -> float:
    """NCE: negative conditional entropy of the labels, given the classes that the model predicts.

    Tran et al. (ICCV 2019, arXiv 1908.08142).

    Args:
        source_labels: (N,) classes that the model predicts, ints or strings.
        target_labels: (N,) ints or strings of the data's own classes.

    Returns:
        −H(target | source) in nats, at most 0. Greater is better.

    >>> round(nce([0, 0, 1, 1], ["a", "b", "c", "c"]), 3)  # −log(2) / 2
    -0.347
    """
    n = len(source_labels)
    if not n:
        raise UsageError("source_labels is empty; expected one label a sample")
    z = _as_classes(source_labels, n, "source_labels")
    return nce_of_counts(contingency(z, _as_classes(target_labels, n, "target_labels")))


def nce_of_counts(joint: Floats) -> float:
    """NCE of (source classes, target classes) counts of rows; see `nce`."""
    joint = joint[joint.sum(axis=1) > 0]
    given = joint / joint.sum(axis=1, keepdims=True)
    seen = joint > 0
    return min(float(np.sum(joint[seen] * np.log(given[seen])) / joint.sum()), 0.0)


def knn_accuracy(features: Any, labels: Any, k: int = 5) -> float:
    """Leave-one-out accuracy of the k nearest neighbours by cosine distance.

    A tie goes to the tied class that has the nearest neighbour. A row of zeros is at distance 1
    from every other. Where the features are a tensor on a CUDA device, they are compared there.

    Args:
        features: (N, D) representations, N at least 2.
        labels: (N,) ints or strings.
        k: neighbours; all the others where there are fewer.

    Returns:
        The share of rows whose neighbours vote for their class, in [0, 1].

    >>> knn_accuracy([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0], [0.1, 2.0]], [0, 0, 1, 1], k=1)
    1.0
    """
    return float(np.mean(knn_hits(features, labels, k, device_of(features))))


def knn_hits(features: Any, labels: Any, k: int = 5, device: str = "cpu") -> NDArray[np.bool_]:
    """Return for each row (N,) whether its neighbours vote for its class; see `knn_accuracy`."""
    x = as_rows(features, "features", least=2)
    y = _as_classes(labels, len(x), "labels")
    voters = y[_neighbours(x, k, device)]
    votes = (voters[:, :, None] == voters[:, None, :]).sum(axis=2)
    elected = voters[np.arange(len(x)), votes.argmax(axis=1)]
    return np.asarray(elected == y)


def knn_means(features: Any, targets: Floats, k: int = 5, device: str = "cpu") -> Floats:
    """Return the mean target (N,) of each row's k nearest neighbours, without its own."""
    x = as_rows(features, "features", least=2)
    return np.asarray(targets[_neighbours(x, k, device)].mean(axis=1))


def _neighbours(x: Floats, k: int, device: str) -> Ints:
    """Return the (N, k) nearest other rows by cosine distance, the nearest first."""
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    if k < 1:
        raise UsageError(f"k is {k}; expected at least 1")
    k = min(k, len(x) - 1)
    if on_gpu(device):
        from resque.on_device import nearest

        return nearest(x, k, device)
    model = NearestNeighbors(n_neighbors=k, metric="cosine").fit(x)
    with config_context(working_memory=KNN_MEGABYTES):
        return np.asarray(model.kneighbors(return_distance=False), np.int64)


def transfer_scores(features: Any, labels: Any, logits: Any = None) -> dict[str, float]:
    """Return the scores by name: logme, hscore, knn_error, and leep where there are logits.

    Args:
        features: (N, D) representations, N at least 2.
        labels: (N,) ints or strings of the data's own classes.
        logits: (N, C) of the model's classes, or None.
    """
    from scipy.special import softmax

    found = {
        "logme": logme(features, labels),
        "hscore": h_score(features, labels),
        "knn_error": 1 - knn_accuracy(features, labels),
    }
    if logits is not None:
        found["leep"] = leep(softmax(as_rows(logits, "logits"), axis=1), labels)
    return found
