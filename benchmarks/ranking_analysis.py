"""What the ranking study tells: each score against what retraining gave and cost, and its regret.

Of a data set and strategy, each score is compared with four outcomes of the candidates: final
accuracy, and steps, FLOPs and kWh until the target, TARGET of the best final accuracy. A candidate
that does not reach the target shares the last place. Regret is what taking the score's first
candidate loses against the best one. Means are over data sets; intervals resample data sets, and
candidates within each.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from ranking_candidates import Study
from scipy.stats import rankdata, weightedtau

from resque.mean_rank import with_mean_ranks
from resque.rank_results import LayerScores, Observation, RankedModel, Ranking, sorted_by
from resque.rank_scores import MEAN_OF, MEAN_RANK, SCORES, Estimate, difference
from resque.sums import Floats, Ints

TARGET = 0.9
RESAMPLES = 500
PLUS_PLUS = "resque_task, k-means++"  # RESQUE_task by its other initialisation
SCORED = tuple(name for name in SCORES if name != MEAN_RANK)
PARTS = ("hscore", "logme", "knn", "resque_task", PLUS_PLUS)  # that any checkpoint has
# Chosen by `choose_combination` on images alone, before any text was retrained; judged on texts.
COMBINATION = ("hscore", "knn", PLUS_PLUS)
COMBINED = "combination"
OUTCOMES = ("accuracy", "steps", "flops", "energy_kwh")
MEASURES = (
    *(f"{how} {what}" for what in OUTCOMES for how in ("spearman", "weighted_tau")),
    "regret accuracy",
    "regret energy_kwh",
)


@dataclass(frozen=True)
class Case:
    """The candidates of one data set, retrained by one strategy.

    Attributes:
        study: the modality.
        data: the data set.
        strategy: of retraining.
        models: the candidates.
        scores: by name, a value a candidate; greater is better, NaN where a model has none.
        outcomes: by name, a value a candidate; greater is better, −inf without the target.
        energy_kwh: until the target; of the whole run where it was not reached.
        recommended: index of the candidate that `resque rank` recommends.
        cheapest: index of the one with the quickest pass of those within the H-score's error.
    """

    study: str
    data: str
    strategy: str
    models: tuple[str, ...]
    scores: dict[str, Floats]
    outcomes: dict[str, Floats]
    energy_kwh: Floats
    recommended: int
    cheapest: int

    @property
    def reached(self) -> NDArray[np.bool_]:
        """Whether each candidate reached the target."""
        return np.isfinite(self.outcomes["steps"])


def cases_of(study: Study, scores: dict, lines: Sequence[dict], seed: int = 0) -> Iterator[Case]:
    """Yield the cases of a study whose candidates have all been retrained."""
    for strategy, data in itertools.product(study.strategies, study.data):
        names = study.candidates_of(data)
        key = data, strategy, seed
        chosen = {
            x["model"]: x for x in lines if (x["data"], x["strategy"], x.get("seed", 0)) == key
        }
        if set(chosen) != set(names):
            continue
        ranked = [scores[data][name] for name in names]
        outcomes, energy = outcomes_of([chosen[name] for name in names])
        yield Case(study.name, data, strategy, tuple(names), scores_of(ranked), outcomes, energy,
                   recommended(ranked), cheapest(ranked))  # fmt: skip


def scores_of(ranked: Sequence[dict]) -> dict[str, Floats]:
    """Return the candidates' scores, and the combination; greater is better."""
    found = {name: np.array([x[name] for x in ranked], float) for name in (*SCORED, PLUS_PLUS)}
    for name in found:
        if not SCORES[name.partition(",")[0]].greater_is_better:
            found[name] = -found[name]
    return found | {COMBINED: mean_rank(found, COMBINATION)}


def mean_rank(scores: dict[str, Floats], names: Sequence[str]) -> Floats:
    """Return the mean of the candidates' ranks by several scores."""
    return np.mean([rankdata(scores[name]) for name in names], axis=0)


def recommended(ranked: Sequence[dict]) -> int:
    """Return the candidate that `resque rank` recommends where no score is asked for."""
    models = []
    for i, x in enumerate(ranked):
        told = {k: Estimate(x[k], None, tuple(x["replicates"][k])) for k in MEAN_OF}
        layer = LayerScores("", "", "", 0, told)
        seen = Observation(None, "", (layer,), 1, 1, 0, x["seconds"]["pass"], 0, "", "", None,
                           None, None, ())  # fmt: skip
        models.append(RankedModel(str(i), None, seen, layer))
    found = sorted_by(with_mean_ranks(models), MEAN_RANK)
    chosen = Ranking(tuple(found), MEAN_RANK, "").recommended
    assert chosen is not None
    return int(chosen.model)


def cheapest(ranked: Sequence[dict]) -> int:
    """Return the candidate with the quickest pass of those within the error of the best H-score."""
    estimates = [Estimate(x["hscore"], None, tuple(x["replicates"]["hscore"])) for x in ranked]
    best = max(estimates, key=lambda x: x.value)
    gaps = [difference(best, x) for x in estimates]
    ties = [i for i, (gap, half) in enumerate(gaps) if gap == 0 or gap <= half]
    return min(ties, key=lambda i: ranked[i]["seconds"]["pass"])


def outcomes_of(lines: Sequence[dict]) -> tuple[dict[str, Floats], Floats]:
    """Return what is told of the candidates' retraining, and kWh: see `Case`."""
    accuracy = np.array([x["accuracy_final"] for x in lines])
    steps = np.array([steps_to(TARGET * accuracy.max(), x["evaluations"]) for x in lines])
    share = steps / [x["evaluations"][-1][0] for x in lines]  # of the run
    flops, energy = (np.array([x[name] for x in lines]) for name in ("flops", "energy_kwh"))
    found = {"accuracy": accuracy, "steps": -steps, "flops": -flops * share,
             "energy_kwh": -energy * share}  # fmt: skip
    return found, energy * np.minimum(share, 1)


