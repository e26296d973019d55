"""The peers of RESQUE by name, and all of them at once for two data sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resque.accuracies import (
    accuracy,
    atc,
    cross_entropy,
    doc,
    mean_confidence,
    mean_entropy,
)
from resque.distances import (
    arm,
    check_layers,
    frechet_distance,
    linear_cka,
    mmd_and_energy,
)
from resque.errors import UsageError
from resque.transfer_scores import as_rows, transfer_scores


@dataclass(frozen=True, eq=False)
class Representations:
    """What a model makes of a data set.

    Attributes:
        vectors: (N, D) representations by layer name.
        layer: the layer of the classifier's input, which the scores of one layer use.
        logits: (N, C), or None.
        targets: (N,) the model's class ids, −1 where a sample has none; or None.
    """

    vectors: Mapping[str, NDArray[Any]]
    layer: str
    logits: NDArray[Any] | None = None
    targets: NDArray[Any] | None = None


@dataclass(frozen=True)
class Predictor:
    """A quantity, known before retraining, that may tell what it costs.

    Attributes:
        needs_labels: it takes labels of the shifted data.
        sign: +1 where a greater value should mean a dearer retraining, −1 where a cheaper one.
        what: in a few words.
        source: where it comes from.
        is_resque: whether it is RESQUE or a variant of it.
    """

    needs_labels: bool
    sign: int
    what: str
    source: str
    is_resque: bool = False


BASELINES = {
    "arm": Predictor(
        False, +1, "Wasserstein distance of activations, mean over layers", "arXiv 2405.09600"
    ),
    "accuracy_drop": Predictor(True, +1, "original less shifted accuracy", "definition"),
    "loss_increase": Predictor(True, +1, "shifted less original cross-entropy", "definition"),
    "entropy_increase": Predictor(False, +1, "shifted less original mean entropy", "definition"),
    "confidence_drop": Predictor(False, +1, "original less shifted confidence", "arXiv 1610.02136"),
    "atc_drop": Predictor(False, +1, "accuracy drop foreseen by ATC", "arXiv 2201.04234"),
    "doc_drop": Predictor(False, +1, "accuracy drop foreseen by DoC", "arXiv 2107.03315"),
    "frechet": Predictor(False, +1, "squared Fréchet distance of Gaussians", "arXiv 1706.08500"),
    "mmd": Predictor(False, +1, "squared maximum mean discrepancy", "JMLR 13 (2012) 723"),
    "cka": Predictor(False, +1, "1 − linear CKA of paired rows", "arXiv 1905.00414"),
    "energy_distance": Predictor(False, +1, "energy distance", "JSPI 143 (2013) 1249"),
    "logme": Predictor(True, -1, "log evidence of a linear model", "arXiv 2102.11005"),
    "hscore": Predictor(True, -1, "regularized H-score", "arXiv 2110.06893"),
    "leep": Predictor(True, -1, "log-likelihood from the model's classes", "arXiv 2002.12462"),
    "knn_error": Predictor(True, +1, "leave-one-out error of 5 neighbours", "definition"),
    "gradient_norm": Predictor(
        True, +1, "norm of one batch's loss gradient before training", "definition"
    ),
    "n_parameters": Predictor(False, +1, "parameters of the model", "definition"),
    "n_train": Predictor(False, -1, "rows trained on", "definition"),
}


def compare(
    original: Representations, shifted: Representations, *, paired: bool
) -> dict[str, float]:
    """Return the baselines that can be computed, by their names in `BASELINES`.

    Those of one layer use the classifier's input. Those that take targets use the rows that have
    one. logme, hscore, leep and knn_error are of the shifted data and its targets, where two rows
    have one.

    Args:
        original: of the original data, 2 rows at least.
        shifted: of the shifted data, the same layers.
        paired: row i of both is the same sample, before and after a corruption.
    """
    check_layers(original.vectors, shifted.vectors)
    for side, name in ((original, "original"), (shifted, "shifted")):
        _check_side(side, name)
    if original.layer != shifted.layer:
        raise UsageError(
            f"original's layer is {original.layer!r} and shifted's {shifted.layer!r}; "
            "expected the same"
        )
    x, y = original.vectors[original.layer], shifted.vectors[shifted.layer]
    if paired and len(x) != len(y):
        raise UsageError(f"original has {len(x)} rows and shifted {len(y)}, so they are not paired")
    discrepancy, energy = mmd_and_energy(x, y, paired=paired)
    found = {
        "arm": arm(original.vectors, shifted.vectors),
        "frechet": frechet_distance(x, y),
        "mmd": discrepancy,
        "energy_distance": energy,
        **_compare_outputs(original, shifted),
    }
    rows, ids = _known(shifted)
    if len(rows) > 1:
        logits = None if shifted.logits is None else shifted.logits[rows]
        found |= transfer_scores(y[rows], ids, logits)
    if paired:
        found["cka"] = 1 - linear_cka(x, y)
    return {name: found[name] for name in BASELINES if name in found}


def _check_side(side: Representations, name: str) -> None:
    """Raise where arrays of a side do not fit each other, naming the side and the array."""
    if side.layer not in side.vectors:
        raise UsageError(f"{name} has no layer {side.layer!r}; it has {sorted(side.vectors)}")
    n = len(as_rows(side.vectors[side.layer], f"{name} layer {side.layer!r}", least=2))
    if side.logits is not None and len(as_rows(side.logits, f"{name} logits")) != n:
        raise UsageError(f"{name} has {n} rows and {len(side.logits)} rows of logits")
    if side.targets is not None and np.shape(side.targets) != (n,):
        raise UsageError(f"{name} has {n} rows and targets of shape {np.shape(side.targets)}")


def _compare_outputs(original: Representations, shifted: Representations) -> dict[str, float]:
    """Return the baselines that need the logits of both sides."""
    if original.logits is None or shifted.logits is None:
        return {}
    logits, found = shifted.logits, {}
    found["entropy_increase"] = mean_entropy(logits) - mean_entropy(original.logits)
    found["confidence_drop"] = mean_confidence(original.logits) - mean_confidence(logits)
    rows, ids = _known(original)
    if len(rows):
        old = original.logits[rows], ids
        found["atc_drop"] = accuracy(*old) - atc(*old, logits)
        found["doc_drop"] = accuracy(*old) - doc(*old, logits)
        rows, ids = _known(shifted)
        if len(rows):
            found["accuracy_drop"] = accuracy(*old) - accuracy(logits[rows], ids)
            found["loss_increase"] = cross_entropy(logits[rows], ids) - cross_entropy(*old)
    return found


def _known(side: Representations) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the rows that have a target, and their targets."""
    if side.targets is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows = np.flatnonzero(np.asarray(side.targets) != -1)
    return rows, np.asarray(side.targets)[rows]
