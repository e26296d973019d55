"""`rank`: which of many models fits a data set best, and what each costs to reuse."""

from __future__ import annotations

import datetime
import gc
import logging
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resque.errors import ResqueError, UsageError, first_line, near
from resque.labels import ClassMap
from resque.mean_rank import with_mean_ranks
from resque.measurement import library_versions, load_model, match_classes, open_for
from resque.options import Options, make_options
from resque.rank_cache import key_of, read_entry, write_entry
from resque.rank_models import Ahead, listed_models, search_models
from resque.rank_results import (
    NO_FORECAST,
    LayerScores,
    Observation,
    RankedModel,
    Ranking,
    observation_of,
    sorted_by,
)
from resque.rank_scores import MEAN_OF, MEAN_RANK, SCORES, score_layer
from resque.rank_shift import shift_from_published, stamp_of_published

if TYPE_CHECKING:
    from resque.data import Data, Source
    from resque.layers import Layer
    from resque.models import Model
    from resque.rank_costs import CostForecaster
    from resque.rank_pass import Observed

log = logging.getLogger(__name__)

CACHE_VERSION = 1  # one more wherever a score's definition changes


@dataclass(frozen=True)
class Costs:
    """How retraining is to be forecast for each candidate.

    Attributes:
        target_accuracy: to be reached.
        strategy: "full", "head", "lora" or "scratch".
        ledgers: files or folders of retrainings to learn from; the package's own where empty.
        rates: (seconds a step, watts) in place of a probe on this machine.
        country: ISO 3166 code, for the grid.
        grid_intensity: g CO2eq/kWh, in place of the country's.
        price_per_hour: of all hardware together, in any currency.
        options: of `retrain`: epochs, batch_size, learning_rate, …
    """

    target_accuracy: float
    strategy: str = "full"
    ledgers: tuple[str, ...] = ()
    rates: tuple[float, float] | None = None
    country: str | None = None
    grid_intensity: float | None = None
    price_per_hour: float | None = None
    options: dict[str, Any] = field(default_factory=dict)


def rank(
    models: Any,
    dataset: Any,
    *,
    search: str | None = None,
    sort_by: str | None = None,
    scores: Sequence[str] | None = None,
    layers: Sequence[str | int] | str | int = "last",
    init: str = "centroids",
    costs: Costs | None = None,
    cache: bool = True,
    **options: Any,
) -> Ranking:
    """Rank models by how well they fit a labelled data set as they are, and by what they cost.

    Each is run over the data once, one after the other. logme, hscore and nce come from sums over
    all rows, so that memory does not grow with the rows; knn, leep and resque_task from at most
    10,000 of them, drawn at random, the same ones for every model. A model that cannot be measured
    gets its `error`, and the others go on. What was measured is kept in a cache.

    Args:
        models: `ID_OR_FOLDER[@REVISION]`, loaded torch modules, `.txt` files with one a line.
        dataset: `ID_OR_FOLDER[@REVISION][:CONFIG][#SPLIT]`, or a `datasets` object.
        search: more models, of the Hub: "task=…, library=…, author=…, sort=…, limit=…".
        sort_by: the score to sort by: hscore, logme, knn, leep, nce, resque_task, or mean_rank,
            the mean of a candidate's ranks by hscore, knn and resque_task. None for mean_rank,
            where several candidates have these three, or else for the first of `scores` that is
            of such targets.
        scores: those to compute; None for all. leep and nce are of models with a classifier head.
        layers: "last" for what enters the classifier head, or else the last hidden state; "mean"
            for the mean of the hidden layers; "all" for these layers too, beside the last; "auto"
            for that of all whose `sort_by` (hscore, where that is mean_rank) is best on this
            data; or names or negative indices, the first of which counts.
        init: of RESQUE_task: "centroids" or "k-means++".
        costs: to forecast what retraining each costs, besides; where that cannot be done for one,
            its `notes` say why.
        cache: take what was measured before from the cache, and keep what is measured now.
        **options: see `resque.options.Options`; labels are always the data's own.

    Returns:
        The ranking, the best first.

    Raises:
        ValueError: where the data, a score or an option is not as expected; the text says how.
        TypeError: where one is of another type than expected.
    """
    from resque.data import open_source

    wanted = _check_scores(scores, sort_by)
    use = replace(make_options(options), labels="data")
    if init not in ("centroids", "k-means++"):
        raise UsageError(f"init is {init!r}; expected 'centroids' or 'k-means++'")
    names = listed_models(models) if models or not search else []
    if search:
        names = list(dict.fromkeys([*names, *search_models(search, use.token)]))
    source = open_source(dataset, streaming=use.streaming, token=use.token)
    first = sort_by or wanted[0]
    chosen = sort_by is not None
    if costs is not None:
        _check_costs(costs)
    ranker = _Ranker(dataset, source, first, chosen, wanted, layers, init, costs, cache, use)
    found = with_mean_ranks(ranker.run(names))
    by = ranker.sort_by
    if not chosen and sum(MEAN_RANK in x.scores for x in found) > 1:
        by = MEAN_RANK
    return Ranking(
        tuple(sorted_by(found, by)),
        by,
        str(source.spec),
        library_versions(),
        datetime.date.today().isoformat(),
    )


