"""How good forecasts from a ledger are on kinds of shift that they know nothing of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resque.documents import plain
from resque.errors import UsageError
from resque.forecast_folds import Unseen
from resque.forecast_runs import Table
from resque.forecasters import (
    Forecaster,
    count_held,
    make_forecaster,
    make_task_forecaster,
    median_error,
    naive,
)
from resque.forecasts import Coverage
from resque.ledger import Ledger


@dataclass(frozen=True)
class Checked:
    """Forecasts of runs whose family nothing was learnt from.

    Attributes:
        runs: that were forecast.
        error: median absolute error in epochs, over the runs that reached their target; None
            where none did.
        naive_error: the same of the naive forecast, the median of the other families' runs.
        coverage: of the prediction intervals.
    """

    runs: int
    error: float | None
    naive_error: float | None
    coverage: Coverage


@dataclass(frozen=True)
class CheckedFamily(Checked):
    """The same for the runs of one family.

    Attributes:
        family: its name.
        method: the model that the other families chose.
    """

    family: str
    method: str


@dataclass(frozen=True)
class CheckedForecaster(Checked):
    """The same for all runs.

    Attributes:
        features: that the models use.
        families: one by one.
    """

    features: tuple[str, ...]
    families: tuple[CheckedFamily, ...]


@dataclass(frozen=True)
class ForecastEvaluation:
    """How good a ledger's forecasts are, with and without labels of the shifted data.

    Attributes:
        level: probability that intervals are made for.
        labelled: with labels, or None where the ledger has no such features.
        unlabelled: without, or None.
        notes: why one is None, a sentence each.
    """

    level: float
    labelled: CheckedForecaster | None
    unlabelled: CheckedForecaster | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found: dict[str, Any] = plain(asdict(self))
        return found


def evaluate_forecasts(ledger: Ledger, *, level: float = 0.9) -> ForecastEvaluation:
    """Forecast each family of a ledger from the others, and compare with what its runs took.

    Choice of the model, fit and interval are made anew for each family, without its runs.

    Args:
        ledger: of studies.
        level: probability that intervals are made for, from 0.5 to 0.95.

    Raises:
        UsageError: where the ledger does not suffice for either kind of forecast.
    """
    return evaluate_forecasters(*make_forecasters(ledger, level=level))


def make_forecasters(
    ledger: Ledger, *, level: float = 0.9
) -> tuple[dict[bool, Forecaster], tuple[str, ...]]:
    """Learn from a ledger with labels (True) and without (False), where it suffices.

    Args:
        ledger: of studies.
        level: probability that intervals are made for, from 0.5 to 0.95.

    Returns:
        One forecaster or both, and why one is not there.

    Raises:
        UsageError: where the ledger does not suffice for either kind of forecast.
    """
    made: dict[bool, Forecaster] = {}
    notes: list[str] = []
    for labels in (True, False):
        try:
            made[labels] = make_forecaster(ledger, labels=labels, level=level)
        except UsageError as error:
            if notes:
                raise
            notes.append(f"{'with' if labels else 'without'} labels: {error}")
    return made, tuple(notes)


def evaluate_forecasters(
    made: Mapping[bool, Forecaster], notes: Sequence[str]
) -> ForecastEvaluation:
    """Do `evaluate_forecasts` with what `make_forecasters` returned."""
    level = next(iter(made.values())).level
    found = {labels: _check(forecaster) for labels, forecaster in made.items()}
    return ForecastEvaluation(level, found.get(True), found.get(False), tuple(notes))


def evaluate_task_forecasts(ledger: Ledger, *, level: float = 0.9) -> CheckedForecaster:
    """Forecast each model's new tasks from those of the other models, and compare likewise.

    Args:
        ledger: of studies.
        level: probability that intervals are made for, from 0.5 to 0.95.

    Returns:
        With the models as its families.

    Raises:
        UsageError: where the ledger does not suffice.
    """
    return _check(make_task_forecaster(ledger, level=level))


def _check(forecaster: Forecaster) -> CheckedForecaster:
    table, unseen = forecaster.table, forecaster.unseen
    families = tuple(
        CheckedFamily(
            **vars(_compare(table, unseen, table.runs.families == i)),
            family=family,
            method=unseen.methods[i],
        )
        for i, family in enumerate(table.families)
    )
    whole = _compare(table, unseen, np.ones(len(table.runs.cost), bool))
    return CheckedForecaster(**vars(whole), features=table.features, families=families)


def _compare(table: Table, unseen: Unseen, rows: NDArray[np.bool_]) -> Checked:
    runs = table.runs.select(rows)
    errors = [median_error(table, x, rows) for x in (unseen.predicted, naive(table.runs))]
    own, other = (None if math.isnan(x) else x for x in errors)
    held = count_held(runs, unseen.predicted[rows], unseen.width[rows])
    return Checked(len(runs.cost), own, other, held)
