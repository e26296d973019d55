"""`forecast`: what reusing a model will cost, for several shifts, models and strategies at once."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from resque.data import open_data, open_source
from resque.energy import Grid, find_grid
from resque.errors import ResqueError, UsageError
from resque.forecast_runs import LABELLED, TASKS, UNLABELLED, Kind, Known, is_new_task
from resque.forecast_sources import Sources
from resque.forecasts import Forecast, Predicted, price_forecast
from resque.ledger import Cell
from resque.probes import probe
from resque.records import Measured, Probe
from resque.retrain_options import make_retrain_options
from resque.study_measurement import Measurement, Measurer
from resque.targets import parse_target, wanted_accuracy
from resque.training_data import EVAL_SHARE, choose_splits

NOTHING = "nothing"  # the strategy that leaves the model as it is
# Options of `retrain` that have another name here.
OTHERWISE = {"strategy": "strategies", "corruption": "corruptions",
             "target_accuracy": "target", "target_recovery": "target"}  # fmt: skip
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rates:
    """What a step costs, where no probe shall measure it.

    Attributes:
        seconds_per_step: of training.
        watts: of all hardware together, while it trains.
    """

    seconds_per_step: float
    watts: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < math.inf:
                raise UsageError(f"{name} is {value:g}; expected a number from 0 up")

    @property
    def probe(self) -> Probe:
        """The same as a probe without spread."""
        kwh = self.seconds_per_step * self.watts / 3.6e6
        exact = [Measured(x, (x, x)) for x in (self.seconds_per_step, kwh)]
        return Probe(0, 0, 2, exact[0], exact[1])


@dataclass(frozen=True)
class Candidate:
    """A way to go on.

    Attributes:
        model: id or folder.
        shifted: what it is retrained for, with any corruption.
        strategy: "full", "head", "lora", "scratch", or "nothing" for the model as it is.
        accuracy: on the shifted data before retraining, where labels are there.
        forecast: None where nothing is done.
        reached_probability: that the target is reached; None where that is not known.
        rates: how the cost of a step is known: a probe, its energy measured or estimated; or
            "given"; None where nothing is done.
    """

    model: str
    shifted: str
    strategy: str
    accuracy: float | None
    forecast: Forecast | None
    reached_probability: float | None
    rates: str | None = None

    def to_row(self, priced: bool) -> list[str]:
        """Return strategy, accuracy, costs and probability as people read them.

        Args:
            priced: with the price, after the other costs.
        """
        found = self.forecast
        costs = ["0"] * 4 + ["–"]
        if found is not None:
            given = (found.epochs, 1), (found.energy_kwh, 1000), (found.co2eq_kg, 1000)
            costs = [_shown(x, factor) for x, factor in (*given, (found.seconds, 1))]
            costs.append("–" if found.price is None else _shown(found.price, 1))
        known = [
            "–" if x is None else f"{x:.0%}" for x in (self.accuracy, self.reached_probability)
        ]
        return [self.strategy, known[0], *costs[: 5 if priced else 4], known[1]]


def _shown(found: Predicted, factor: float) -> str:
    value, low, high = (f"{factor * x:.2g}" for x in (found.value, *found.interval))
    return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Answer:
    """The candidates, sorted by what they cost.

    Attributes:
        candidates: the cheapest first; doing nothing comes first of all.
        target: "accuracy:A" or "recovery:R".
        ledgers: what was learnt from.
        skipped: lines of these that are no entries.
        grid: the electricity.
        rates: how the cost of a step is known, of the first that was forecast.
    """

    candidates: tuple[Candidate, ...]
    target: str
    ledgers: tuple[str, ...]
    skipped: tuple[str, ...]
    grid: Grid
    rates: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types: the cheapest retraining's forecast, and all candidates."""
        documents = [_document(x) for x in self.candidates]
        best = next(x for x in documents if x["strategy"] != NOTHING)
        return {
            **best,
            "target": self.target,
            "ledgers": list(self.ledgers),
            "lines_skipped": list(self.skipped),
            "grid_intensity_g_per_kwh": self.grid.intensity,
            "grid_source": self.grid.source,
            "rates": self.rates,
            "candidates": documents,
        }


def _document(candidate: Candidate) -> dict[str, Any]:
    found = {
        "model": candidate.model,
        "shifted": candidate.shifted,
        "strategy": candidate.strategy,
        "accuracy": candidate.accuracy,
        "reached_probability": candidate.reached_probability,
    }
    if candidate.forecast is None:
        zero = {"value": 0.0, "interval": [0.0, 0.0]}
        return found | dict.fromkeys(("epochs", "energy_kwh", "co2eq_kg", "seconds"), zero)
    return found | candidate.forecast.to_dict() | {"sentence": candidate.forecast.sentence()}