def _check_scores(scores: Sequence[str] | None, sort_by: str | None) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys([scores] if isinstance(scores, str) else scores or SCORES))
    for name in (*wanted, *([sort_by] if sort_by else [])):
        if name not in SCORES:
            like = ", ".join(near(name, SCORES) or SCORES)
            raise UsageError(f"there is no score {name!r}; near it: {like}")
    if sort_by and sort_by not in wanted:
        wanted = (sort_by, *wanted)
    if MEAN_RANK in wanted:
        wanted = tuple(dict.fromkeys((*wanted, *MEAN_OF)))
    return tuple(name for name in wanted if name != MEAN_RANK)


def _check_costs(costs: Costs) -> None:
    """Refuse what is wrong for every candidate, before any is measured."""
    from resque.energy import find_grid
    from resque.ledger import ledger_file
    from resque.strategies import STRATEGIES
    from resque.targets import parse_target

    parse_target(f"accuracy:{costs.target_accuracy:g}")
    find_grid(costs.country, costs.grid_intensity)
    if costs.strategy not in STRATEGIES:
        raise UsageError(f"strategy is {costs.strategy!r}; expected one of {', '.join(STRATEGIES)}")
    for ledger in costs.ledgers:
        if not ledger_file(ledger).is_file():
            raise ResqueError(f"there is no ledger {ledger_file(ledger)}")


