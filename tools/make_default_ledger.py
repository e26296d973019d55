"""Make the ledger that `resque forecast` learns from where no other is given.

    python tools/make_default_ledger.py benchmarks/results/*/ledger.jsonl

Keeps of each run what a forecast needs: no layers but the classifier's input, no curve but its end.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from resque.forecasting import DEFAULT_LEDGER
from resque.ledger import Entry, read_ledger, write_ledger


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


def main() -> None:
    """Write the ledger into the package."""
    ledger = read_ledger(sys.argv[1:])
    for line in ledger.skipped:
        print("skipped:", line, file=sys.stderr)
    write_ledger(map(slim, ledger.done), DEFAULT_LEDGER)
    print(f"{len(ledger.done)} runs, {DEFAULT_LEDGER.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
