"""From a ledger to correlations: over all runs and within each group of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from resque.correlations import (
    MIN_CLUSTERS_INTERVAL,
    Correlation,
    Difference,
    Estimate,
    Observations,
    Resampled,
    compare,
    correlate,
    holm,
    mean_of_others,
    resample,
    scores,
)
from resque.errors import UsageError
from resque.ledger import Entry, Ledger
from resque.outcomes import MEASURES, outcome
from resque.predictors import PREDICTORS
from resque.sums import Floats, Ints

GROUPINGS: dict[str, Callable[[Entry], str]] = {
    "family": lambda entry: entry.cell.family,
    "modality": lambda entry: entry.modality or "unknown",
    "model": lambda entry: entry.cell.model,
    "strategy": lambda entry: entry.cell.strategy,
}


@dataclass(frozen=True)
class Scope:
    """Which runs are looked at.

    Attributes:
        kind: "all", or a key of `GROUPINGS`.
        name: of the group; "all" for all.
    """

    kind: str
    name: str


ALL = Scope("all", "all")


@dataclass(frozen=True)
class Comparison:
    """A predictor of ours against a rival.

    Attributes:
        ours: name of a predictor that is RESQUE.
        rival: name of one that is not.
        difference: Spearman's ρ of ours minus that of the rival.
        p_holm: p after Holm's correction for the rivals of `ours` in this scope and measure;
            None where there is no p.
    """

    ours: str
    rival: str
    difference: Difference
    p_holm: float | None


@dataclass(frozen=True)
class Part:
    """One scope and one measure of cost.

    Attributes:
        scope: which runs.
        measure: a key of `MEASURES`.
        runs: that have this cost.
        censored: of these.
        shifts: different shifts of these.
        correlations: by predictor.
        comparisons: RESQUE against its rivals.
        ceiling: a run's cost with the mean rank of the other seeds of the same cell.
    """

    scope: Scope
    measure: str
    runs: int
    censored: int
    shifts: int
    correlations: dict[str, Correlation]
    comparisons: tuple[Comparison, ...]
    ceiling: Correlation

    def best(self, names: Iterable[str]) -> str | None:
        """Return the one with the greatest Spearman's ρ; None where none has one."""
        known = {name: found.value for name in names if (found := self.rho(name))}
        return max(known, key=lambda name: known[name]) if known else None

    def rho(self, name: str) -> Estimate | None:
        """Return a predictor's Spearman's ρ."""
        return self.correlations[name].spearman

    def comparison(self, ours: str | None, rival: str | None) -> Comparison | None:
        """Return the comparison of two predictors; None where there is none."""
        pair = (ours, rival)
        return next(
            (found for found in self.comparisons if (found.ours, found.rival) == pair), None
        )


@dataclass(frozen=True)
class LayerPart:
    """RESQUE_dist of one layer of one model.

    Attributes:
        model: id or folder.
        layer: its name.
        depth: from 0 (the first) to 1 (the classifier's input).
        labels: what made the classes: "data", "predicted" or "soft".
        measure: a key of `MEASURES`.
        correlation: with the cost.
    """

    model: str
    layer: str
    depth: float
    labels: str
    measure: str
    correlation: Correlation


