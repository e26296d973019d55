"""A ranking: its models in order, ties, the Pareto front, and what it recommends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from resque.documents import plain
from resque.rank_scores import MEAN_RANK, SCORES, Estimate, difference, estimate_of
from resque.units import ENERGY, fitting_unit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA_VERSION = 1
NO_FORECAST = "no forecast"  # how the note begins that says why there is none


@dataclass(frozen=True)
class LayerScores:
    """A layer's scores.

    Attributes:
        name: of the layer.
        pooling: how its output became one vector a sample.
        why: one line that says why it was read.
        dimension: of these vectors.
        scores: by name.
    """

    name: str
    pooling: str
    why: str
    dimension: int
    scores: dict[str, Estimate]


@dataclass(frozen=True)
class Observation:
    """What is known of a model after its pass; what the cache keeps.

    Attributes:
        revision: commit on the Hub, where known.
        weights: digest of a sample of the weights.
        layers: their scores, the main layer first.
        samples: rows that it saw.
        rows_kept: of these, the sample that knn, leep and resque_task are of.
        parameters: how many weights it has.
        seconds: of the pass.
        peak_memory_mb: the most memory in 10⁶ bytes: allocated on the accelerator, or else
            resident of the whole process.
        device: where it ran.
        dtype: what it computed in.
        accuracy: of the model as it is, where its classes are the data's by name; or None.
        resque_dist: of the data against the fingerprint that the model publishes, or None.
        forecast: of retraining, as `Forecast.to_dict` gives it, with its `sentence`, how the
            `rates` of a step are known and the `ledgers` that it was learnt from; or None.
        notes: a line each.
    """

    revision: str | None
    weights: str
    layers: tuple[LayerScores, ...]
    samples: int
    rows_kept: int
    parameters: int
    seconds: float
    peak_memory_mb: float
    device: str
    dtype: str
    accuracy: float | None
    resque_dist: float | None
    forecast: dict[str, Any] | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return asdict(self) | {"layers": [_layer_dict(x) for x in self.layers]}


def _layer_dict(layer: LayerScores) -> dict[str, Any]:
    return asdict(layer) | {"scores": {k: v.to_dict() for k, v in layer.scores.items()}}


def observation_of(found: dict[str, Any]) -> Observation:
    """Return the observation of a `to_dict`.

    Raises:
        KeyError or TypeError: where it is none.
    """
    layers = tuple(
        LayerScores(
            **(x | {"scores": {name: estimate_of(score) for name, score in x["scores"].items()}})
        )
        for x in found["layers"]
    )
    return Observation(**(found | {"layers": layers, "notes": tuple(found["notes"])}))


@dataclass(frozen=True)
class RankedModel:
    """A candidate.

    Attributes:
        model: id, folder or class name, as it was given.
        error: why it could not be measured, or None.
        observation: None where there is an error.
        layer: the layer whose scores count; None where there is an error.
        cached: whether the observation comes from the cache.
    """

    model: str
    error: str | None = None
    observation: Observation | None = None
    layer: LayerScores | None = None
    cached: bool = False

    @property
    def scores(self) -> dict[str, Estimate]:
        """By name; empty where there is an error."""
        return {} if self.layer is None else self.layer.scores

    @property
    def cost(self) -> float | None:
        """Forecast energy in kWh; without a forecast, seconds of inference for 1,000 samples."""
        seen = self.observation
        if seen is None:
            return None
        if seen.forecast is not None:
            return float(seen.forecast["energy_kwh"]["value"])
        return 1000 * seen.seconds / seen.samples


@dataclass(frozen=True)
class Ranking:
    """Candidates, the best first.

    Attributes:
        candidates: in order; those with an error last.
        sort_by: the score that they are sorted by.
        dataset: what it was measured on.
        versions: of the libraries.
        date: ISO date.
    """

    candidates: tuple[RankedModel, ...]
    sort_by: str
    dataset: str
    versions: dict[str, str] = field(default_factory=dict)
    date: str = ""

    @cached_property
    def labels(self) -> dict[str, str]:
        """What each candidate is called to people: a folder by its name, where that tells it."""
        names = [x.model for x in self.candidates]
        shortened = [_shortened(x) for x in names]
        pairs = zip(names, shortened, strict=True)
        return {x: y if shortened.count(y) == 1 else x for x, y in pairs}

    @cached_property
    def done(self) -> tuple[RankedModel, ...]:
        """Those candidates that have the score, in order."""
        return tuple(x for x in self.candidates if self.sort_by in x.scores)

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """Ranks of `done` from 1; candidates within the error of the first of a rank share it."""
        ranks: list[int] = []
        leader = 0
        for i, x in enumerate(self.done):
            if i and not tied(self.done[leader], x, self.sort_by):
                leader = i
            ranks.append(leader + 1)
        return tuple(ranks)

    @cached_property
    def front(self) -> tuple[RankedModel, ...]:
        """The Pareto front: those of `done` that none beats in both score and cost."""
        found: list[RankedModel] = []
        for x in self.done:  # from the best score down: only a lower cost keeps one on the front
            if self._costs_agree and (not found or _cost(x) < _cost(found[-1])):
                found.append(x)
        return tuple(found)

    @cached_property
    def _costs_agree(self) -> bool:
        """Whether all costs are of one kind, and can be compared."""
        return len({_has_forecast(x) for x in self.done}) <= 1

    @property
    def cost_name(self) -> str:
        """What `cost` is."""
        if self.done and all(map(_has_forecast, self.done)):
            return "forecast energy of retraining"
        return "inference"

    def unit(self, cost: float) -> tuple[str, float]:
        """Return the unit to tell a cost in, and what to multiply it with."""
        if not (self.done and all(map(_has_forecast, self.done))):
            return "s per 1,000 samples", 1.0
        return fitting_unit(cost, ENERGY)

    @cached_property
    def recommended(self) -> RankedModel | None:
        """The first; of several with the same score the cheapest; None where none was measured."""
        if not self.done:
            return None
        best = self.done[0].scores[self.sort_by].value
        equal = [x for x in self.done if x.scores[self.sort_by].value == best]
        return min(equal, key=_cost) if self._costs_agree else equal[0]

    def sentences(self) -> list[str]:
        """Say what is recommended and why, which scores disagree, and what is not known."""
        return [*self._recommendation(), *self._disagreement(), *self._failures()]

    def _recommendation(self) -> list[str]:
        best = self.recommended
        if best is None:
            return ["No candidate could be measured, so that none is recommended."]
        value = f"{self.sort_by} {best.scores[self.sort_by].value:.4g}"
        if self.sort_by == MEAN_RANK:
            value += f" ({SCORES[MEAN_RANK].what})"
        if len(self.done) == 1:
            return [f"{self.labels[best.model]} is the only candidate that was measured ({value})."]
        if self.ranks.count(1) > 1:
            return [self._tied_words(best, value)]
        second = self.labels[self.done[1].model]
        gap, half = difference(*(x.scores[self.sort_by] for x in self.done[:2]))
        if half == 0:  # the same order in every part of the rows
            beyond = f"{second} has {self.done[1].scores[self.sort_by].value:.4g}"
        elif np.isfinite(half):
            beyond = f"{abs(gap):.2g} ± {half:.2g} better than {second}"
        else:
            beyond = f"{abs(gap):.2g} better than {second} (too few rows for an error)"
        text = f"Take {self.labels[best.model]}: it has the best {value}, {beyond}."
        cheaper = [x for x in self.front if x is not best]
        forecast = best.observation.forecast if best.observation else None
        if forecast is not None:
            text += f" Retraining it: {forecast['sentence']}."
        if cheaper:
            last = cheaper[-1]
            text += (
                f" {self.labels[last.model]} is the cheapest on the Pareto front "
                f"({self._cost_words(last)} against {self._cost_words(best)})."
            )
        return [text]

    def _tied_words(self, best: RankedModel, value: str) -> str:
        """Say which candidate to take of those that share the first rank, and which costs least."""
        others = [x for x in self.done[: self.ranks.count(1)] if x is not best]
        text = (
            f"Take {self.labels[best.model]}: it has the best {value}, within the error of "
            f"{_listed([self.labels[x.model] for x in others])}."
        )
        cheapest = min((best, *others), key=_cost)
        if cheapest is best or not self._costs_agree:
            return text
        return (
            f"{text} {self.labels[cheapest.model]} costs least of them "
            f"({self._cost_words(cheapest)} against {self._cost_words(best)}); which of them "
            "retrains best is not known before."
        )

    def _cost_words(self, x: RankedModel) -> str:
        unit, by = self.unit(_cost(x))
        return f"{by * _cost(x):.3g} {unit}"

    def _disagreement(self) -> list[str]:
        best = self.recommended
        if best is None or len(self.done) < 2:
            return []
        against = []
        for name in SCORES:
            rivals = [x for x in self.done if name in x.scores and x.layer is not None]
            if name == self.sort_by or name not in best.scores or len(rivals) < 2:
                continue
            first = sorted_by(rivals, name)[0]
            if first is not best and not tied(first, best, name):
                against.append(f"{name} puts {self.labels[first.model]} first")
        return [f"Scores disagree: {'; '.join(against)}."] if against else []

    def _failures(self) -> list[str]:
        return [f"{self.labels[x.model]}: {x.error}" for x in self.candidates if x.error]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        best = self.recommended
        document: dict[str, Any] = plain(
            {
                "schema_version": SCHEMA_VERSION,
                "dataset": self.dataset,
                "sort_by": self.sort_by,
                "cost": self.cost_name,
                "cost_unit": self.unit(1.0)[0],
                "recommended": best.model if best else None,
                "sentences": self.sentences(),
                "candidates": [self._document(x) for x in self.candidates],
                "versions": self.versions,
                "date": self.date,
            }
        )
        return document

    def _document(self, x: RankedModel) -> dict[str, Any]:
        found: dict[str, Any] = {"model": x.model, "error": x.error}
        found |= {name: x.scores[name].value if name in x.scores else None for name in SCORES}
        seen = x.observation
        if seen is None or x.layer is None:
            return found
        known = seen.to_dict()
        layers = {y.name: {k: v.value for k, v in y.scores.items()} for y in seen.layers}
        rank = self.ranks[self.done.index(x)] if x in self.done else None
        return (
            found
            | {"intervals": {name: score.interval for name, score in x.scores.items()}}
            | {name: known[name] for name in known if name != "layers"}
            | {
                "layer": x.layer.name,
                "layers": layers,
                "samples_per_second": seen.samples / seen.seconds if seen.seconds else None,
                "cost": x.cost,
                "rank": rank,
                "ties": rank is not None and self.ranks.count(rank) > 1,
                "pareto": x in self.front,
                "cached": x.cached,
            }
        )

    def render(self) -> list[Any]:
        """Return the ranking as `rich` renderables."""
        from resque.rank_report import render

        return render(self)

    def plot(self) -> Figure:
        """Draw score against cost, with the Pareto front.

        Raises:
            ImportError: without matplotlib (`pip install resque[plots]`).
        """
        from resque.rank_report import plot

        return plot(self)

    def __str__(self) -> str:
        from resque.report import as_text

        return as_text(self.render())


def sorted_by(models: Sequence[RankedModel], score: str) -> list[RankedModel]:
    """Return models the best first by a score; those without it last, in their order."""
    sign = -1 if SCORES[score].greater_is_better else 1

    def place(x: RankedModel) -> tuple[int, float]:
        if score not in x.scores:
            return (1 if x.error is None else 2), 0.0
        return 0, sign * x.scores[score].value

    return sorted(models, key=place)


def tied(a: RankedModel, b: RankedModel, score: str) -> bool:
    """Whether two models' scores differ by no more than the error of the difference."""
    gap, half = difference(a.scores[score], b.scores[score])
    return gap == 0 or abs(gap) <= half


def _shortened(model: str) -> str:
    """Return an id as it is, and of a folder the name.

    >>> _shortened("org/name"), _shortened("/srv/models/vit")
    ('org/name', 'vit')
    """
    path = Path(model)
    return path.name if path.is_absolute() or model.startswith((".", "~")) else model


def _cost(x: RankedModel) -> float:
    return float("inf") if x.cost is None else x.cost


def _has_forecast(x: RankedModel) -> bool:
    return x.observation is not None and x.observation.forecast is not None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
