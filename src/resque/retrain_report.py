"""A cost record as a table that people read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resque.records import CostRecord, Measured


def render(record: CostRecord, folder: Path) -> list[Any]:
    """Return a record as `rich` renderables, the folder named last."""
    from rich.markup import escape

    parts = [_cost_table(record)]
    if record.epochs:
        parts.insert(0, _epoch_table(record))
    return [*parts, *(escape(line) for line in _lines(record, folder))]


def _epoch_table(record: CostRecord) -> Any:
    from rich.table import Table

    table = Table(title=f"{record.model.name} on {record.data.dataset}{_noise(record)}")
    for name in ("epoch", "steps", "train loss", "accuracy", "gradient norm", "change", "s", "Wh"):
        table.add_column(name, justify="right")
    for e in record.epochs:
        table.add_row(
            f"{e.epoch:.3g}",
            str(e.steps),
            _number(e.train_loss),
            _number(e.eval_accuracy),
            _number(e.grad_norm),
            _number(e.param_change_from_start),
            f"{e.seconds:.1f}",
            f"{1000 * e.energy_kwh:.3g}",
        )
    return table


def _cost_table(record: CostRecord) -> Any:
    from rich.table import Table

    table = Table(title=None if record.epochs else f"{record.model.name} on {record.data.dataset}")
    for name in ("", "s", "Wh", "g CO2eq"):
        table.add_column(name, justify="left" if not name else "right")
    rows = [
        ("training", record.seconds_training, record.energy_kwh),
        ("evaluation", record.seconds_evaluation, record.evaluation_energy_kwh),
        ("neither", record.seconds_overhead, record.overhead_energy_kwh),
    ]
    if record.wasted.seconds:
        rows.append(("wasted", record.wasted.seconds, record.wasted.energy_kwh))
    for name, seconds, kwh in rows:
        grams = kwh * record.grid_intensity_g_per_kwh
        table.add_row(name, f"{seconds:.1f}", f"{1000 * kwh:.3g}", f"{grams:.3g}")
    return table


def _lines(record: CostRecord, folder: Path) -> list[str]:
    method = record.energy_method
    lines = [_outcome(record)]
    if record.probe:
        p = record.probe
        lines.append(f"a step takes {_interval(p.seconds_per_step, 's')}")
        lines.append(f"and {_interval(p.energy_kwh_per_step, 'kWh')} (energy: {_kind(record)})")
    lines.append(f"energy, {_kind(record)}: CPU {method.cpu}; GPU {method.gpu}; RAM {method.ram}")
    lines.append(f"carbon: {record.grid_intensity_g_per_kwh:g} g CO2eq/kWh, {record.grid_source}")
    if record.price is not None:
        lines.append(
            f"price of training: {record.price:.4g} (at {record.price_per_hour:g} an hour)"
        )
    what = "The record is" if record.probe or record.rule == "diverged" else "Record and model are"
    lines.append(f"{what} in {folder}")
    return lines


def _outcome(record: CostRecord) -> str:
    if record.probe:
        return f"probe: {record.probe.steps} steps after {record.probe.warmup_steps} of warm-up"
    accuracy = f"accuracy {record.accuracy_before or 0:.3f} before"
    if record.rule == "diverged":
        return f"{accuracy}; the loss was no number at step {record.diverged_at_step}: diverged"
    best = f"best {record.accuracy_best or 0:.3f} at epoch {record.epoch_of_best or 0:.3g}"
    if record.target is None:
        return f"{accuracy}, {best} (no target)"
    goal = f"target {record.target.accuracy:.4g}"
    if record.reached and not record.steps_to_target:
        return f"{accuracy}: the {goal} was met before training; 0 epochs"
    if record.reached:
        return (
            f"{accuracy}; {goal} reached after {record.epochs_to_target:.3g} epochs, "
            f"{record.steps_to_target:.3g} steps (interpolated over {record.resolution_steps})"
        )
    return f"{accuracy}, {best}; {goal} not reached (ended by: {record.rule})"


def _kind(record: CostRecord) -> str:
    return "measured" if record.energy_is_measured else "estimated"


def _interval(found: Measured, unit: str) -> str:
    low, high = found.interval
    return f"{found.value:.3g} {unit} ({low:.3g} to {high:.3g}, 95 %)"


def _noise(record: CostRecord) -> str:
    return f" + {record.data.corruption}" if record.data.corruption else ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