def forecast(
    models: str | Sequence[str],
    original: str,
    shifted: str | Sequence[str] = (),
    *,
    corruptions: str | Sequence[str] = (),
    strategies: str | Sequence[str] = ("full",),
    target: str = "recovery:0.95",
    ledgers: str | Path | Sequence[str | Path] | Sources = (),
    rates: Rates | None = None,
    country: str | None = None,
    grid_intensity: float | None = None,
    price_per_hour: float | None = None,
    max_samples: int | None = None,
    seed: int = 0,
    device: str = "auto",
    **options: Any,
) -> Answer:
    """Forecast what retraining will cost, from what is known before it.

    Each model is run over the original and the shifted data once; a ledger of retrainings that
    were run for real turns what is seen into epochs, and a short probe, into time and energy.
    Shifts are learnt from shifts, and new tasks (labels of classes that the model does not know)
    from new tasks; without labels nothing tells them apart, and both are learnt from.

    Args:
        models: ids or folders.
        original: the data that they know, as a data specification.
        shifted: data sets to retrain for; with labels, or without.
        corruptions: "NAME:LEVEL" of the original data, instead of or beside these.
        strategies: "full", "head", "lora", "scratch".
        target: "accuracy:A", or "recovery:R" of the accuracy on the original data.
        ledgers: a file or folder, or several; the package's own where none is given. `Sources`
            keep what was learnt from them for the next call, which takes seconds.
        rates: of a step; None for a probe of each model, data set and strategy on this machine.
        country: ISO 3166 code, for the grid.
        grid_intensity: g CO2eq/kWh, in place of the country's.
        price_per_hour: of all hardware together, in any currency.
        max_samples: rows to measure of each data set.
        seed: of these, of corruptions and of the probe.
        device: "auto" or "cpu".
        **options: of `retrain`, as they are going to be: epochs, batch_size, learning_rate, …

    Raises:
        UsageError: where something does not fit, or the ledgers hold too little.
        TypeError: for an unknown option.
        ResqueError: where data or model cannot be read.
    """
    data = [(x, None) for x in _listed(shifted)] + [(original, x) for x in _listed(corruptions)]
    names, ways = _listed(models), _listed(strategies)
    if not data or not names or not ways:
        raise UsageError("give a model, a strategy, and shifted= data or corruptions=")
    parse_target(target)
    for name in OTHERWISE.keys() & options.keys():
        raise TypeError(f"unknown option {name!r}; take {OTHERWISE[name]}")
    make_retrain_options(options)
    ledgers = (ledgers,) if isinstance(ledgers, str | Path) else ledgers
    sources = ledgers if isinstance(ledgers, Sources) else Sources(tuple(ledgers))
    for line in (skipped := sources.ledger(LABELLED).skipped):
        log.warning("skipped: %s", line)
    grid = find_grid(country, grid_intensity)
    asked = _Asked(original, target, max_samples, seed, options)
    seer = Seer(sources, grid, price_per_hour, rates, device)
    measurer = Measurer(device)
    found: list[Candidate] = []
    learnt_from: list[str] = []
    for name, (spec, corruption) in itertools.product(names, data):
        cell = asked.cell(name, spec, corruption)
        measured = measurer.measure(cell)
        found.append(_nothing(cell, measured))
        learnt_from += sources.names(kind_of(measured))
        found += seer.candidates(cell, measured, ways)
    return Answer(
        tuple(sorted(found, key=_cost)),
        target,
        tuple(dict.fromkeys(learnt_from)),
        skipped,
        grid,
        next(x.rates for x in found if x.rates),
    )


@dataclass(frozen=True)
class _Step:
    """A step's rates, how they are known, and steps an epoch, rows and parameters."""

    rates: Probe
    how: str
    per_epoch: float
    rows: float
    parameters: float | None


