"""What retraining a ranked model will cost: scores, a ledger and a probe, by `forecast`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resque.energy import find_grid
from resque.forecasting import DEFAULT_LEDGER, Rates, Seer
from resque.ledger import Cell, read_ledger
from resque.study_measurement import Measurement

if TYPE_CHECKING:
    from resque.data import Data
    from resque.options import Options
    from resque.rank_results import Observation
    from resque.ranking import Costs


def forecast_for(
    seen: Observation, model: str, dataset: str, data: Data, costs: Costs, use: Options
) -> dict[str, Any]:
    """Return the forecast of retraining a model on the data it was ranked on.

    Args:
        seen: what its pass told.
        model: id or folder.
        dataset: the data, as a data specification.
        data: the same, opened.
        costs: how.
        use: the options of the pass.

    Raises:
        UsageError: where the ledgers hold too little, or none of its scores is one they know.
    """
    cell = _cell(model, dataset, data, costs, use)
    known = {name: score.value for name, score in seen.layers[0].scores.items()}
    if "knn" in known:
        known["knn_error"] = 1 - known.pop("knn")
    for name, value in (("accuracy", seen.accuracy), ("resque_dist", seen.resque_dist)):
        if value is not None:
            known[name] = value
    known["n_parameters"] = float(seen.parameters)
    measured = Measurement(data.columns.modality, data.columns.label, (), known)
    seer = Seer(
        read_ledger(costs.ledgers or [DEFAULT_LEDGER]),
        find_grid(costs.country, costs.grid_intensity),
        costs.price_per_hour,
        None if costs.rates is None else Rates(*costs.rates),
        "cpu" if use.device == "cpu" else "auto",
    )
    found = seer.candidate(cell, measured, labels=True).forecast
    assert found is not None  # noqa: S101 (only doing nothing has none)
    return found.to_dict() | {"sentence": found.sentence(), "rates": seer.how}


def _cell(model: str, dataset: str, data: Data, costs: Costs, use: Options) -> Cell:
    options = {"label_column": data.columns.label, "input_columns": list(data.columns.inputs)}
    return Cell(
        model=model,
        original=dataset,
        dataset=dataset,
        eval_split=costs.options.get("eval_split"),
        corruption=None,
        class_prior=0.0,
        family=dataset,
        level=None,
        strategy=costs.strategy,
        target=f"accuracy:{costs.target_accuracy:g}",
        seed=use.seed,
        options=options | {k: v for k, v in costs.options.items() if k != "eval_split"},
        measurement={},
    )