def steps_to(target: float, evaluations: Sequence[tuple[int, float]]) -> float:
    """Return steps until an accuracy, interpolated; infinite where it was not reached.

    >>> steps_to(0.5, [(0, 0.2), (10, 0.4), (20, 0.6)]), steps_to(0.7, [(0, 0.2), (10, 0.4)])
    (15.0, inf)
    """
    before = None
    for step, accuracy in evaluations:
        if accuracy >= target:
            if before is None:
                return 0.0
            share = (target - before[1]) / (accuracy - before[1])
            return float(before[0] + share * (step - before[0]))
        before = step, accuracy
    return float("inf")


def spearman(x: Floats, y: Floats) -> float:
    """Return the correlation of ranks, Spearman's ρ; NaN where either is constant."""
    if (x == x[0]).all() or (y == y[0]).all():
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])


def tau(x: Floats, y: Floats) -> float:
    """Return Kendall's weighted τ with hyperbolic weights; NaN where either is constant."""
    if (x == x[0]).all() or (y == y[0]).all():
        return np.nan
    return float(weightedtau(x, y)[0])


def measures(case: Case, name: str, rows: Ints) -> Floats:
    """Return MEASURES of a score over some of the candidates."""
    own = rows[np.isfinite(case.scores[name][rows])]
    if not len(own):
        return np.full(len(MEASURES), np.nan)
    x = case.scores[name][own]
    ranks, others = rankdata(x), [rankdata(case.outcomes[what][own]) for what in OUTCOMES]
    told = [how(ranks, y) for y in others for how in (spearman, tau)]
    return np.array(told + regrets(case, rows, own[np.argmax(x)]))


def regrets(case: Case, rows: Ints, chosen: int) -> list[float]:
    """Return the accuracy that a choice loses, and the kWh it takes more than the least.

    One that misses the target costs its whole run, as another has to be retrained after it.
    """
    accuracy, energy = case.outcomes["accuracy"], case.energy_kwh
    more = energy[chosen]
    if case.reached[chosen]:
        more = more - energy[rows[case.reached[rows]]].min()
    return [float(accuracy[rows].max() - accuracy[chosen]), float(more)]


def random_regret(case: Case) -> Floats:
    """Return the regrets of a random choice: the mean over the candidates."""
    rows = np.arange(len(case.models))
    return np.mean([regrets(case, rows, i) for i in rows], axis=0)


def choose_combination(cases: Sequence[Case]) -> list[tuple[tuple[str, ...], float, float]]:
    """Return single scores and mean ranks of several, the best first: with mean τ and regret.

    By Kendall's weighted τ with the final accuracy, mean over data sets and strategies.
    """
    found = []
    for n in range(1, len(PARTS) + 1):
        for names in itertools.combinations(PARTS, n):
            told = []
            for case in cases:
                x = mean_rank(case.scores, names)
                rows = np.arange(len(x))
                lost = regrets(case, rows, int(np.argmax(x)))[0]
                told.append((tau(x, case.outcomes["accuracy"]), lost))
            found.append((names, *map(float, np.mean(told, axis=0))))
    return sorted(found, key=lambda x: (-x[1], x[2]))


class Summary:
    """Means over data sets of the measures of each score, with intervals from the same resamples.

    Attributes:
        cases: of one or more studies.
        names: of the scores.
        values: (scores, measures) means over the cases.
        draws: (scores, resamples, measures) the same of resampled data sets and candidates.
    """

    def __init__(self, cases: Sequence[Case], names: Sequence[str], draws: dict) -> None:
        self.cases, self.names = cases, list(names)
        rng = np.random.default_rng(0)
        sets = sorted({(x.study, x.data) for x in cases})
        members = [[i for i, x in enumerate(cases) if (x.study, x.data) == s] for s in sets]
        picked = rng.integers(0, len(sets), (RESAMPLES, len(sets)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN
            own = [[measures(x, n, np.arange(len(x.models))) for x in cases] for n in names]
            self.values = np.nanmean(own, axis=1)
            known = np.array([[draws[x.study, x.data, x.strategy, n] for x in cases]
                              for n in names])  # fmt: skip
            self.draws = np.stack([
                np.nanmean(known[:, [i for s in picks for i in members[s]], r], axis=1)
                for r, picks in enumerate(picked)
            ], axis=1)  # fmt: skip

    def of(self, name: str, measure: str) -> tuple[float, tuple[float, float]]:
        """Return a score's mean measure and its 95 % interval."""
        i, j = self.names.index(name), MEASURES.index(measure)
        return float(self.values[i, j]), _ends(self.draws[i, :, j])

    def beyond(self, name: str, other: str, measure: str) -> tuple[float, tuple[float, float]]:
        """Return by how much a score's measure is above another's, and the 95 % interval."""
        a, b, j = self.names.index(name), self.names.index(other), MEASURES.index(measure)
        gap = self.values[a, j] - self.values[b, j]
        return float(gap), _ends(self.draws[a, :, j] - self.draws[b, :, j])


def _ends(draws: Floats) -> tuple[float, float]:
    known = draws[np.isfinite(draws)]
    low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def resampled(cases: Sequence[Case], names: Sequence[str]) -> dict:
    """Return each case's and score's (resamples, measures); the same resamples for all scores."""
    found = {}
    for case in cases:
        n = len(case.models)
        rows = np.random.default_rng(1).integers(0, n, (RESAMPLES, n))
        for name in names:
            found[case.study, case.data, case.strategy, name] = np.array(
                [measures(case, name, np.sort(r)) for r in rows]
            )
    return found
