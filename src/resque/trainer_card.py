"""Puts the cost of a Trainer run on the model card that Trainer writes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resque.errors import ResqueError
from resque.records import CostRecord

log = logging.getLogger(__name__)


def complete_card(trainer: Any, record: Callable[[], CostRecord | None]) -> None:
    """Let the card that a Trainer writes tell a record.

    Trainer has no event between its card and its push, so that this trainer's
    `create_model_card` is given another step.

    Args:
        trainer: whose card it is.
        record: gives the record, once there is one.
    """
    write = trainer.create_model_card

    def create_model_card(*args: Any, **options: Any) -> None:
        write(*args, **options)
        found = record()
        if found is not None and trainer.is_world_process_zero():
            tell_on_card(Path(trainer.args.output_dir) / "README.md", found)

    trainer.create_model_card = create_model_card


def tell_on_card(file: Path, record: CostRecord) -> None:
    """Add a record's cost to a card; it stays as it is, with a warning, where that is not safe."""
    from resque.card import update
    from resque.files import write_whole

    try:
        text = update(file.read_bytes().decode(), None, [record])
        write_whole(file, lambda staged: staged.write_bytes(text.encode()))
    except (ResqueError, OSError, UnicodeDecodeError) as error:
        log.warning("the model card does not tell the cost: %s", error)
