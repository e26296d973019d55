"""The two indices, RESQUE_dist and RESQUE_task: arrays or class sums in, scores out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from resque.clustering import cluster, disagreement, task_interval
from resque.errors import UsageError
from resque.sampling import draw_rows
from resque.sums import ClassSums, Ints, Label
from resque.uncertainty import angles, estimate_noise, estimate_uncertainty

ARRAY_GROUPS = 64  # groups of rows for the error, when whole arrays are at hand
MIN_SAMPLES = 5  # samples a class below which its error is not to be trusted
MAX_CLUSTERED_ROWS = 50_000
Init = Literal["centroids", "k-means++"]
Embedding = Literal["averaged", "flattened"]


@dataclass(frozen=True)
class Score:
    """An index with its error.

    Attributes:
        name: "resque_dist" or "resque_task".
        value: the index: in [0, 1] for RESQUE_dist, in [0, 1.5] for RESQUE_task.
        interval: (low, high), 95 % confidence interval of the large-sample index. The value of
            RESQUE_dist is biased upward by sampling, so it may lie above its interval.
        noise_floor: the value expected with no shift at this sample size; NaN where every class
            has a single sample. 0 for RESQUE_task, which is 0 for separable classes at any size.
        debiased: the value with its sampling bias taken out.
        p_value: probability of so large a value with no shift; NaN for RESQUE_task.
        per_class: angle / π of each class; empty for RESQUE_task.
        counts: samples of each class (original, shifted); for RESQUE_task (rows, rows used).
        left_out: classes that have no score, with the reason.
        settings: how it was computed.
    """

    name: str
    value: float
    interval: tuple[float, float]
    noise_floor: float
    debiased: float
    p_value: float
    per_class: dict[Label, float] = field(default_factory=dict)
    counts: dict[Label, tuple[int, int]] = field(default_factory=dict)
    left_out: dict[Label, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; NaN becomes None, labels become strings."""
        return {
            "value": self.value,
            "interval": [_json(x) for x in self.interval],
            "noise_floor": _json(self.noise_floor),
            "debiased": _json(self.debiased),
            "p_value": _json(self.p_value),
            "per_class": {str(k): v for k, v in self.per_class.items()},
            "counts": {str(k): list(v) for k, v in self.counts.items()},
            "left_out": {str(k): v for k, v in self.left_out.items()},
            **self.settings,
        }


