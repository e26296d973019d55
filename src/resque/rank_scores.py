"""The scores that models are ranked by, each with what tells its error: replicates without a part.

A score's error is that of its difference to another model's score over the same rows. So every
score comes with its values without each of eight random parts of the rows (delete-a-group
jackknife, Shao & Wu 1989): the same parts for every model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy.special import softmax

from resque.clustering import cluster, contingency, disagreement, task_interval
from resque.kept_rows import KeptRows
from resque.moments import Moments
from resque.sums import Floats, Ints, group_of
from resque.transfer_scores import (
    h_score_of_moments,
    knn_hits,
    knn_means,
    leep_of_rows,
    logme_of_moments,
    nce_of_counts,
)

PARTS = 8
T975 = 2.365  # 97.5 % quantile of Student's t with PARTS − 1 degrees of freedom
LEAST_ROWS = 4 * PARTS  # below which no error is told


@dataclass(frozen=True)
class Kind:
    """A score.

    Attributes:
        what: one line.
        greater_is_better: which way it is read.
        of_numbers: whether it is of targets that are numbers, too.
    """

    what: str
    greater_is_better: bool
    of_numbers: bool = False


MEAN_RANK = "mean_rank"  # among the candidates: `with_mean_ranks` makes it
MEAN_OF = ("hscore", "knn", "resque_task")
SCORES = {
    "hscore": Kind("regularized H-score", True),
    "logme": Kind("log evidence of a linear model, nats per sample", True, of_numbers=True),
    "knn": Kind("leave-one-out accuracy of 5 neighbours", True, of_numbers=True),
    "leep": Kind("log-likelihood from the model's own classes, nats", True),
    "nce": Kind("negative conditional entropy given the model's own classes, nats", True),
    "resque_task": Kind("1 − adjusted Rand index of k-means clusters", False),
    MEAN_RANK: Kind("mean rank by hscore, knn and resque_task", False),
}


@dataclass(frozen=True)
class Estimate:
    """A score's value.

    Attributes:
        value: over the rows.
        interval: (low, high), 95 %; None where there are too few rows.
        replicates: values without each part of the rows, scaled to the value's number of rows.
    """

    value: float
    interval: tuple[float, float] | None
    replicates: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        interval = None if self.interval is None else list(self.interval)
        return {"value": self.value, "interval": interval, "replicates": list(self.replicates)}


def estimate_of(found: dict[str, Any]) -> Estimate:
    """Return the estimate of a `to_dict`."""
    interval = found["interval"]
    ends = None if interval is None else (float(interval[0]), float(interval[1]))
    return Estimate(float(found["value"]), ends, tuple(map(float, found["replicates"])))


def deviation(replicates: Sequence[float]) -> float:
    """Return the standard error that a jackknife's replicates tell; NaN where there are none."""
    x = np.asarray(replicates)
    return float(np.sqrt((len(x) - 1) / len(x) * np.sum((x - x.mean()) ** 2))) if len(x) else np.nan


def difference(a: Estimate, b: Estimate) -> tuple[float, float]:
    """Return a − b and the half-width of its 95 % interval; NaN where no error is known."""
    gaps = np.subtract(a.replicates, b.replicates) if a.replicates and b.replicates else ()
    return a.value - b.value, T975 * deviation(cast(Any, gaps))


def score_layer(
    moments: Moments,
    kept: KeptRows,
    layer: str,
    predicted: Floats | None,
    wanted: Sequence[str],
    *,
    init: str = "centroids",
    seed: int = 0,
    device: str = "cpu",
) -> tuple[dict[str, Estimate], list[str]]:
    """Return a layer's scores by name, and notes.

    Args:
        moments: of all rows.
        kept: a sample of them.
        layer: whose vectors in the sample are meant.
        predicted: (source classes, target classes) counts of all rows, or None without a head.
        wanted: names of scores; those of a head are left out where there is none.
        init: of RESQUE_task.
        seed: of RESQUE_task.
        device: of k-means and of neighbours, where it is a CUDA device.
    """
    rows = _Rows(moments, kept, layer, predicted, init, seed, device)
    known = {
        "logme": rows.logme,
        "hscore": rows.hscore,
        "knn": rows.knn,
        "leep": rows.leep if kept.logits is not None else None,
        "nce": rows.nce if predicted is not None and kept.logits is not None else None,
        "resque_task": rows.resque_task,
    }
    if rows.numbers:
        known = {name: run for name, run in known.items() if SCORES[name].of_numbers}
    found = {name: run() for name in wanted if (run := known.get(name)) is not None}
    return found, rows.notes


