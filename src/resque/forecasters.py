"""Learns from a ledger to forecast the epochs of a retraining, before it is run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from resque.errors import UsageError
from resque.forecast_folds import Fitted, Folds, Unseen
from resque.forecast_models import Runs
from resque.forecast_runs import (
    LABELLED,
    SIZES,
    TASKS,
    UNLABELLED,
    Kind,
    Known,
    Table,
    make_table,
    values,
)
from resque.forecasts import Coverage, EpochForecast, Predicted, predicted_of
from resque.ledger import Ledger
from resque.predictors import PREDICTORS
from resque.sums import Floats

DRAWS = 2_000  # equally likely sizes of an error; each counts above and below the median
LEVELS = (0.5, 0.95)  # of intervals; the runs that a ledger needs do not suffice for more


@dataclass(frozen=True, eq=False)
class Forecaster:
    """Forecasts epochs from what a ledger tells; made by `make_forecaster`.

    Attributes:
        ledger: that it learns from.
        kind: what it forecasts, and from what.
        level: probability that intervals are made for.
        table: the ledger's runs.
        folds: models of these, without some families or with all.
    """

    ledger: Ledger
    kind: Kind
    level: float
    table: Table
    folds: Folds
    _narrower: dict[tuple[str, ...], Forecaster] = field(default_factory=dict, repr=False)

    @property
    def labels(self) -> bool:
        """Whether it uses labels of the new data."""
        return self.kind.labels

    @cached_property
    def fitted(self) -> Fitted:
        """The chosen model and its errors."""
        return self.folds.fit()

    @cached_property
    def unseen(self) -> Unseen:
        """Forecasts of the ledger's own runs, each from the other families.

        Takes as many fits as there are pairs of families.
        """
        return self.folds.forecast_unseen()

    def predict(self, known: Known, limit: float | None = None) -> EpochForecast:
        """Forecast the epochs of a retraining.

        Where a feature of the model is not known, a model without it is used, and `notes` say so.

        Args:
            known: what is known before it.
            limit: epochs that it may take; None for the most that a run of the ledger could take.

        Raises:
            UsageError: where no feature is known, no run of the ledger has the strategy, or the
                limit is not above 0.
        """
        limit = self.table.limit if limit is None else limit
        if not limit > 0:
            raise UsageError(f"limit is {limit}; expected epochs above 0")
        self.check_strategy(known.strategy)
        found, notes = self._found(known)
        rest = tuple(name for name in self.table.features if name in found)
        if rest == self.table.features:
            return self._predict(known, found, limit, notes)
        if not rest:
            raise UsageError(
                f"none of {', '.join(self.table.features)} is known, which this forecast is made "
                "from" + ("; labels=False needs no labels" if self.kind is LABELLED else "")
            )
        if rest not in self._narrower:
            self._narrower[rest] = _make(self.ledger, self.kind, self.level, rest)
        forecast = self._narrower[rest].predict(known, limit)
        note = f"without {', '.join(x for x in self.table.features if x not in rest)}, not known"
        return replace(forecast, notes=(*forecast.notes, note))

    def check_strategy(self, strategy: str) -> None:
        """Raise a UsageError where no run of the ledger has a strategy."""
        if strategy not in self.table.strategies:
            raise UsageError(
                f"no run of the ledger has the strategy {strategy!r}; it has "
                f"{', '.join(self.table.strategies)}"
            )

    def _found(self, known: Known) -> tuple[dict[str, float], list[str]]:
        notes = list(self.table.notes)
        if known.target is None:
            known = replace(known, target=self.table.target)
            notes.append(f"target {self.table.target}, that of most runs of the ledger")
        found = values(known)
        for name in self.table.typical:
            if name not in found:
                typical = _shown(name, self.table.typical[name])
                notes.append(f"{name} is not known; {typical} taken, the ledger's median")
        return found, notes

    def _predict(
        self, known: Known, found: Mapping[str, float], limit: float, notes: Sequence[str]
    ) -> EpochForecast:
        row = self.table.row(found, known.strategy)
        columns = np.hstack(row)
        log_cost, growth = self.fitted.model(*row[:2]).item(), self.fitted.growth(columns).item()
        value, draws = self.table.epochs(np.array(log_cost)).item(), self._draws(log_cost, growth)
        epochs, steps = predicted_of(value, draws, self.level), known.steps_per_epoch
        n = len(self.table.runs.cost)
        return EpochForecast(
            epochs=epochs,
            steps=predicted_of(value * steps, draws * steps, self.level) if steps else None,
            steps_per_epoch=steps,
            level=self.level,
            method=self.fitted.method,
            candidates=self.fitted.candidates,
            runs=n,
            families=len(self.table.families),
            coverage=count_held(self.table.runs, self.unseen.predicted, self.unseen.width),
            error=median_error(self.table, self.unseen.predicted),
            naive_error=median_error(self.table, naive(self.table.runs)),
            outside=(*self._outside(columns[0]), *self._beyond(epochs, limit)),
            growth=growth,
            labels=self.labels,
            limit=limit,
            # Half a run more on each side: never certain.
            reached_probability=(n * float(np.mean(draws <= limit)) + 0.5) / (n + 1),
            notes=tuple(notes),
            kind=self.kind.what,
            draws=draws,
        )

    def _draws(self, log_cost: float, growth: float) -> Floats:
        """Return equally likely epochs: the median less and plus every size of error."""
        sizes = growth * self.fitted.errors.quantile((np.arange(DRAWS) + 0.5) / DRAWS)
        return self.table.epochs(log_cost + np.concatenate([-sizes[::-1], sizes]))

    def _outside(self, row: Floats) -> Iterator[str]:
        """Name each column that is outside of the ledger's range."""
        seen = self.fitted.seen
        columns = zip(self.table.columns, row, seen.T, self.table.spread, strict=True)
        for name, x, known, spread in columns:
            beyond = max(known.min() - x, x - known.max()) / spread
            if beyond > 0:
                low, high, at = (_shown(name, value) for value in (known.min(), known.max(), x))
                seen_range = low if low == high else f"{low} to {high}"
                yield f"{name} is {at}, and {seen_range} in the ledger: {beyond:.2g} spreads beyond"

    def _beyond(self, epochs: Predicted, limit: float) -> Iterator[str]:
        """Say where the forecast is of more epochs than a run of the ledger could take."""
        most = max(limit, epochs.interval[1])
        if most > self.table.limit:
            seen = f"no run of the ledger could take more than {self.table.limit:g}"
            yield f"up to {most:.3g} epochs, and {seen}"


