"""Reads ledgers and cost records into the costs that a card tells."""

from __future__ import annotations

import json
import logging
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resque import __version__
from resque.card_facts import COST, MEASURED, TOOL, Fact, Place, make_fact
from resque.card_reports import absolute, data_name, place_of
from resque.data import parse_spec
from resque.errors import ResqueError
from resque.ledger import FILE_NAME as LEDGER_NAME
from resque.ledger import Entry, Ledger, read_ledger
from resque.public_text import clean, public_command
from resque.records import CostRecord, read_records
from resque.study_words import energy_kind

LISTED = 8
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """A retraining that was run for real.

    Attributes:
        shift: (model, data without split and revision, corruption).
        place: the data.
        record: what it cost.
    """

    shift: tuple[str, str, str | None]
    place: Place
    record: CostRecord


def read_runs(path: str | Path) -> list[Run]:
    """Read a study's ledger, or the records of `resque retrain`: a file, or a folder with one.

    Raises:
        ResqueError: where it cannot be read.
    """
    file = Path(path)
    if file.is_dir():
        is_ledger = (file / LEDGER_NAME).exists()
    else:
        is_ledger = _first_line(file).get("cell") is not None
    if not is_ledger:
        return runs_of(read_records(file))
    ledger = read_ledger([file])
    for line in ledger.skipped:
        log.warning("skipped: %s", line)
    return runs_of(ledger)


def _first_line(file: Path) -> dict[str, Any]:
    try:
        with file.open(encoding="utf-8") as lines:
            found = json.loads(next((line for line in lines if line.strip()), "{}"))
    except OSError as error:
        raise ResqueError(f"cannot read the ledger {file}: {error.strerror}") from error
    except (ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


def runs_of(found: Ledger | Iterable[Entry | CostRecord]) -> list[Run]:
    """Return the retrainings of a ledger, without probes and shifts of class frequencies."""
    entries = found.done if isinstance(found, Ledger) else found
    runs = [_run_of(entry) for entry in entries]
    return [run for run in runs if run is not None]


def _run_of(found: Entry | CostRecord) -> Run | None:
    record = found.record if isinstance(found, Entry) else found
    if record is None or record.measure == "probe":
        return None
    if isinstance(found, Entry):
        cell = found.cell
        if cell.class_prior:
            return None
        model, data, corruption = cell.model, cell.dataset, cell.corruption
    else:
        model, data, corruption = record.model.name, record.data.dataset, record.data.corruption
    spec = parse_spec(data)
    name = absolute(parse_spec(model).path)
    return Run((name, data_name(spec), _usual(corruption)), place_of(spec), record)


def _usual(corruption: str | None) -> str | None:
    from resque.shifts import parse_corruption

    return None if corruption is None else str(parse_corruption(corruption))


def choose_runs(runs: Sequence[Run], shifts: frozenset[tuple[str, str, str | None]]) -> list[Run]:
    """Return the runs of these shifts of these models.

    Raises:
        ResqueError: where there is none; names what there is.
    """
    chosen = [run for run in runs if run.shift in shifts]
    if not chosen:
        raise ResqueError(
            f"the ledger has no retraining of {_listed(shifts)}; it has "
            f"{_listed({run.shift for run in runs}) or 'none at all'}"
        )
    return chosen


def _listed(shifts: Iterable[tuple[str, str, str | None]]) -> str:
    named = [" ".join(filter(None, (m, "on", d, c))) for m, d, c in sorted(shifts, key=str)]
    more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
    return "; ".join(named[:LISTED]) + more


def cost_facts(runs: Iterable[Run]) -> list[Fact]:
    """Return a fact for each shift, strategy and target."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        record = run.record
        groups.setdefault((run.shift, record.training.strategy, target_of(record)), []).append(run)
    return [_cost_fact(group) for group in groups.values()]


def target_of(record: CostRecord) -> str | None:
    """Return "KIND:VALUE", or None where a run had no target."""
    target = record.target
    return None if target is None else f"{target.kind}:{target.value:g}"


def _cost_fact(group: list[Run]) -> Fact:
    records = [run.record for run in group]
    first = records[0]
    value, interval, reached = _epochs(records)
    args = {
        "kind": MEASURED,
        "strategy": first.training.strategy,
        "target": target_of(first),
        "corruption": group[0].shift[2],
        "interval": interval,
        "runs": len(records),
        "reached": reached,
        "energy_kwh": statistics.mean(r.energy_kwh for r in records),
        "co2eq_g": statistics.mean(1000 * r.co2eq_kg for r in records),
        "energy": energy_kind(records),
        "seconds": statistics.mean(r.seconds_training for r in records),
        "data_revision": first.data.revision,
        "date": max(r.ended for r in records)[:10],
        "command": _command(first),
    }
    return make_fact(COST, value, group[0].place, args)


def _epochs(records: Sequence[CostRecord]) -> tuple[float | str, list[float] | None, int | None]:
    """Return the median of the epochs, the least and most, and how many reached the target.

    A run that missed its target counts as dearer than all that reached theirs.
    """
    spent = [r.epochs[-1].epoch if r.epochs else 0.0 for r in records]
    if all(r.target is None for r in records):
        return statistics.median(spent), None, None
    known = sorted(r.epochs_to_target for r in records if r.epochs_to_target is not None)
    if 2 * len(known) <= len(records):
        pairs = zip(spent, records, strict=True)
        least = [s if r.epochs_to_target is None else r.epochs_to_target for s, r in pairs]
        return f"> {statistics.median(least):.3g}", None, len(known)
    padded = [*known, *[known[-1]] * (len(records) - len(known))]
    interval = [known[0], known[-1]] if len(known) == len(records) > 1 else None
    return statistics.median(padded), interval, len(known)


def _command(record: CostRecord) -> str | None:
    """Return the command where it is one of ours: a script's own may hold anything."""
    command = public_command(record.command)
    return command if command.startswith(("resque retrain ", "resque study ")) else None


def emissions(runs: Sequence[Run]) -> dict[str, Any]:
    """Return `co2_eq_emissions` in grams: of training alone, the mean of these runs."""
    records = [run.record for run in runs]
    count = "one run" if len(records) == 1 else f"mean of {len(records)} runs"
    scratch = all(r.training.strategy == "scratch" for r in records)
    grid = _distinct(
        f"{r.grid_intensity_g_per_kwh:g} g CO2eq/kWh ({r.grid_source})" for r in records
    )
    return {
        "emissions": float(f"{1000 * statistics.mean(r.co2eq_kg for r in records):.6g}"),
        "source": clean(
            f"{TOOL} {__version__}: retraining after a shift, {count}; energy "
            f"{energy_kind(records)} by codecarbon; {grid}",
            500,
        ),
        "training_type": "training from scratch" if scratch else "fine-tuning",
        "geographical_location": _distinct(r.country or "not given" for r in records),
        "hardware_used": _distinct(_hardware(r) for r in records),
    }


def _hardware(record: CostRecord) -> str:
    host = record.host
    if host.accelerators:
        return ", ".join(host.accelerators)
    return f"{host.processor}, {host.cores} logical processors"


def _distinct(texts: Iterable[str]) -> str:
    return clean("; ".join(dict.fromkeys(texts)), 300)