class _Rows:
    """One layer's rows, and what several of its scores share."""

    def __init__(
        self,
        moments: Moments,
        kept: KeptRows,
        layer: str,
        predicted: Floats | None,
        init: str,
        seed: int,
        device: str,
    ) -> None:
        self.moments, self.kept, self.predicted = moments, kept, predicted
        self.x, self.init, self.seed, self.device = kept.vectors[layer], init, seed, device
        self.numbers = moments.targets is not None
        names = np.array([str(label) for label in kept.labels])
        self.y: Ints = np.unique(names, return_inverse=True)[1].astype(np.int64)
        groups = group_of(kept.indices >> kept.bits_within, PARTS)
        self.rest = [np.flatnonzero(groups != g) for g in range(PARTS)]
        self.share = len(self.y) / moments.n  # of all rows that are kept
        self.notes: list[str] = []
        self._without: list[Moments] | None = None

    def logme(self) -> Estimate:
        return self._of_moments(logme_of_moments)

    def hscore(self) -> Estimate:
        return self._of_moments(h_score_of_moments)

    def knn(self) -> Estimate:
        if self.numbers:
            return self._knn_of_numbers()
        return self._of_rows(knn_hits(self.x, self.y, device=self.device).astype(np.float64))

    def _knn_of_numbers(self) -> Estimate:
        """Return the correlation of targets with the mean of the neighbours' targets."""
        y = np.array(self.kept.labels, np.float64)
        means = knn_means(self.x, y, device=self.device)

        def agreement(rows: Any) -> float:
            both = y[rows], means[rows]
            return float(np.corrcoef(*both)[0, 1]) if all(map(np.ptp, both)) else 0.0

        value = agreement(slice(None))
        return self._estimate(value, [agreement(rest) for rest in self._parts()])

    def leep(self) -> Estimate:
        probabilities = softmax(np.asarray(self.kept.logits, np.float64), axis=1)
        return self._of_rows(leep_of_rows(probabilities, self.y))

    def nce(self) -> Estimate:
        z = np.asarray(self.kept.logits).argmax(axis=1)
        replicates = [nce_of_counts(contingency(z[rest], self.y[rest])) for rest in self._parts()]
        whole = nce_of_counts(contingency(z, self.y))
        value = nce_of_counts(cast(Floats, self.predicted))
        return self._estimate(value, self._scaled(value, whole, replicates))

    def resque_task(self) -> Estimate:
        clusters, centres = cluster(self.x, self.y, self.init, 10, self.seed, self.device)
        start = None if self.init == "centroids" else centres
        value = disagreement(self.y, clusters)
        rows = self.x, self.y, clusters, start
        interval, _, _ = task_interval(*rows, self.seed, self.device)
        replicates = [disagreement(self.y[rest], clusters[rest]) for rest in self._parts()]
        classes, dim = int(self.y.max()) + 1, self.x.shape[1]
        if self.init == "centroids" and classes > 1 and len(self.y) < classes * dim / 4:
            self.notes.append(
                f"resque_task: {len(self.y)} rows of {classes} classes in {dim} dimensions are too "
                f"few for k-means from the class means; take {classes * dim // 4}, or "
                "init='k-means++' (--init k-means++)"
            )
        return Estimate(value, interval, tuple(replicates))

    def _of_moments(self, score: Callable[[Moments], float]) -> Estimate:
        value = score(self.moments)
        if self._without is None:
            self._without = list(self._moments_without())
        if not self._without:
            return Estimate(value, None, ())
        replicates = [score(part) for part in self._without]
        # About the mean of the replicates: the kept rows' own value may differ from all rows'.
        return self._estimate(value, self._scaled(value, float(np.mean(replicates)), replicates))

    def _moments_without(self) -> Iterator[Moments]:
        """Yield the moments of the kept rows without each part."""
        if not self._parts():
            return
        every = np.arange(len(self.y))
        whole = self.moments if self.share == 1 else self._moments_of(every)
        for rest in self.rest:
            yield whole - self._moments_of(np.setdiff1d(every, rest))

    def _moments_of(self, rows: Ints) -> Moments:
        found = Moments()
        labels: list[Any] = [self.kept.labels[i] for i in rows]
        numbers = np.array(labels, np.float64) if self.numbers else None
        classes = ["number"] * len(labels) if self.numbers else labels
        found.add(self.x[rows], classes, self.kept.indices[rows], numbers)
        return found

    def _of_rows(self, each: Floats) -> Estimate:
        value = float(each.mean())
        return self._estimate(value, [float(each[rest].mean()) for rest in self._parts()])

    def _parts(self) -> list[Ints]:
        return self.rest if len(self.y) >= LEAST_ROWS else []

    def _scaled(self, value: float, about: float, replicates: Sequence[float]) -> list[float]:
        """Return the kept rows' replicates as all rows would have them."""
        return [value + (x - about) * float(np.sqrt(self.share)) for x in replicates]

    def _estimate(self, value: float, replicates: Sequence[float]) -> Estimate:
        if not replicates:
            return Estimate(value, None, ())
        half = T975 * deviation(replicates)
        return Estimate(value, (value - half, value + half), tuple(replicates))