@dataclass
class _Ranker:
    """Measures one model after the other."""

    dataset: Any
    source: Source
    sort_by: str
    chosen: bool  # whether it was asked for
    scores: tuple[str, ...]
    layers: Sequence[str | int] | str | int
    init: str
    costs: Costs | None
    cache: bool
    use: Options
    _forecaster: CostForecaster | None = None

    def run(self, models: Sequence[Any]) -> list[RankedModel]:
        """Return the models as they were given, measured."""
        from accelerate import PartialState

        first = PartialState().is_local_main_process
        ahead = Ahead(self.use.token)
        found = []
        for i, model in enumerate(models):
            if i:
                _free()
            ahead.wait(model)
            if first and i + 1 < len(models):
                ahead.fetch(models[i + 1])
            log.info("candidate %d of %d: %s", i + 1, len(models), _name(model))
            found.append(self._try(model))
        return found

    def _try(self, model: Any) -> RankedModel:
        """Measure a model; what goes wrong is its own error alone."""
        try:
            seen, cached = self._measure(model)
        except Exception as error:
            why = str(error) if isinstance(error, ResqueError) else first_line(error)
            log.warning("%s: %s", _name(model), why)
            return RankedModel(_name(model), why or type(error).__name__)
        return RankedModel(_name(model), None, seen, self._choose(seen), cached)

    def _choose(self, seen: Observation) -> LayerScores:
        """Return the layer that counts: the first, or with "auto" the best by the score."""
        if self.layers != "auto":
            return seen.layers[0]
        by = MEAN_OF[0] if self.sort_by == MEAN_RANK else self.sort_by  # its ranks are of models
        known = [x for x in seen.layers if by in x.scores]
        sign = 1 if SCORES[by].greater_is_better else -1
        return max(known, key=lambda x: sign * x.scores[by].value, default=seen.layers[0])

    def _measure(self, model: Any) -> tuple[Observation, bool]:
        from resque.memory import PeakMemory
        from resque.models import lent
        from resque.processes import is_main_process, on_all, together

        with lent(model), PeakMemory(self.use.device) as memory:
            loaded, data = together(lambda: self._open(model))
            key = self._key(loaded, data)
            kept = on_all(lambda: read_entry(key) if key else None)[0]
            if kept is not None:
                return self._priced(observation_of(kept), model, data, key), True
            seen, layers = self._pass(loaded, data)
        main, peak = is_main_process(), memory.megabytes
        scored = on_all(
            lambda: self._observation(loaded, data, seen, layers, peak) if main else None
        )
        found = next(x for x in scored if x is not None)
        if key and main:
            write_entry(key, found.to_dict())
        return self._priced(found, model, data, key), False

    def _open(self, model: Any) -> tuple[Model, Data]:
        loaded = load_model(model, self.use)
        data = open_for(loaded, self.source, self.use, any_target=True)
        if data.columns.target == "number" and not SCORES[self.sort_by].of_numbers:
            known = [name for name in SCORES if SCORES[name].of_numbers]
            fit = [name for name in self.scores if name in known]
            if self.chosen or not fit:
                raise UsageError(
                    f"{self.sort_by} is of classes, and the targets are numbers: "
                    f"{', '.join(known)} are of these"
                )
            self.sort_by = fit[0]
        return loaded, data

    def _key(self, model: Model, data: Data) -> str | None:
        """Return the cache's key, or None where the data cannot be told from other data."""
        rows = getattr(data.rows, "_fingerprint", None)
        if rows is None and re.fullmatch("[0-9a-f]{40}", data.spec.revision or ""):
            rows = data.spec.revision  # a stream of a commit; a branch moves on
        if not self.cache or rows is None:
            return None
        told = ("max_samples", "pooling", "seed", "skip_bad_rows")
        parts = {
            "version": CACHE_VERSION,
            "model": [model.name, model.revision, model.weights, model.preprocessing],
            "computes": [type(model.module).__name__, model.dtype],
            "published": stamp_of_published(model),
            "device": model.device.type,
            "data": [str(rows), str(data.spec), asdict(data.columns)],
            "options": [getattr(self.use, name) for name in told],
            "scores": sorted(self.scores),
            "layers": self.layers,
            "init": self.init,
            "costs": None if self.costs is None else [asdict(self.costs), *_digests(self.costs)],
        }
        return key_of(parts)

    def _pass(self, model: Model, data: Data) -> tuple[Observed, tuple[Layer, ...]]:
        from resque.layers import choose_layers, hidden_layers
        from resque.rank_pass import MEAN, observe

        asked: Any = {"last": None, "mean": None, "auto": "all"}.get(str(self.layers), self.layers)
        chosen = choose_layers(model, asked, self.use.pooling)
        averaged: tuple[str, ...] = ()
        if self.layers == "mean":
            hidden = choose_layers(model, list(hidden_layers(model.module)), self.use.pooling)
            averaged = tuple(layer.name for layer in hidden)
        read = hidden if averaged else chosen
        if data.columns.target == "words":
            read = tuple(replace(layer, pooling="none") for layer in read)
        classes = _classes_of(data, model)
        settings = self.use.settings
        seen = observe(model, data, read, classes, averaged=averaged, settings=settings)
        if averaged:
            why = f"mean of {len(averaged)} hidden layers"
            chosen = (replace(hidden[0], name=MEAN, why=why),)
        return seen, chosen

    def _observation(
        self, model: Model, data: Data, seen: Observed, layers: Sequence[Layer], peak: float
    ) -> Observation:
        notes, found = list(model.notes), []
        table = seen.contingency()
        for layer in layers:
            moments = seen.moments[layer.name]
            scored, said = score_layer(
                moments, seen.kept, layer.name, table, self.scores,
                init=self.init, seed=self.use.seed, device=str(model.device),
            )  # fmt: skip
            notes += said
            dimension = len(moments.gram)
            found.append(LayerScores(layer.name, layer.pooling, layer.why, dimension, scored))
        by_name = _classes_of(data, model).how == "name"
        return Observation(
            revision=model.revision,
            weights=model.weights,
            layers=tuple(found),
            samples=seen.counts.samples,
            rows_kept=len(seen.kept.indices),
            parameters=sum(x.numel() for x in model.module.parameters()),
            seconds=seen.times.total,
            peak_memory_mb=peak,
            device=str(model.device),
            dtype=model.dtype,
            accuracy=seen.counts.accuracy if by_name else None,
            resque_dist=shift_from_published(model, layers[0], seen.moments, self.use.token),
            forecast=None,
            notes=tuple(dict.fromkeys(notes)),
        )

    def _priced(self, found: Observation, model: Any, data: Data, key: str | None) -> Observation:
        """Return what was seen with a forecast, or with a note why there is none.

        The note is not kept in the cache: the next ranking tries again.
        """
        from resque.processes import is_main_process

        if self.costs is None or found.forecast is not None:
            return found
        try:
            found = replace(found, forecast=self._forecast(found, model, data, self.costs))
        except Exception as error:
            why = str(error) if isinstance(error, ResqueError) else first_line(error)
            note = f"{NO_FORECAST}: {why or type(error).__name__}"
            log.warning("%s: %s", _name(model), note)
            return replace(found, notes=(*found.notes, note))
        if key and is_main_process():
            write_entry(key, found.to_dict())
        return found

    def _forecast(self, found: Observation, model: Any, data: Data, costs: Costs) -> dict[str, Any]:
        from resque.rank_costs import CostForecaster

        if not isinstance(self.dataset, str | Path) or not isinstance(model, str | Path):
            raise UsageError("it retrains a model and data by their names: give ids or folders")
        if self._forecaster is None:
            self._forecaster = CostForecaster(costs, str(self.dataset), self.use)
        return self._forecaster.forecast(found, str(model), data)


def _classes_of(data: Data, model: Model) -> ClassMap:
    """Return how the data's labels become classes: as the model's own where they meet by name."""
    if data.columns.target == "class":
        return match_classes(data, model, None)
    return ClassMap("none", {}, (), data.columns.label_names)


def _name(model: Any) -> str:
    return model if isinstance(model, str) else type(model).__name__


def _digests(costs: Costs) -> list[str]:
    """Return a digest of each ledger's file: it may have grown."""
    import hashlib

    from resque.forecast_sources import DEFAULT_LEDGER, DEFAULT_TASK_LEDGER
    from resque.ledger import ledger_file

    found = []
    for given in costs.ledgers or (str(DEFAULT_LEDGER), str(DEFAULT_TASK_LEDGER)):
        path = ledger_file(given)
        found.append(hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else given)
    return found


def _free() -> None:
    """Give the last model's memory back before the next one comes."""
    import torch

    from resque.memory import give_back

    gc.collect()
    give_back()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
