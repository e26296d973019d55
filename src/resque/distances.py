"""Distances between representations of two data sets, the peers of RESQUE_dist.

Arrays are numpy, torch or nested lists. Every function raises TypeError where they do not hold
real numbers, and UsageError, naming the array, where shapes do not fit, rows are too few, values
are NaN or infinite, or an option is out of range.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resque.errors import UsageError
from resque.sampling import draw_rows
from resque.sums import Floats
from resque.transfer_scores import as_rows, centred

MAX_SAMPLES = 1_000  # rows of each side in MMD and energy distance: 32 MB of distances


def arm(original: Mapping[str, NDArray[Any]], shifted: Mapping[str, NDArray[Any]]) -> float:
    """ARM: mean over layers of the Wasserstein-1 distance between all activations of a layer.

    The predecessor of RESQUE (arXiv 2405.09600). A layer's activations are taken as one sample of
    numbers, whatever their row and column.

    Args:
        original: (N, D) activations of each layer.
        shifted: (M, D) activations of the same layers.

    >>> arm({"a": [[0.0, 1.0]], "b": [[1.0]]}, {"a": [[2.0, 3.0]], "b": [[1.0]]})
    1.0
    """
    check_layers(original, shifted)
    distances = []
    for layer, values in original.items():
        names = f"original layer {layer!r}", f"shifted layer {layer!r}"
        x, y = two_sides(values, shifted[layer], names)
        distances.append(_wasserstein(x.ravel(), y.ravel()))
    return float(np.mean(distances))


def _wasserstein(x: Floats, y: Floats) -> float:
    from scipy.stats import wasserstein_distance

    if len(x) == len(y):  # the same by two sorts, 15 times as fast at 1.5 million numbers
        return float(np.mean(np.abs(np.sort(x) - np.sort(y))))
    return float(wasserstein_distance(x, y))


def check_layers(original: Mapping[str, Any], shifted: Mapping[str, Any]) -> None:
    """Raise UsageError where two sides do not have the same layers."""
    if set(original) != set(shifted) or not original:
        raise UsageError(
            f"original has the layers {sorted(original)} and shifted {sorted(shifted)}; "
            "expected the same layers, at least one"
        )


def two_sides(
    x: Any, y: Any, names: tuple[str, str] = ("x", "y"), least: int = 1
) -> tuple[Floats, Floats]:
    """Return two arrays of rows as float64, or raise where their columns differ."""
    a, b = as_rows(x, names[0], least), as_rows(y, names[1], least)
    if a.shape[1] != b.shape[1]:
        raise UsageError(
            f"{names[0]} has {a.shape[1]} columns and {names[1]} {b.shape[1]}; expected "
            "representations of the same layer"
        )
    return a, b


def frechet_distance(x: Any, y: Any) -> float:
    """Squared Fréchet distance between Gaussians that are fitted to the rows.

    ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½), with covariances over N − 1: Heusel et al. (2017, arXiv
    1706.08500). With Σ₁ = AᵀA and Σ₂ = BᵀB the trace of the root is the sum of the singular
    values of ABᵀ, which holds for N < D too, where the product has no stable root.

    Args:
        x: (N, D), N at least 2.
        y: (M, D), M at least 2.

    Returns:
        The distance, at least 0, in squared units of x.
    """
    a, b = two_sides(x, y, least=2)
    gap = float(np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2))
    a, b = _root_covariance(a), _root_covariance(b)
    common = float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    return gap + max(float(np.sum(a**2) + np.sum(b**2)) - 2 * common, 0.0)


def _root_covariance(x: Floats) -> Floats:
    """Return R (min(N, D), D) with RᵀR the covariance of the rows."""
    return np.asarray(np.linalg.qr(centred(x), mode="r") / np.sqrt(len(x) - 1))


def mmd(
    x: Any,
    y: Any,
    bandwidth: float | None = None,
    *,
    paired: bool = False,
    max_samples: int = MAX_SAMPLES,
    seed: int = 0,
) -> float:
    """Unbiased squared maximum mean discrepancy, with the kernel exp(−‖x − y‖² / 2h²).

    Gretton et al. (JMLR 2012), equation 3; equation 4 where rows are paired, which leaves out
    the kernels of a row with its own pair, so that identical rows give 0.

    Args:
        x: (N, D), N at least 2.
        y: (M, D), M at least 2.
        bandwidth: h. By default the median distance of two different rows among those of both
            sides; their mean distance where more than half of the distances are 0.
        paired: row i of both sides is the same sample, before and after a corruption.
        max_samples: above it, a seeded random subsample of so many rows of a side.
        seed: of the subsamples. Sides of equal length keep the same rows.

    Returns:
        The discrepancy, at most 2; it may be below 0, as its mean is 0 with no shift.
    """
    return _mmd_of(*_distances(x, y, max_samples, seed, paired), bandwidth, paired)


def _mmd_of(distances: Floats, n: int, bandwidth: float | None, paired: bool) -> float:
    m = len(distances) - n
    if bandwidth is not None and not 0 < bandwidth < np.inf:
        raise UsageError(f"bandwidth is {bandwidth}; expected a number above 0")
    h = bandwidth or _median_distance(distances)
    if h == 0:
        return 0.0  # all rows are equal
    kernel = np.exp(-((distances / h) ** 2) / 2)
    within_x = (kernel[:n, :n].sum() - n) / (n * (n - 1))
    within_y = (kernel[n:, n:].sum() - m) / (m * (m - 1))
    across = kernel[:n, n:]
    left_out = np.trace(across) if paired else 0.0
    return float(within_x + within_y - 2 * (across.sum() - left_out) / (n * (m - paired)))


def _distances(
    x: Any, y: Any, max_samples: int, seed: int, paired: bool = False
) -> tuple[Floats, int]:
    """Return the Euclidean distances between all rows, x's before y's, and how many are x's."""
    from scipy.spatial.distance import pdist, squareform

    if max_samples < 2:
        raise UsageError(f"max_samples is {max_samples}; expected at least 2")
    sides = two_sides(x, y, least=2)
    n, m = map(len, sides)
    if paired and n != m:  # a subsample of each would be equally many, of other pairs
        raise UsageError(f"x has {n} rows and y {m}; paired rows are equally many")
    a, b = (side[draw_rows(len(side), max_samples, seed)] for side in sides)
    return np.asarray(squareform(pdist(np.concatenate([a, b])))), len(a)


