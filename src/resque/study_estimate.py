"""What a study will take, before it is run: time, energy and money, from cells done or a probe."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from resque.ledger import Cell
from resque.probes import probe
from resque.records import CostRecord
from resque.study import Plan

PROBE_STEPS = 12


@dataclass(frozen=True)
class _Cost:
    seconds: float
    energy_kwh: float


def estimate_plan(plan: Plan, price_per_hour: float | None, device: str = "auto") -> dict[str, Any]:
    """Estimate what the cells that are left will take.

    From the mean of the study's cells that are done; before there are any, from a probe of each
    model and strategy, as if every cell trained to its limit of epochs.

    What these cells need is looked up first, as before a run. A probe asks the Hub for models and
    data, so it is asked for all of them then; without one, no request is sent, and what is not on
    this machine is named instead.

    Args:
        plan: of the study.
        price_per_hour: of the hardware, in any currency, or None.
        device: "auto" or "cpu".

    Returns:
        Cells by family, and "seconds", "energy_kwh" and "price" of those that are left, with the
        "basis" of these estimates; "not_looked_up": models and data.

    Raises:
        UsageError: where a model, data set, split or column is not there.
    """
    from resque.study_check import check_cells

    known = [_of_record(x.record, x.seconds) for x in plan.ledger.done if x.record]
    left = check_cells(plan.study, plan.todo, ask_hub=not known)
    if known:
        basis = f"estimated: the mean of {len(known)} cells that are done"
        seconds = len(plan.todo) * sum(x.seconds for x in known) / len(known)
        kwh = len(plan.todo) * sum(x.energy_kwh for x in known) / len(known)
    else:
        basis = "estimated: a probe of each model and strategy × the limit of epochs (at most)"
        costs = _probe_all(plan.todo, device)
        counts = Counter((cell.model, cell.strategy) for cell in plan.todo)
        seconds = sum(n * costs[key].seconds for key, n in counts.items())
        kwh = sum(n * costs[key].energy_kwh for key, n in counts.items())
    return {
        "study": plan.study.name,
        "cells": len(plan.study.cells),
        "cells_done": plan.done,
        "cells_to_run": len(plan.todo),
        "families": dict(Counter(cell.family for cell in plan.todo)),
        "seconds": round(seconds, 1),
        "energy_kwh": float(f"{kwh:.3g}"),
        "price": None if price_per_hour is None else round(seconds / 3600 * price_per_hour, 4),
        "basis": basis,
        "not_looked_up": list(left),
    }


def _of_record(record: CostRecord, measuring: float) -> _Cost:
    spent = record.seconds_training + record.seconds_evaluation + record.seconds_overhead
    kwh = record.energy_kwh + record.evaluation_energy_kwh + record.overhead_energy_kwh
    return _Cost(measuring + spent, kwh)


def _probe_all(cells: tuple[Cell, ...], device: str) -> dict[tuple[str, str], _Cost]:
    found: dict[tuple[str, str], _Cost] = {}
    for cell in cells:
        key = cell.model, cell.strategy
        if key not in found:
            found[key] = _of_probe(probe(cell, device, probe_steps=PROBE_STEPS))
    return found


def _of_probe(record: CostRecord) -> _Cost:
    steps = record.epochs_limit * record.training.steps_per_epoch
    if record.probe is None:
        return _Cost(record.seconds_training, record.energy_kwh)
    return _Cost(
        record.seconds_overhead + steps * record.probe.seconds_per_step.value,
        steps * record.probe.energy_kwh_per_step.value,
    )
