"""Forecast each kind of shift from the others, and compare with what retraining really took.

    python benchmarks/forecast_accuracy.py benchmarks/results/*/ledger.jsonl \
        --output benchmarks/results/forecast_accuracy.json

For every ledger, and for all of them as one: the median absolute error in epochs over runs of
families that nothing was learnt from, with labels of the shifted data and without, beside that of
the naive forecast (the median of the other families), and how often the 90 % intervals held.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from resque.errors import UsageError
from resque.forecast_evaluation import Checked, evaluate_forecasts
from resque.ledger import read_ledger
from resque.measurement import library_versions


def row(name: str, kind: str, found: Checked | None) -> list[str]:
    """Return a line of the table."""
    if found is None:
        return [name, kind, "–", "–", "–", "–", "–"]
    held = found.coverage
    share = f"{held.share:.0%} ({held.held} of {held.held + held.missed})"
    errors = ["–" if x is None else f"{x:.3f}" for x in (found.error, found.naive_error)]
    return [name, kind, str(found.runs), *errors, share, str(held.undecided)]


def main() -> None:
    """Print the table and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ledgers", nargs="+", type=Path)
    parser.add_argument("--output", type=Path)
    use = parser.parse_args()
    table = Table()
    for name in ("ledger", "labels", "runs", "error", "naive", "90 % intervals held", "undecided"):
        table.add_column(name)
    document: dict[str, Any] = {
        "date": datetime.date.today().isoformat(),
        "command": "python benchmarks/forecast_accuracy.py "
        + " ".join(str(x) for x in use.ledgers),
        "versions": library_versions(),
    }
    groups = [[x] for x in use.ledgers] + ([use.ledgers] if len(use.ledgers) > 1 else [])
    for paths in groups:
        name = "all" if len(paths) > 1 else paths[0].parent.name
        try:
            found = evaluate_forecasts(read_ledger(paths))
        except UsageError as error:
            document[name] = str(error)
            continue
        document[name] = found.to_dict()
        table.add_row(*row(name, "yes", found.labelled))
        table.add_row(*row(name, "no", found.unlabelled))
    Console().print(table)
    if use.output:
        text = json.dumps(document, indent=1, allow_nan=False)
        use.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