def _median_distance(distances: Floats) -> float:
    pairs = distances[np.triu_indices(len(distances), k=1)]
    return float(np.median(pairs)) or float(np.mean(pairs))


def energy_distance(x: Any, y: Any, max_samples: int = MAX_SAMPLES, seed: int = 0) -> float:
    """Energy distance: 2E‖x − y‖ − E‖x − x'‖ − E‖y − y'‖ over all pairs of rows (a V-statistic).

    Székely & Rizzo (Journal of Statistical Planning and Inference, 2013). In one dimension it is
    the square of `scipy.stats.energy_distance`.

    Args:
        x: (N, D), N at least 2.
        y: (M, D), M at least 2.
        max_samples: above it, a seeded random subsample of so many rows of a side.
        seed: of the subsamples. Sides of equal length keep the same rows.

    Returns:
        The distance, at least 0, in units of x.
    """
    return _energy_of(*_distances(x, y, max_samples, seed))


def _energy_of(distances: Floats, n: int) -> float:
    within = distances[:n, :n].mean() + distances[n:, n:].mean()
    return max(float(2 * distances[:n, n:].mean() - within), 0.0)


def mmd_and_energy(x: Any, y: Any, *, paired: bool = False) -> tuple[float, float]:
    """Return `mmd` and `energy_distance` from distances that are computed once for both."""
    distances, n = _distances(x, y, MAX_SAMPLES, 0, paired)
    return _mmd_of(distances, n, None, paired), _energy_of(distances, n)


def linear_cka(x: Any, y: Any) -> float:
    """Linear centred kernel alignment of paired rows: ‖YᵀX‖² / (‖XᵀX‖·‖YᵀY‖), columns centred.

    Kornblith et al. (ICML 2019, arXiv 1905.00414), with Frobenius norms.

    Args:
        x: (N, D).
        y: (N, E), row i of the same sample as row i of x.

    Returns:
        The similarity in [0, 1]. Where rows do not vary it is not defined: 0 is returned where
        they do not vary on one side, 1 where on neither.
    """
    a, b = centred(as_rows(x, "x")), centred(as_rows(y, "y"))
    if len(a) != len(b):
        raise UsageError(f"x has {len(a)} rows and y {len(b)}; CKA compares paired rows")
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    if len(a) < max(a.shape[1], b.shape[1]):
        k, m = a @ a.T, b @ b.T
        across, own = np.sum(k * m), np.linalg.norm(k) * np.linalg.norm(m)
    else:
        across = np.linalg.norm(b.T @ a) ** 2
        own = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(np.clip(across / own, 0, 1))
