"""Measure a study's cells anew, and keep what their retrainings cost.

For when a predictor is added: retraining is the dear part, and does not change.

    python tools/remeasure_ledger.py OUT

Run it where the study was run: its models and data sets are read again. Cells whose measurement
is up to date (every predictor that the cell can have is there) are left as they are.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from resque.ledger import FILE_NAME, Entry, read_ledger, write_ledger
from resque.study_measurement import Measurer

ADDED = ("resque_scatter", "resque_angle_loss")  # that older ledgers lack


def remeasure(entry: Entry, measurer: Measurer) -> Entry:
    """Return the entry with the predictors of now."""
    found = measurer.measure(entry.cell)
    sizes = {k: v for k, v in entry.predictors.items() if k in ("n_train", "n_parameters")}
    return replace(entry, predictors={**found.predictors, **sizes}, indices=found.indices)


def main() -> None:
    """Write the ledger anew, whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    use = parser.parse_args()
    ledger, measurer = read_ledger([use.folder]), Measurer("cpu")
    entries = []
    for entry in tqdm(ledger.entries):
        old = entry.status == "done" and not set(ADDED) & set(entry.predictors)
        entries.append(remeasure(entry, measurer) if old else entry)
    write_ledger(entries, use.folder / FILE_NAME)


if __name__ == "__main__":
    main()
