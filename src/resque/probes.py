"""A short run that tells what a step of a cell's retraining costs here."""

from __future__ import annotations

import tempfile
from typing import Any

from resque.ledger import Cell
from resque.records import CostRecord


def probe(cell: Cell, device: str, **options: Any) -> CostRecord:
    """Run a probe in a folder that does not stay.

    Args:
        cell: what would be retrained, and how.
        device: "auto" or "cpu".
        **options: of `retrain`, besides the cell's own.

    Raises:
        ResqueError: where something does not fit; the text says what to do.
    """
    from resque.retrain import retrain

    own = {**cell.options, "eval_split": cell.eval_split, "strategy": cell.strategy}
    with tempfile.TemporaryDirectory(prefix="resque-") as folder:
        return retrain(
            cell.model,
            cell.dataset,
            folder,
            **(own | options),
            corruption=cell.corruption,
            measure="probe",
            seed=cell.seed,
            device=device,
            progress=False,
        )
