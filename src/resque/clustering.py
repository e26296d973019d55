"""k-means against labels, for RESQUE_task: clusters, adjusted Rand index, and its interval."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resque.sums import Floats, Ints
from resque.uncertainty import Z95

HALVES = 40  # random halves that are clustered anew
REFIT_LIMIT = 100_000_000  # rows × dimensions × classes above which clusters are held instead
HELD_HALVES = 2_000


def on_gpu(device: str) -> bool:
    """Whether k-means and neighbours are computed on a device: on CUDA alone, else on the CPU."""
    return device.split(":")[0] == "cuda"


def cluster(
    x: NDArray[Any], y: Ints, init: Any, n_init: int, seed: int, device: str = "cpu"
) -> tuple[Ints, Any]:
    """Cluster rows into as many clusters as there are classes.

    Args:
        x: (N, D) rows.
        y: (N,) classes 0 … K−1.
        init: "centroids" for the class means, "k-means++", or (K, D) centres.
        n_init: starts of k-means++.
        seed: of k-means++.
        device: where; by scikit-learn on all but CUDA.

    Returns:
        (N,) clusters, and (K, D) centres.
    """
    k = int(y.max()) + 1
    if k == 1:
        return np.zeros(len(y), np.int64), x.mean(axis=0, keepdims=True)
    if on_gpu(device):
        from resque.on_device import kmeans

        start = {"centroids": y, "k-means++": None}[init] if isinstance(init, str) else init
        found = kmeans(x, k, start, n_init=n_init, seed=seed, device=device)
        return found.labels, found.centres
    return _cluster_on_cpu(x, y, k, init, n_init, seed)


def _cluster_on_cpu(
    x: NDArray[Any], y: Ints, k: int, init: Any, n_init: int, seed: int
) -> tuple[Ints, Any]:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    if isinstance(init, str) and init == "centroids":
        init = np.stack([x[y == c].mean(axis=0) for c in range(k)])
    starts = n_init if isinstance(init, str) else 1
    with warnings.catch_warnings():
        # Fewer distinct points than classes: the index says so by itself.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(n_clusters=k, init=init, n_init=starts, random_state=seed).fit(x)
    return np.asarray(model.labels_, np.int64), model.cluster_centers_


def contingency(y: Ints, clusters: Ints) -> Floats:
    """Return the (classes, clusters) counts of rows."""
    table = np.zeros((int(y.max()) + 1, int(clusters.max()) + 1))
    np.add.at(table, (y, clusters), 1)
    return table


def disagreement(y: Ints, clusters: Ints) -> float:
    """Return 1 − the Adjusted Rand Index of classes (N,) and clusters (N,), from 0 to 1.5."""
    return 1 - float(adjusted_rand(contingency(y, clusters)))


def adjusted_rand(table: Floats) -> Floats:
    """Adjusted Rand Index of contingency tables (..., classes, clusters).

    Hubert & Arabie (1985); 1 where both partitions are trivial and equal.
    """

    def pairs(x: Floats) -> Floats:
        return np.asarray(x * (x - 1) / 2)

    both = pairs(table).sum(axis=(-2, -1))
    rows, columns = pairs(table.sum(axis=-1)).sum(-1), pairs(table.sum(axis=-2)).sum(-1)
    chance = rows * columns / np.maximum(pairs(table.sum(axis=(-2, -1))), 1)
    most = (rows + columns) / 2
    same = most == chance
    return np.where(same, 1.0, (both - chance) / np.where(same, 1.0, most - chance))


def task_interval(
    x: NDArray[Any], y: Ints, clusters: Ints, centres: Any, seed: int, device: str = "cpu"
) -> tuple[tuple[float, float], float, str]:
    """Return a 95 % interval of the large-sample 1 − ARI, a corrected value, and the method.

    A random half drawn without replacement strays from all rows as these stray from infinitely
    many (delete-half jackknife, Shao & Wu 1989), and its mean differs from their value by about
    the bias that these still have. So the halves give a deviation and a corrected value, and the
    interval reaches from the lower of both values to the higher, with 1.96 deviations on each
    side; the deviation counts three moved rows at least. (Rows drawn with replacement would not
    do: a row drawn twice is a pair that agrees.)

    Args:
        x: (N, D) rows.
        y: (N,) classes 0 … K−1.
        clusters: (N,) clusters.
        centres: (K, D) where the halves' k-means starts; None for their class means.
        seed: of the halves.
        device: where they are clustered, as in `cluster`.

    Returns:
        (low, high), the corrected value, and "halves clustered anew" or, for many rows,
        "halves, clusters held".
    """
    value = disagreement(y, clusters)
    if len(y) < 8:
        return (0.0, 1.5), value, "none: fewer than 8 rows"
    rng = np.random.default_rng(seed)
    refit = x.size * (int(y.max()) + 1) <= REFIT_LIMIT
    scores = _refitted(x, y, centres, rng, device) if refit else _held(y, clusters, rng)
    corrected = min(max(2 * value - float(scores.mean()), 0.0), 1.5)
    deviation = float(np.hypot(scores.std(ddof=1), 3 / len(y)))
    low = min(value, corrected) - Z95 * deviation
    high = max(value, corrected) + Z95 * deviation
    method = "halves clustered anew" if refit else "halves, clusters held"
    return (max(low, 0.0), min(high, 1.5)), corrected, method


def _refitted(
    x: NDArray[Any], y: Ints, centres: Any, rng: np.random.Generator, device: str
) -> Floats:
    scores = np.empty(HALVES)
    for i in range(HALVES):
        half = rng.permutation(len(y))[: len(y) // 2]
        labels = np.unique(y[half], return_inverse=True)[1]
        fewer = centres is None or labels.max() + 1 < len(centres)
        start = "centroids" if fewer else centres
        found, _ = cluster(x[half], labels, start, 1, 0, device)
        scores[i] = disagreement(labels, found)
    return scores


def _held(y: Ints, clusters: Ints, rng: np.random.Generator) -> Floats:
    """Draw the halves' contingency tables, in parts that fit into memory."""
    table = contingency(y, clusters)
    cells = np.flatnonzero(table)
    sizes = table.ravel()[cells].astype(np.int64)
    draws = rng.multivariate_hypergeometric(sizes, len(y) // 2, HELD_HALVES, method="marginals")
    scores = np.empty(HELD_HALVES)
    step = max(1, (1 << 22) // table.size)
    for start in range(0, HELD_HALVES, step):
        part = draws[start : start + step]
        tables = np.zeros((len(part), table.size))
        tables[:, cells] = part
        scores[start : start + step] = 1 - adjusted_rand(tables.reshape(-1, *table.shape))
    return scores
