"""Make the ledgers that forecasts learn from where no other is given.

    python tools/make_default_ledger.py \
        benchmarks/results/{digits,fashion,mnist-domains,paper-small,text}/ledger.jsonl
    python tools/make_default_ledger.py --tasks benchmarks/results/tasks/ledger.jsonl

Keeps of each run what a forecast needs: no layers but the classifier's input, no curve but its end.
With `--tasks`: of new tasks alone, and of what is known before them only what `rank` measures.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from resque.forecast_runs import is_new_task
from resque.forecast_sources import DEFAULT_LEDGER, DEFAULT_TASK_LEDGER
from resque.ledger import Entry, read_ledger, write_ledger

KNOWN_OF_TASKS = (
    "knn_error", "resque_task", "logme", "hscore", "leep", "classes", "n_train", "n_parameters",
)  # fmt: skip


def slim(entry: Entry) -> Entry:
    """Return an entry without what no forecast reads."""
    record = entry.record
    if record is None:
        return entry
    short = replace(
        record,
        evaluations=record.evaluations[-1:],
        notes=(),
        command="",
    )
    return replace(entry, indices=(), record=short)


def slim_task(entry: Entry) -> Entry:
    """Return the same of a new task."""
    known = {name: x for name, x in entry.predictors.items() if name in KNOWN_OF_TASKS}
    short = slim(entry)
    record = short.record and replace(short.record, epochs=())
    return replace(short, predictors=known, record=record)


def main() -> None:
    """Write the ledger into the package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ledgers", nargs="+", type=Path)
    parser.add_argument("--tasks", action="store_true")
    use = parser.parse_args()
    ledger = read_ledger(use.ledgers)
    for line in ledger.skipped:
        print("skipped:", line, file=sys.stderr)
    if use.tasks:
        path = DEFAULT_TASK_LEDGER
        entries = [slim_task(x) for x in ledger.done if is_new_task(x.predictors)]
    else:
        path, entries = DEFAULT_LEDGER, [slim(x) for x in ledger.done]
    write_ledger(entries, path)
    print(f"{len(entries)} runs, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
