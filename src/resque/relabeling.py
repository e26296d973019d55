"""A new task out of known data: classes renamed, merged, or left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from resque.errors import ResqueError
from resque.rows import is_missing
from resque.sums import Ints

Classes = Mapping[str, Sequence[str]]


def relabel(rows: Any, column: str, classes: Classes) -> tuple[Any, Ints]:
    """Give rows the classes of another task.

    Args:
        rows: a `datasets.Dataset`.
        column: of the labels: class ids with names, integers or strings.
        classes: for each new class, the names of the old ones that make it; rows of a class that
            is not named, and rows without a label, are left out.

    Returns:
        A `datasets.Dataset` whose labels are ids of the new classes, with their names, and (n,)
        the positions of its rows among the given ones.

    Raises:
        ResqueError: where an old class is not in the data, or stands in two new ones.

    >>> import datasets
    >>> digits = datasets.Dataset.from_dict({"x": list("abcd"), "y": [0, 1, 2, 3]})
    >>> rows, kept = relabel(digits, "y", {"even": ["0", "2"], "odd": ["1"]})
    >>> rows["y"][:], rows.features["y"].names, kept.tolist()
    ([0, 1, 0], ['even', 'odd'], [0, 1, 2])
    """
    import datasets

    names = _names(rows, column)
    new = new_ids(classes, {name for name in names if name is not None}, column)
    ids = np.array([-1 if name is None else new.get(name, -1) for name in names], np.int64)
    kept = np.flatnonzero(ids >= 0)
    feature = datasets.ClassLabel(names=list(classes))
    at = rows.column_names.index(column)
    found = rows.select(kept).remove_columns(column)
    found = found.add_column(column, ids[kept].tolist(), feature=feature)
    order = found.column_names[:-1]
    return found.select_columns([*order[:at], column, *order[at:]]), kept


def _names(rows: Any, column: str) -> list[str | None]:
    """Return the name of each row's class; None where it has no label (missing, or −1)."""
    values, feature = rows.select_columns([column])[:][column], rows.features[column]
    name_of = getattr(feature, "int2str", str)
    return [None if is_missing(x) else name_of(x) for x in values]


def new_ids(classes: Classes, known: Collection[str], column: str) -> dict[str, int]:
    """Return the new id of each old class.

    Args:
        classes: as for `relabel`.
        known: names of the old classes.
        column: of the labels.

    Raises:
        ResqueError: where an old class is not known, or stands in two new ones.
    """
    found: dict[str, int] = {}
    for i, (name, old) in enumerate(classes.items()):
        for label in old:
            if label not in known:
                some = ", ".join(sorted(known)[:12])
                raise ResqueError(f"the class {name!r} is made of {label!r}, which column "
                                  f"{column!r} does not have; it has {some}")  # fmt: skip
            if label in found:
                raise ResqueError(f"{label!r} stands in two of the classes {', '.join(classes)}")
            found[label] = i
    return found
