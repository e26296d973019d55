"""What a retraining cost, as one number for each measure, and whether it is a lower bound only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resque.records import CostRecord


@dataclass(frozen=True)
class Outcome:
    """A cost.

    Attributes:
        value: in the measure's unit; where censored, what was spent before the run ended.
        censored: whether the target was not reached, so that the true cost is greater.
    """

    value: float
    censored: bool


@dataclass(frozen=True)
class Measure:
    """A measure of cost.

    Attributes:
        unit: of its values.
        what: in words.
        bound_only: whether a run that does not reach its target gives a lower bound only.
        read: takes it from a record; None where it was not measured.
    """

    unit: str
    what: str
    bound_only: bool
    read: Callable[[CostRecord], float | None]


def _spent_epochs(record: CostRecord) -> float | None:
    if record.epochs_to_target is not None:
        return record.epochs_to_target
    return record.evaluations[-1].epoch if record.evaluations else None


def _spent_steps(record: CostRecord) -> float | None:
    if record.steps_to_target is not None:
        return record.steps_to_target
    return float(record.evaluations[-1].step) if record.evaluations else None


def _first_norm(record: CostRecord) -> float | None:
    return record.epochs[0].grad_norm if record.epochs else None


def _change(record: CostRecord) -> float | None:
    if record.epochs:
        return record.epochs[-1].param_change_from_start
    return 0.0 if record.reached else None  # met before the first step


MEASURES: dict[str, Measure] = {
    "epochs": Measure("epochs", "epochs to the target", True, _spent_epochs),
    "steps": Measure("steps", "optimizer steps to the target", True, _spent_steps),
    "grad_norm": Measure("", "mean gradient norm of the first epoch", False, _first_norm),
    "param_change": Measure("", "parameter change at the end, mean ‖Δ‖₂/√n", True, _change),
    "seconds": Measure("s", "seconds of training", True, lambda r: r.seconds_training),
    "energy_kwh": Measure("kWh", "energy of training", True, lambda r: r.energy_kwh),
    "co2eq_kg": Measure("kg CO2eq", "carbon of training", True, lambda r: r.co2eq_kg),
}


def outcome(record: CostRecord, measure: str) -> Outcome | None:
    """Return a record's cost in one measure, or None where it was not measured.

    Args:
        record: of a run with a target.
        measure: a key of `MEASURES`.
    """
    kind = MEASURES[measure]
    value = kind.read(record)
    if value is None:
        return None
    return Outcome(float(value), kind.bound_only and record.reached is False)
