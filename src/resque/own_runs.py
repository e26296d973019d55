"""Adds a run of `resque retrain` to a ledger, so that forecasts learn from it."""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from resque.errors import UsageError
from resque.ledger import Cell, add_entry, ledger_file
from resque.processes import is_main_process
from resque.retrain_options import MAY_CHANGE, RetrainOptions
from resque.shifts import parse_corruption
from resque.study_config import NOT_OPTIONS

if TYPE_CHECKING:
    from resque.records import CostRecord

STUDY = "own runs"


def check_can_be_added(options: RetrainOptions) -> None:
    """Refuse a run that no forecast could learn from, before it begins.

    Raises:
        UsageError: where it has no target, or nothing to compare the data with.
    """
    if options.measure != "retrain" or not (options.target_accuracy or options.target_recovery):
        raise UsageError(
            "--ledger needs a run that trains to a target: give --target-accuracy or "
            "--target-recovery"
        )
    if options.original is None and options.corruption is None:
        raise UsageError("--ledger needs the data that the model knows: give --original")


def add_to_ledger(record: CostRecord, model: str, options: RetrainOptions, ledger: Path) -> Path:
    """Measure what was known before a run, and add both to a ledger.

    Every process calls it; the main one writes.

    Args:
        record: what the run cost.
        model: that it began with: id or folder.
        options: of the run.
        ledger: a file, made where it is missing, or a folder that holds `ledger.jsonl`.

    Returns:
        The ledger's file.

    Raises:
        ResqueError: where model or data cannot be read any more, or the ledger not be written.
    """
    from resque.study_measurement import Measurer, make_entry

    file = ledger_file(ledger)
    cell = _cell(record, model, options)
    began = time.perf_counter()
    measured = Measurer(options.device).measure(cell)
    entry = make_entry(cell, STUDY, measured, record, time.perf_counter() - began)
    if is_main_process():
        file.parent.mkdir(parents=True, exist_ok=True)
        add_entry(entry, file)
    return file


def _cell(record: CostRecord, model: str, options: RetrainOptions) -> Cell:
    """Return the run as a cell of a study."""
    data = record.data.dataset
    noise = parse_corruption(options.corruption) if options.corruption else None
    accuracy, recovery = options.target_accuracy, options.target_recovery
    changed = {
        f.name: getattr(options, f.name)
        for f in fields(options)
        if f.name not in NOT_OPTIONS | MAY_CHANGE and getattr(options, f.name) != f.default
    }
    if options.label_column:
        changed["label_column"] = options.label_column
    if options.input_columns:
        changed["input_columns"] = list(options.input_columns)
    return Cell(
        model=model,
        original=data if options.original is None else str(options.original),
        dataset=data,
        eval_split=options.eval_split,
        corruption=str(noise) if noise else None,
        class_prior=0.0,
        family=noise.name if noise else data,
        level=noise.level if noise else None,
        strategy=options.strategy,
        target=f"accuracy:{accuracy:g}" if accuracy is not None else f"recovery:{recovery:g}",
        seed=options.seed,
        options=changed,
        measurement={"max_samples": options.max_samples} if options.max_samples else {},
    )
