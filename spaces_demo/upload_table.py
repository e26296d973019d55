"""A table of texts whose columns are read one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import limits
from upload_rows import shown

MISSING = -1  # the label of a row without one, where labels are numbers


@dataclass(frozen=True)
class Table:
    """A table whose values are read by column.

    Attributes:
        n_rows: its rows.
        features: features of datasets by column.
        values: gives a column's values; None where one is missing.
    """

    n_rows: int
    features: dict[str, Any]
    values: Callable[[str], Sequence[Any]]


def feature_of(dtype: str) -> Any:
    """Return the feature of datasets for values of a type."""
    import datasets

    return datasets.Value(dtype)


def check_columns(names: Sequence[str], table: str) -> None:
    """Raise ValueError for a table without names of columns, too many, or one twice."""
    if not any(names):
        raise ValueError(f"{shown(table)} is empty: its first line must name the columns.")
    if len(names) > limits.MAX_COLUMNS:
        raise ValueError(
            f"{shown(table)} has {len(names):,} columns; at most {limits.MAX_COLUMNS} are taken: "
            "keep those of the texts and the labels."
        )
    for i, column in enumerate(names):
        if column in names[:i]:
            raise ValueError(
                f"{shown(table)} has two columns called {shown(column)}: give each its own name."
            )


def too_long(rows: str, name: str) -> ValueError:
    """Return the error for a table with so many rows."""
    return ValueError(
        f"{shown(name)} has {rows} rows; at most {limits.MAX_TABLE_ROWS:,} are taken: keep some."
    )
