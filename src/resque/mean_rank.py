"""The mean of a model's ranks by several scores: what models are sorted by where none is chosen.

No score of representations is best everywhere: the H-score ordered images best and texts no
better than chance. The mean rank of these three was chosen on images and then lost least on texts
(benchmarks/results/ranking/report.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.stats import rankdata

from resque.rank_results import RankedModel
from resque.rank_scores import MEAN_OF, MEAN_RANK, SCORES, T975, Estimate, deviation
from resque.sums import Floats


def with_mean_ranks(models: Sequence[RankedModel]) -> list[RankedModel]:
    """Return the models, each of those that have the three scores with its mean rank among them."""
    ranked = [x for x in models if set(MEAN_OF) <= set(x.scores)]
    found = dict(zip(map(id, ranked), _mean_ranks(ranked), strict=True)) if ranked else {}
    return [_with(x, found[id(x)]) if id(x) in found else x for x in models]


def _with(model: RankedModel, found: Estimate) -> RankedModel:
    if model.layer is None:
        return model
    layer = replace(model.layer, scores={**model.layer.scores, MEAN_RANK: found})
    return replace(model, layer=layer)


def _mean_ranks(models: Sequence[RankedModel]) -> list[Estimate]:
    """Return the mean ranks, 1 for a model that is best by all, and their replicates.

    The parts of the rows are the same for every model, so that the ranks without a part are a
    replicate of the ranks.
    """
    values = _ranks_of([[x.scores[name].value for name in MEAN_OF] for x in models])
    parts = [[x.scores[name].replicates for name in MEAN_OF] for x in models]
    if not all(each for model in parts for each in model):
        return [Estimate(float(x), None, ()) for x in values]
    replicates = np.array([_ranks_of(x) for x in np.moveaxis(np.array(parts), -1, 0)])
    return [_estimate(x, y, len(models)) for x, y in zip(values, replicates.T, strict=True)]


def _ranks_of(scores: Sequence[Sequence[float]] | Floats) -> Floats:
    """Return the (models,) mean ranks of (models, scores); equal scores share a rank."""
    signs = [-1 if SCORES[name].greater_is_better else 1 for name in MEAN_OF]
    return np.asarray(rankdata(np.multiply(scores, signs), axis=0).mean(axis=1))


def _estimate(value: float, replicates: Floats, models: int) -> Estimate:
    half = T975 * deviation(replicates.tolist())
    ends = max(value - half, 1.0), min(value + half, float(models))
    return Estimate(float(value), ends, tuple(map(float, replicates)))
