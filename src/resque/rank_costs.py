"""What retraining a ranked model will cost: scores, a ledger and a probe, by `forecast`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from resque.energy import find_grid
from resque.errors import UsageError
from resque.forecast_runs import LABELLED, TASKS
from resque.forecast_sources import Sources
from resque.forecasting import Rates, Seer
from resque.ledger import Cell
from resque.study_measurement import Measurement

if TYPE_CHECKING:
    from resque.data import Data
    from resque.options import Options
    from resque.rank_results import Observation
    from resque.ranking import Costs


class CostForecaster:
    """Forecasts what retraining each candidate costs; it learns from the ledgers once."""

    def __init__(self, costs: Costs, dataset: str, use: Options) -> None:
        """Read nothing yet.

        Args:
            costs: how.
            dataset: the data that is ranked on, as a data specification.
            use: the options of the pass.

        Raises:
            UsageError: for an unknown country, or an intensity below 0.
        """
        self._costs, self._dataset, self._use = costs, dataset, use
        self._seer = Seer(
            Sources(costs.ledgers),
            find_grid(costs.country, costs.grid_intensity),
            costs.price_per_hour,
            None if costs.rates is None else Rates(*costs.rates),
            "cpu" if use.device == "cpu" else "auto",
        )

    def forecast(self, seen: Observation, model: str, data: Data) -> dict[str, Any]:
        """Return the forecast of retraining a model on the data it was ranked on.

        Where the model's own head fits the labels, or a fingerprint that it publishes, the data
        is a shift; else it is a new task.

        Args:
            seen: what its pass told.
            model: id or folder.
            data: that it was ranked on.

        Raises:
            ValueError: where the ledgers hold too little, no score is one that they know, or the
                model cannot be probed.
        """
        if data.columns.target == "number":
            raise UsageError("a target accuracy is of classes, and the targets are numbers")
        shift = seen.accuracy is not None or seen.resque_dist is not None
        kind = LABELLED if shift else TASKS
        known = _known(seen)
        if not shift:
            if "knn_error" not in known:
                raise UsageError("for a new task it is made from the score knn; compute it, too")
            known["classes"] = _classes(data)
        measured = Measurement(data.columns.modality, data.columns.label, (), known)
        candidate = self._seer.candidate(self._cell(model, data), measured, kind)
        found = candidate.forecast
        assert found is not None  # noqa: S101 (only doing nothing has none)
        return found.to_dict() | {
            "sentence": found.sentence(),
            "rates": candidate.rates,
            "ledgers": list(self._seer.sources.names(kind)),
        }

    def _cell(self, model: str, data: Data) -> Cell:
        costs, columns = self._costs, data.columns
        options = {"label_column": columns.label, "input_columns": list(columns.inputs)}
        return Cell(
            model=model,
            original=self._dataset,
            dataset=self._dataset,
            eval_split=costs.options.get("eval_split"),
            corruption=None,
            class_prior=0.0,
            family=self._dataset,
            level=None,
            strategy=costs.strategy,
            target=f"accuracy:{costs.target_accuracy:g}",
            seed=self._use.seed,
            options=options | {k: v for k, v in costs.options.items() if k != "eval_split"},
            measurement={},
        )


def _known(seen: Observation) -> dict[str, float]:
    """Return what a forecast may be made from, by the names of `resque.predictors`."""
    known = {name: score.value for name, score in seen.layers[0].scores.items()}
    if "knn" in known:
        known["knn_error"] = 1 - known.pop("knn")
    for name, value in (("accuracy", seen.accuracy), ("resque_dist", seen.resque_dist)):
        if value is not None:
            known[name] = value
    return known | {"n_parameters": float(seen.parameters)}


def _classes(data: Data) -> float:
    """Return how many classes the data has; NaN where only reading a stream would tell."""
    if data.columns.label_names:
        return float(len(data.columns.label_names))
    if data.indices is None or data.columns.target != "class":
        return math.nan
    return float(len(data.rows.unique(data.columns.label)))