@dataclass
class Seer:
    """Turns what was measured into candidates.

    It probes each model, data set and strategy once: a corruption changes nothing of what a step
    costs.
    """

    sources: Sources
    grid: Grid
    price_per_hour: float | None
    rates: Rates | None
    device: str
    _steps: dict[tuple[str, str, str], _Step] = field(default_factory=dict)

    def candidates(self, cell: Cell, measured: Measurement, ways: Sequence[str]) -> list[Candidate]:
        """Return the forecasts of a cell by each strategy that some run of the ledger has.

        Raises:
            UsageError: where none has one of them.
        """
        forecaster = self.sources.forecaster(kind_of(measured))
        known = [way for way in ways if way in forecaster.table.strategies]
        if not known:
            forecaster.check_strategy(ways[0])
        for way in ways:
            if way not in known:
                log.warning(
                    "no forecast for the strategy %s: no run of the ledger of %s has it",
                    way,
                    forecaster.kind.what,
                )
        return [self.candidate(replace(cell, strategy=way), measured) for way in known]

    def candidate(self, cell: Cell, measured: Measurement, kind: Kind | None = None) -> Candidate:
        """Return the forecast of a cell.

        Args:
            cell: what would be retrained, and how.
            measured: what is known before it.
            kind: of the forecast; None for what the measurement shows.
        """
        predictors = dict(measured.predictors)
        accuracy = predictors.get("accuracy")
        forecaster = self.sources.forecaster(kind or kind_of(measured))
        forecaster.check_strategy(cell.strategy)  # before the probe
        step = self._step(cell, measured)
        predictors["n_train"] = step.rows
        if step.parameters is not None:
            predictors["n_parameters"] = step.parameters
        known = Known(predictors, cell.strategy, cell.target, step.per_epoch)
        found = price_forecast(
            forecaster.predict(known, cell.options.get("epochs")),
            step.rates,
            grid_intensity=self.grid.intensity,
            price_per_hour=self.price_per_hour,
        )
        return Candidate(
            cell.model,
            _shift_of(cell),
            cell.strategy,
            accuracy,
            found,
            found.reached_probability,
            step.how,
        )

    def _step(self, cell: Cell, measured: Measurement) -> _Step:
        key = cell.model, cell.dataset, cell.strategy
        if key not in self._steps:
            labelled = measured.label_column is not None
            given = self.rates and _given(cell, self.rates)
            self._steps[key] = given or self._probed(cell, labelled)
        return self._steps[key]

    def _probed(self, cell: Cell, labelled: bool) -> _Step:
        if not labelled:  # a step costs the same on the original data
            cell = replace(cell, dataset=cell.original, corruption=None)
        record = probe(cell, self.device)
        if record.probe is None:
            raise ResqueError("the probe gave no rates")
        energy = "measured" if record.energy_is_measured else "estimated by codecarbon"
        return _Step(
            record.probe,
            f"a probe of {record.probe.steps} steps on this machine; energy {energy}",
            record.training.steps_per_epoch,
            float(record.data.rows),
            float(record.model.parameters),
        )


def kind_of(measured: Measurement) -> Kind:
    """Return the kind of forecast that a measurement allows."""
    if "accuracy" in measured.predictors:
        return LABELLED
    return TASKS if is_new_task(measured.predictors) else UNLABELLED


def _given(cell: Cell, rates: Rates) -> _Step:
    """Return the rates as given, for the rows that `retrain` would train on.

    Raises:
        UsageError: where the batch size is to be found by trying.
    """
    size = cell.options.get("batch_size", 32)
    if size == "auto":
        raise UsageError("a probe finds the batch size; give a number where it is not run")
    source = open_source(cell.dataset)
    train, evaluation, _ = choose_splits(source, cell.eval_split)
    rows = len(open_data(source.at(train))[0])
    if evaluation is None:
        rows -= round(EVAL_SHARE * rows)
    batch = int(size) * cell.options.get("gradient_accumulation", 1)
    return _Step(rates.probe, "given", max(rows // batch, 1), float(rows), None)


def _listed(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


@dataclass(frozen=True)
class _Asked:
    original: str
    target: str
    max_samples: int | None
    seed: int
    options: dict[str, Any]

    def cell(self, model: str, dataset: str, corruption: str | None) -> Cell:
        measurement = {"max_samples": self.max_samples} if self.max_samples else {}
        return Cell(
            model=model,
            original=self.original,
            dataset=dataset,
            eval_split=self.options.get("eval_split"),
            corruption=corruption,
            class_prior=0.0,
            family=corruption.partition(":")[0] if corruption else dataset,
            level=None,
            strategy="full",
            target=self.target,
            seed=self.seed,
            options=dict(self.options),
            measurement=measurement,
        )


def _nothing(cell: Cell, measured: Measurement) -> Candidate:
    """Return what comes of leaving the model as it is."""
    known = measured.predictors
    accuracy = known.get("accuracy")
    wanted = wanted_accuracy(cell.target, known.get("original_accuracy"))
    met = None if accuracy is None or wanted is None else float(accuracy >= wanted)
    return Candidate(cell.model, _shift_of(cell), NOTHING, accuracy, None, met)


def _shift_of(cell: Cell) -> str:
    return f"{cell.dataset} {cell.corruption or ''}".rstrip()


def _cost(candidate: Candidate) -> tuple[bool, float]:
    found = candidate.forecast
    return (False, 0.0) if found is None else (True, found.energy_kwh.value)
