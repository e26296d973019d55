"""The predictors of a study's cell, from the representations of its two sides alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resque.accuracies import accuracy
from resque.baselines import Representations, compare
from resque.clustering import cluster, disagreement
from resque.indices import ARRAY_GROUPS, resque_dist_of_sums
from resque.ledger import LayerIndex
from resque.representations import Vectors
from resque.separation import aligned_scatter_shift, scatter_shift
from resque.sums import ClassSums, Floats, Ints, Label
from resque.transfer_scores import transfer_scores
from resque.uncertainty import angles


def compare_layers(
    a: Vectors, b: Vectors, names: Sequence[str], *, paired: bool
) -> tuple[LayerIndex, ...]:
    """Return RESQUE_dist of each layer with the data's and with predicted labels.

    Args:
        a: of the original data.
        b: of the shifted data.
        names: layers from the first to the classifier's input, which also gets the index with
            class probabilities for labels.
        paired: both are of the same rows.
    """
    found = []
    for i, name in enumerate(names):
        depth = i / (len(names) - 1) if len(names) > 1 else 1.0
        for kind, labels in _labels_of(a, b).items():
            sums = [_sums(x, name, y) for x, y in zip((a, b), labels, strict=True)]
            if not set(sums[0].labels) & set(sums[1].labels):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of classes left out: the ledger is no place
                score = resque_dist_of_sums(*sums, paired=paired and kind == "data")
            found.append(
                LayerIndex(
                    name,
                    depth,
                    kind,
                    score.value,
                    score.interval if np.isfinite(score.interval).all() else None,
                    score.noise_floor if np.isfinite(score.noise_floor) else None,
                    score.debiased if np.isfinite(score.debiased) else None,
                )
            )
    if a.logits is not None and b.logits is not None:
        from scipy.special import softmax

        (x, p), (y, q) = ((v.vectors[names[-1]], softmax(v.logits, axis=1)) for v in (a, b))
        value = soft_resque_dist(x, p, y, q)
        found.append(LayerIndex(names[-1], 1.0, "soft", value, None, None, None))
    return tuple(found)


def _labels_of(a: Vectors, b: Vectors) -> dict[str, tuple[list[Label], list[Label]]]:
    kinds = {}
    if a.labels and b.labels:
        kinds["data"] = a.labels, b.labels
    if a.logits is not None and b.logits is not None:
        predicted = [[int(i) for i in x.logits.argmax(axis=1)] for x in (a, b)]  # type: ignore[union-attr]
        kinds["predicted"] = (list(predicted[0]), list(predicted[1]))
    return kinds


def _sums(vectors: Vectors, layer: str, labels: list[Label]) -> ClassSums:
    sums = ClassSums(ARRAY_GROUPS)
    sums.add(vectors.vectors[layer], labels, vectors.indices)
    return sums


def soft_resque_dist(
    original: NDArray[Any],
    original_probabilities: Floats,
    shifted: NDArray[Any],
    shifted_probabilities: Floats,
) -> float:
    """RESQUE_dist with class probabilities in place of labels.

    Each sample adds its vector to the sum of every class, weighted by its probability. With
    one-hot probabilities it is RESQUE_dist; predicted labels collapse where all predictions fall
    on few classes, and probabilities do so less.

    Args:
        original: (N, D) representations.
        original_probabilities: (N, K), rows that add up to 1.
        shifted: (M, D) representations.
        shifted_probabilities: (M, K).

    Returns:
        The mean over the classes of the angle between the weighted sums, / π, in [0, 1]; NaN
        where no class has a sum on both sides.
    """
    a, b = (
        probabilities.T.astype(np.float64) @ x.astype(np.float64)
        for x, probabilities in (
            (original, original_probabilities),
            (shifted, shifted_probabilities),
        )
    )
    some = a.any(axis=1) & b.any(axis=1)
    return float(angles(a[some], b[some]).mean() / np.pi) if some.any() else float("nan")


def compute_predictors(
    a: Vectors,
    b: Vectors,
    indices: Sequence[LayerIndex],
    main: str,
    *,
    paired: bool,
    seed: int,
) -> dict[str, float]:
    """Return the predictors of `resque.predictors` that two sides have; finite ones alone.

    Args:
        a: of the original data.
        b: of the shifted data.
        indices: of `compare_layers`.
        main: the classifier's input.
        paired: both are of the same rows.
        seed: of the clustering.
    """
    found = {
        **_resque(indices, main),
        **_separation(a, b, main),
        **_rivals(a, b, main, paired),
    }
    if b.labels:
        found["resque_task"] = _task(b, main, seed)
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def _resque(indices: Sequence[LayerIndex], main: str) -> dict[str, float]:
    """Return the predictors that are RESQUE in one of its variants."""
    at = {(x.layer, x.labels): x for x in indices}
    found = {}
    for kind, name in (
        ("data", "resque_dist"),
        ("predicted", "resque_dist_predicted"),
        ("soft", "resque_dist_soft"),
    ):
        if (main, kind) in at:
            found[name] = at[main, kind].value
    labelled = at.get((main, "data"))
    if labelled is not None and labelled.debiased is not None:
        found["resque_dist_debiased"] = labelled.debiased
    layers = [x.value for x in indices if x.labels == "data"]
    if len(layers) > 1:
        found["resque_dist_layers"] = float(np.mean(layers))
    return found


def _separation(a: Vectors, b: Vectors, main: str) -> dict[str, float]:
    x, y, found = a.vectors[main], b.vectors[main], {}
    if a.labels and b.labels:
        found["resque_scatter"] = scatter_shift(x, a.labels, y, b.labels)
    if a.logits is not None:
        found["resque_scatter_aligned"] = aligned_scatter_shift(x, a.logits, y)
    return found


def _rivals(a: Vectors, b: Vectors, main: str, paired: bool) -> dict[str, float]:
    sides = [
        Representations(x.vectors, main, x.logits, x.targets if x.labels else None) for x in (a, b)
    ]
    found = compare(sides[0], sides[1], paired=paired)
    if b.labels and (b.targets < 0).all():  # a new task: these scores are of its own classes
        found |= transfer_scores(b.vectors[main], b.labels, b.logits)
    for name, side in (("accuracy", b), ("original_accuracy", a)):
        known = side.targets >= 0
        if side.logits is not None and known.any():
            found[name] = accuracy(side.logits[known], side.targets[known])
    if b.labels:
        found["classes"] = float(len(set(b.labels)))
    return found


def codes_of(labels: Sequence[Label]) -> Ints:
    """Return (n,) numbers from 0 of labels, by the order of their names."""
    return np.asarray(np.unique([str(x) for x in labels], return_inverse=True)[1], np.int64)


def _task(vectors: Vectors, main: str, seed: int) -> float:
    """Return RESQUE_task from the class centroids, without its interval."""
    y = codes_of(vectors.labels)
    clusters, _ = cluster(vectors.vectors[main], y, "centroids", 1, seed)
    return disagreement(y, clusters)