@dataclass(frozen=True)
class Analysis:
    """What a ledger says about the predictors.

    Attributes:
        measures: those that the ledger has, the main one first.
        ours: the RESQUE that rivals are compared with, chosen beforehand, not by its success.
        predictors: those that are compared, as in `PREDICTORS`.
        constant: left out as they are the same in every run.
        unknown: left out as they are none of `PREDICTORS`.
        unmeasured: of `MEASURES`, left out as fewer than five shifts have them.
        parts: by scope and measure.
        layers: one for each model, layer, kind of labels and measure.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    measures: tuple[str, ...]
    ours: str | None
    predictors: tuple[str, ...]
    constant: tuple[str, ...]
    unknown: tuple[str, ...]
    unmeasured: tuple[str, ...]
    parts: dict[tuple[Scope, str], Part]
    layers: tuple[LayerPart, ...]
    resamples: int
    seed: int

    @property
    def main(self) -> str:
        """The measure that words and figures are about."""
        return self.measures[0]

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """All runs first, then the groups."""
        return tuple(dict.fromkeys(scope for scope, _ in self.parts))

    def part(self, scope: Scope = ALL, measure: str | None = None) -> Part:
        """Return one scope and measure; the main one where none is given."""
        return self.parts[scope, measure or self.main]

    def named(self, *, resque: bool, labelled: bool) -> tuple[str, ...]:
        """Return the predictors that are RESQUE or are not, and that need labels or do not."""
        kinds = {name: PREDICTORS[name] for name in self.predictors}
        return tuple(
            name
            for name, kind in kinds.items()
            if kind.is_resque == resque and kind.needs_labels == labelled
        )


def analyse(ledger: Ledger, *, resamples: int = 1000, seed: int = 0) -> Analysis:
    """Correlate every predictor of a ledger with every measure of cost.

    Args:
        ledger: of a study.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        UsageError: where there are too few runs, resamples or predictors.
    """
    entries = [entry for entry in ledger.done if entry.record is not None]
    measures = tuple(m for m in MEASURES if _shifts(entries, m) >= MIN_CLUSTERS_INTERVAL)
    if not measures:
        shifts = len({entry.cell.shift for entry in entries})
        raise UsageError(
            f"the ledger has {len(entries)} finished runs of {shifts} different shifts; "
            f"correlations need at least {MIN_CLUSTERS_INTERVAL} shifts: add levels, kinds of "
            "shift, data sets or models to the study"
        )
    predictors, constant, unknown = _predictors(entries)
    if not predictors:
        raise UsageError(
            f"the ledger has no predictor that differs between its {len(entries)} runs"
        )
    cells = {entry.key: entry.cell.setting for entry in entries}
    ours = _ours(entries, predictors)
    parts = {
        (scope, measure): _part(scope, measure, group, predictors, ours, cells, resamples, seed)
        for scope, group in _scopes(entries)
        for measure in measures
    }
    layers = tuple(_layers(entries, measures, resamples, seed))
    unmeasured = tuple(m for m in MEASURES if m not in measures)
    return Analysis(
        measures, ours, predictors, constant, unknown, unmeasured, parts, layers, resamples, seed
    )


def with_cost(entries: Iterable[Entry], measure: str) -> list[Entry]:
    """Return the entries that have this measure of cost."""
    return [x for x in entries if x.record is not None and outcome(x.record, measure) is not None]


def observe(entries: Sequence[Entry], measure: str) -> Observations:
    """Return the costs of entries that all have this measure; shifts are the clusters."""
    found = [outcome(entry.record, measure) for entry in entries if entry.record]
    known = [cost for cost in found if cost is not None]
    return Observations(
        np.array([cost.value for cost in known], float),
        np.array([cost.censored for cost in known], bool),
        _numbers(entry.cell.shift for entry in entries),
    )


def values(entries: Sequence[Entry], name: str) -> Floats:
    """Return a predictor of each entry, greater where the cost should be; NaN where unknown."""
    sign = PREDICTORS[name].sign
    return sign * np.array([entry.predictors.get(name, np.nan) for entry in entries], float)


def _numbers(names: Iterable[str]) -> Ints:
    return np.unique(list(names), return_inverse=True)[1].astype(np.int64)


def _shifts(entries: Iterable[Entry], measure: str) -> int:
    return len({entry.cell.shift for entry in with_cost(entries, measure)})


def _predictors(entries: Sequence[Entry]) -> tuple[tuple[str, ...], ...]:
    """Return the names of those that are compared, constant, unknown."""
    found: dict[str, set[float]] = {}
    for entry in entries:
        for name, value in entry.predictors.items():
            found.setdefault(name, set()).add(value)
    known = [name for name in PREDICTORS if name in found]
    varying = tuple(name for name in known if len(found[name]) > 1)
    constant = tuple(name for name in known if name not in varying)
    return varying, constant, tuple(sorted(set(found) - set(PREDICTORS)))


def _scopes(entries: Sequence[Entry]) -> Iterator[tuple[Scope, list[Entry]]]:
    """Yield all entries, then each group of each grouping that has several."""
    yield ALL, list(entries)
    for kind, name_of in GROUPINGS.items():
        names = sorted({name_of(entry) for entry in entries})
        for name in names if len(names) > 1 else ():
            yield Scope(kind, name), [entry for entry in entries if name_of(entry) == name]


def _part(
    scope: Scope,
    measure: str,
    group: Iterable[Entry],
    predictors: Sequence[str],
    ours: str | None,
    cells: dict[str, str],
    resamples: int,
    seed: int,
) -> Part:
    entries = with_cost(group, measure)
    observed = observe(entries, measure)
    over = resample(observed, resamples, seed)
    x = {name: values(entries, name) for name in predictors}
    others = mean_of_others(scores(observed), _numbers(cells[entry.key] for entry in entries))
    return Part(
        scope,
        measure,
        runs=len(entries),
        censored=int(observed.censored.sum()),
        shifts=observed.n_clusters,
        correlations={name: correlate(x[name], over) for name in predictors},
        comparisons=tuple(_comparisons(x, ours, over)),
        ceiling=correlate(others, over),
    )


def _ours(entries: Sequence[Entry], predictors: Sequence[str]) -> str | None:
    """Return RESQUE_dist, or RESQUE_task where most runs are of new tasks."""
    names = [name for name in ("resque_dist", "resque_task") if name in predictors]
    often = [n for n in names if 2 * sum(n in x.predictors for x in entries) >= len(entries)]
    return next(iter(often or names), None)


def _comparisons(x: dict[str, Floats], main: str | None, over: Resampled) -> Iterator[Comparison]:
    """Compare our RESQUE with every rival, and those without labels with rivals without."""
    for ours in x:
        kind = PREDICTORS[ours]
        if ours != main and (kind.needs_labels or not kind.is_resque):
            continue
        found = [
            (rival, difference)
            for rival in x
            if not PREDICTORS[rival].is_resque
            and PREDICTORS[rival].needs_labels <= kind.needs_labels
            and (difference := compare(x[ours], x[rival], over))
        ]
        corrected = iter(holm([d.p for _, d in found if d.p is not None]))
        for rival, difference in found:
            p_holm = None if difference.p is None else next(corrected)
            yield Comparison(ours, rival, difference, p_holm)


def _layers(
    entries: Sequence[Entry], measures: Sequence[str], resamples: int, seed: int
) -> Iterator[LayerPart]:
    for model in sorted({entry.cell.model for entry in entries}):
        own = [entry for entry in entries if entry.cell.model == model]
        places = {(i.depth, i.layer, i.labels) for entry in own for i in entry.indices}
        for measure in measures:
            runs = with_cost(own, measure)
            over = resample(observe(runs, measure), resamples, seed)
            for depth, layer, labels in sorted(places):
                x = np.array([_index(entry, layer, labels) for entry in runs])
                found = correlate(x, over)
                yield LayerPart(model, layer, depth, labels, measure, found)


def _index(entry: Entry, layer: str, labels: str) -> float:
    found = (i.value for i in entry.indices if (i.layer, i.labels) == (layer, labels))
    return next(found, np.nan)
