"""Puts the cost of a Trainer run on the model card that Trainer wrote."""

from __future__ import annotations

import logging
from pathlib import Path

from resque.errors import ResqueError
from resque.records import CostRecord

log = logging.getLogger(__name__)


def tell_on_card(file: Path, record: CostRecord) -> None:
    """Add a record's cost to a card; it stays as it is, with a warning, where that is not safe."""
    from resque.card import update
    from resque.files import write_whole

    try:
        text = update(file.read_bytes().decode(), None, [record])
        write_whole(file, lambda staged: staged.write_bytes(text.encode()))
    except (ResqueError, OSError, UnicodeDecodeError) as error:
        log.warning("the model card does not tell the cost: %s", error)