def _json(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def resque_dist(
    original: Any,
    original_labels: Any,
    shifted: Any,
    shifted_labels: Any,
    *,
    channel_axis: int = 1,
    paired: bool = False,
) -> Score:
    """RESQUE for a distribution shift: mean over classes of the angle between class sums, / π.

    Sangarya & Kim (AAAI 2025, arXiv 2412.15511), section on RESQUE_dist.

    Args:
        original: (N, D) or (N, C, …) representations, numpy, torch or nested lists, any float
            dtype. Every axis but the first and the channel axis is averaged.
        original_labels: (N,) ints or strings.
        shifted: (M, D) or (M, C, …) representations of the shifted data.
        shifted_labels: (M,) ints or strings.
        channel_axis: which axis is the channel; -1 for (N, tokens, features).
        paired: row i of both is the same sample, before and after a corruption. Their common
            sampling noise then cancels in the error. The value is the same.

    Returns:
        The score, with one entry of `per_class` for each class that both sides have.

    Raises:
        ValueError: where shapes differ, values are NaN or infinite, or no class is in common.

    >>> resque_dist([[1.0, 0.0]] * 5, ["a"] * 5, [[0.0, 1.0]] * 5, ["a"] * 5).value
    0.5
    """
    a = _sums_of(original, original_labels, channel_axis, "original")
    b = _sums_of(shifted, shifted_labels, channel_axis, "shifted")
    return resque_dist_of_sums(a, b, paired=paired)


def resque_dist_of_sums(a: ClassSums, b: ClassSums, *, paired: bool = False) -> Score:
    """RESQUE_dist from the class sums of the original and the shifted data.

    Args:
        a: sums of the original data.
        b: sums of the shifted data, of the same dimension.
        paired: both are sums over the same rows.

    Raises:
        ValueError: where dimensions differ or no class is in common.
    """
    if a.labels and b.labels and a.sums.shape[2] != b.sums.shape[2]:
        raise ValueError(
            f"original has {a.sums.shape[2]} dimensions and shifted {b.sums.shape[2]}; "
            "an index compares representations of the same layer of the same model"
        )
    labels, left_out = _common_classes(a, b)
    sides = a.select(labels), b.select(labels)
    per_class = angles(sides[0][1].sum(axis=1), sides[1][1].sum(axis=1))
    error = estimate_uncertainty(per_class, estimate_noise(*sides, paired=paired))
    counts = {k: (a.class_counts[k], b.class_counts[k]) for k in labels}
    _warn_few({k: min(n) for k, n in counts.items()})
    return Score(
        name="resque_dist",
        value=float(per_class.mean() / np.pi),
        interval=error.interval,
        noise_floor=error.noise_floor,
        debiased=error.debiased,
        p_value=error.p_value,
        per_class=dict(zip(labels, (per_class / np.pi).tolist(), strict=True)),
        counts=counts,
        left_out=left_out,
        settings={"paired": paired},
    )


def _common_classes(a: ClassSums, b: ClassSums) -> tuple[list[Label], dict[Label, str]]:
    """Classes that have an angle, and those that have none with the reason (one warning)."""
    left_out: dict[Label, str] = {}
    for label in a.labels:
        if label not in b.class_counts:
            left_out[label] = "not in the shifted data"
    for label in b.labels:
        if label not in a.class_counts:
            left_out[label] = "not in the original data"
    common = [label for label in a.labels if label not in left_out]
    for side, name in ((a, "original"), (b, "shifted")):
        totals = side.select(common)[1].sum(axis=1)
        for label, total in zip(common, totals, strict=True):
            if not total.any():
                left_out.setdefault(label, f"its sum over the {name} data is zero")
            if not np.isfinite(total).all():
                raise ValueError(
                    f"the sum of class {label!r} over the {name} data is too large for float64; "
                    "divide all representations by a number, which changes no angle"
                )
    labels = _ordered([label for label in common if label not in left_out])
    if not labels:
        raise ValueError(
            "original and shifted data have no class in common that has an angle. "
            f"Classes of the original data: {_some(a.labels)}; of the shifted: {_some(b.labels)}"
        )
    if left_out:
        listed = "; ".join(f"{k!r}: {why}" for k, why in list(left_out.items())[:5])
        warnings.warn(f"{len(left_out)} class(es) left out ({listed})", stacklevel=4)
    return labels, left_out


def _ordered(labels: list[Label]) -> list[Label]:
    return sorted(labels, key=lambda x: (isinstance(x, str), x))


def _some(labels: Sequence[Label]) -> str:
    return ", ".join(map(repr, labels[:8])) + (", …" if len(labels) > 8 else "")


def _warn_few(counts: dict[Label, int]) -> None:
    few = {k: n for k, n in counts.items() if n < MIN_SAMPLES}
    if few:
        listed = ", ".join(f"{k!r}: {n}" for k, n in list(few.items())[:5])
        warnings.warn(
            f"{len(few)} class(es) have fewer than {MIN_SAMPLES} samples on a side ({listed}); "
            f"interval and noise floor need at least {MIN_SAMPLES} samples of each class",
            stacklevel=4,
        )


def as_vectors(array: Any, channel_axis: int = 1, name: str = "representations") -> NDArray[Any]:
    """Average every axis but the first and the channel axis, in float64 sums.

    Args:
        array: (N, D) or (N, …) numpy, torch or nested lists.
        channel_axis: which axis is kept; negative counts from the end.
        name: what an error calls it.

    Returns:
        (N, C): the array itself where it has two axes, else float64.

    Raises:
        TypeError: where it does not hold real numbers.
        ValueError: where it has fewer than two axes, or the channel axis is not there.
    """
    x = as_numpy(array, name)
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise ValueError(f"{name} has shape {x.shape}; expected (N, D) or (N, C, …)")
    if x.ndim == 2:
        return x
    axis = channel_axis % x.ndim if -x.ndim <= channel_axis < x.ndim else 0
    if axis == 0:
        raise ValueError(f"channel_axis {channel_axis} is not a channel of shape {x.shape}")
    others = tuple(i for i in range(1, x.ndim) if i != axis)
    return np.asarray(x.mean(axis=others, dtype=np.float64))


def as_numpy(array: Any, name: str) -> NDArray[Any]:
    """Return a float numpy array; torch tensors and lists, of tensors too, are converted.

    Raises:
        TypeError: where it does not hold real numbers.
        ValueError: where values are masked.
    """
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        foreign = re.search("bfloat16|float8|float4", str(array.dtype))  # numpy has none of these
        array = (array.float() if foreign else array).numpy()
    elif isinstance(array, list | tuple) and array and hasattr(array[0], "detach"):
        array = [as_numpy(row, name) for row in array]
    _check_unmasked(array, name)
    x = np.asarray(array)
    if x.dtype.kind in "iub":
        x = x.astype(np.float64)
    if x.dtype.kind != "f":
        raise TypeError(
            f"{name} holds {x.dtype} values; expected an array of floats (all rows equally long)"
        )
    return x


def _check_unmasked(array: Any, name: str) -> None:
    if np.ma.is_masked(array):
        raise ValueError(
            f"{name} has masked values: leave their rows out, or fill them (.filled())"
        )


def device_of(array: Any) -> str:
    """Return where an array is: a torch tensor's device, or "cpu"."""
    return str(array.device) if hasattr(array, "detach") else "cpu"


def as_labels(labels: Any, n: int, name: str = "labels") -> list[Label]:
    """Return n plain int or string labels.

    Raises:
        TypeError: where labels are neither ints nor strings, or are missing for some samples.
        ValueError: where there are not n of them, or one is larger than 64 bits.
    """
    if labels is None:
        raise TypeError(f"{name} is None; expected {n} ints or strings, one label a sample")
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    _check_unmasked(labels, name)
    x = np.asarray(labels)
    if x.dtype == object or (x.dtype.kind == "U" and not isinstance(labels, np.ndarray)):
        values = list(labels)
        others = [value for value in values if not isinstance(value, str)]
        if 0 < len(others) < len(values):  # numpy would make strings of these, of NaN too
            raise TypeError(
                f"{name} holds strings and {others[0]!r}; expected ints or strings, not both. "
                "Leave samples without a label out"
            )
        x = np.asarray(values)
    if x.shape != (n,):
        raise ValueError(f"{name} has shape {x.shape}; expected ({n},), one label a sample")
    if x.dtype.kind in "uf" and (np.abs(x) >= 2.0**63).any():
        raise ValueError(f"{name} holds {np.abs(x).max()}; expected ints of 64 bits, or strings")
    if x.dtype.kind == "f" and x.size and (x == np.round(x)).all():
        x = x.astype(np.int64)
    if x.size and x.dtype.kind not in "iubU":
        raise TypeError(f"{name} holds {x.dtype} values; expected ints or strings")
    return list(x.astype(np.int64).tolist() if x.dtype.kind in "iub" else x.tolist())


def _sums_of(array: Any, labels: Any, channel_axis: int, name: str) -> ClassSums:
    vectors = as_vectors(array, channel_axis, name)
    if not len(vectors):
        raise ValueError(f"{name} has no samples")
    sums = ClassSums(ARRAY_GROUPS)
    sums.add(vectors, as_labels(labels, len(vectors), f"{name}_labels"), np.arange(len(vectors)))
    return sums


def resque_task(
    embeddings: Any,
    labels: Any,
    init: Init = "centroids",
    *,
    embedding: Embedding = "averaged",
    channel_axis: int = 1,
    n_init: int = 10,
    seed: int = 0,
    max_rows: int | None = MAX_CLUSTERED_ROWS,
    device: str | None = None,
) -> Score:
    """RESQUE for a new task: 1 − Adjusted Rand Index of k-means clusters and labels.

    Sangarya & Kim (AAAI 2025, arXiv 2412.15511), section on RESQUE_task. The interval comes from
    random halves of the rows, clustered anew (see `resque.clustering.task_interval`).

    Args:
        embeddings: (N, D) or (N, C, …) representations of the new task's data.
        labels: (N,) ints or strings.
        init: "centroids" starts k-means at the class means (it uses the labels), "k-means++"
            from random samples, `n_init` times, best inertia kept.
        embedding: "averaged" over every axis but samples and channel, or "flattened".
        channel_axis: which axis is the channel.
        n_init: starts of k-means++.
        seed: of k-means++, the subsample and the interval.
        max_rows: above it, a seeded random subsample of so many rows is clustered, and
            `counts` and `settings` say so. None for all rows.
        device: where k-means runs: on "cuda" (or "cuda:1", …), or else on the CPU, by
            scikit-learn. None for where the embeddings are.

    Raises:
        ValueError: where values are NaN or infinite, shapes differ, `init` is unknown, or there
            is no such device.

    >>> resque_task([[0.0], [0.1], [5.0], [5.1]], [0, 0, 1, 1]).value
    0.0
    """
    check_task_options(init, embedding, n_init)
    if max_rows is not None and max_rows < 1:
        raise UsageError(f"max_rows is {max_rows}; expected at least 1")
    device = device_of(embeddings) if device is None else str(device)
    x = _embed(embeddings, embedding, channel_axis)
    names = as_labels(labels, len(x))
    rows = draw_rows(len(x), max_rows, seed)
    x, y = x[rows], np.unique(np.array(names)[rows], return_inverse=True)[1]
    clusters, centres = cluster(x, y, init, n_init, seed, device)
    value = disagreement(y, clusters)
    start = None if init == "centroids" else centres
    interval, corrected, method = task_interval(x, y, clusters, start, seed, device)
    _warn_of_tasks(x, y, init)
    return Score(
        name="resque_task",
        value=value,
        interval=interval,
        noise_floor=0.0,
        debiased=corrected,
        p_value=float("nan"),
        settings={
            "init": init,
            "embedding": embedding,
            "n_init": 1 if init == "centroids" else n_init,
            "seed": seed,
            "rows": len(names),
            "rows_clustered": len(rows),
            "classes": int(y.max()) + 1,
            "interval_method": method,
        },
    )


def check_task_options(init: str, embedding: str, n_init: int) -> None:
    """Raise UsageError where an option of `resque_task` is not one of those it takes."""
    if init not in ("centroids", "k-means++"):
        raise UsageError(f"init is {init!r}; expected 'centroids' or 'k-means++'")
    if embedding not in ("averaged", "flattened"):
        raise UsageError(f"embedding is {embedding!r}; expected 'averaged' or 'flattened'")
    if n_init < 1:
        raise UsageError(f"n_init is {n_init}; expected at least 1")


def _embed(embeddings: Any, embedding: str, channel_axis: int) -> NDArray[Any]:
    if embedding == "averaged":
        x = as_vectors(embeddings, channel_axis, "embeddings")
    else:
        x = as_numpy(embeddings, "embeddings")
    if not len(x):
        raise ValueError("embeddings has no samples")
    x = x.reshape(len(x), -1)
    x = x.astype(np.float32 if x.dtype == np.float32 else np.float64, copy=False)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{len(bad)} row(s) of embeddings have NaN or infinite values (first: row {bad[0]})"
        )
    return _within_squares(x)


def _within_squares(x: NDArray[Any]) -> NDArray[Any]:
    """Multiply by a power of two where squares would overflow or vanish; clusters stay the same."""
    exponent = int(np.frexp(max(x.max(), -x.min()))[1])
    far = abs(exponent) > (40 if x.dtype == np.float32 else 400)
    return np.asarray(np.ldexp(x, -exponent)) if far else x


def _warn_of_tasks(x: NDArray[Any], y: Ints, init: str) -> None:
    """Warn of one class alone, and of so few rows that the class means find their own rows."""
    classes, dim = int(y.max()) + 1, x.shape[1]
    if classes == 1:
        warnings.warn(
            f"all {len(y)} rows are of one class: the index is 0 and says nothing. Give data of "
            "two classes at least",
            stacklevel=3,
        )
    if init == "centroids" and classes > 1 and len(y) < classes * dim / 4:
        warnings.warn(
            f"{len(y)} rows of {classes} classes in {dim} dimensions: k-means that starts at the "
            "class means finds its own rows again, so that the index may be too low. Take at least "
            f"{classes * dim // 4} rows, or init='k-means++' (--init k-means++)",
            stacklevel=3,
        )