def _shown(name: str, value: float) -> str:
    """Return a column's value as it was before `values` turned it."""
    if name in SIZES:
        return f"{math.exp(value):,.0f}"
    return f"{value * (PREDICTORS[name].sign if name in PREDICTORS else 1):.3g}"


def count_held(runs: Runs, predicted: Floats, width: Floats) -> Coverage:
    """Return how many runs lay within predicted log costs ± widths."""
    error = runs.cost - predicted
    floored = np.where(runs.side < 0, np.maximum(error, 0), error)  # 0 epochs: no cost is less
    held = (np.abs(floored) <= width) & (runs.side <= 0)
    undecided = (runs.side > 0) & (error <= width)
    counts = int(held.sum()), int((~held & ~undecided).sum()), int(undecided.sum())
    return Coverage(*counts)


def naive(runs: Runs) -> Floats:
    """Return (N,) log costs: the median of the runs of other families, bounds as they are."""
    others = runs.families[:, None] != runs.families
    return np.array([np.median(runs.cost[rows]) for rows in others])


def median_error(table: Table, predicted: Floats, rows: NDArray[np.bool_] | None = None) -> float:
    """Return the median absolute error in epochs over the runs that reached their target.

    Args:
        table: of N runs.
        predicted: (N,) their log costs.
        rows: (N,) whether a run is meant; None for all.

    Returns:
        NaN where none reached it.
    """
    meant = table.runs.side <= 0 if rows is None else rows & (table.runs.side <= 0)
    errors = np.abs(table.epochs(predicted) - table.epochs(table.runs.cost))[meant]
    return float(np.median(errors)) if len(errors) else math.nan


def make_forecaster(ledger: Ledger, *, labels: bool, level: float = 0.9) -> Forecaster:
    """Learn from a ledger to forecast epochs.

    Args:
        ledger: of studies, see `read_ledger`.
        labels: whether labels of the shifted data are there; without, only predictors that need
            none are used.
        level: probability that the intervals are made for, from 0.5 to 0.95.

    Raises:
        UsageError: where the ledger has too few runs, families or features, or the level is out
            of range; the text says what is needed.
    """
    return _make(ledger, LABELLED if labels else UNLABELLED, level)


def make_task_forecaster(ledger: Ledger, *, level: float = 0.9) -> Forecaster:
    """Learn from a ledger's new tasks to forecast epochs of other new tasks.

    Args:
        ledger: of studies, see `read_ledger`; its shifts are left out.
        level: probability that the intervals are made for, from 0.5 to 0.95.

    Raises:
        UsageError: as `make_forecaster` does.
    """
    return _make(ledger, TASKS, level)


def _make(
    ledger: Ledger, kind: Kind, level: float, features: Sequence[str] | None = None
) -> Forecaster:
    if not LEVELS[0] <= level <= LEVELS[1]:
        raise UsageError(f"level is {level}; expected a number from {LEVELS[0]} to {LEVELS[1]}")
    table = make_table(ledger, features or kind.features, kind)
    return Forecaster(
        ledger, kind, level, table, Folds(table.runs, table.features, table.spread, level)
    )
