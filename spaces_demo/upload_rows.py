"""The rows of an upload, as they are kept: one parquet file that names its features."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import limits
from resque.errors import ResqueError
from resque.files import write_whole
from resque.public_text import clean

SHOWN = 80  # characters of a file's or column's name in a sentence
NAMED = 3  # names in a sentence
ROWS_AT_ONCE = 100  # of a row group


@dataclass(frozen=True)
class Rows:
    """What was read of an upload.

    Attributes:
        modality: "image" or "text".
        columns: values by column, all of one length.
        features: features of datasets by column.
        classes: names of the classes that rows have; empty without labels.
        left_out: what was left out and why, a sentence each.
    """

    modality: str
    columns: dict[str, list[Any]]
    features: dict[str, Any]
    classes: tuple[str, ...]
    left_out: tuple[str, ...]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


def write_rows(rows: Rows, target: Path) -> None:
    """Write a parquet file, whole or not at all.

    Raises:
        ValueError: where it cannot be written.
    """
    import datasets
    import pyarrow as pa
    from pyarrow import parquet

    schema = datasets.Features(rows.features).arrow_schema
    table = pa.table(rows.columns, schema=schema)
    try:
        write_whole(target, lambda path: parquet.write_table(table, path, ROWS_AT_ONCE))
    except ResqueError:
        # The reason would name a folder of the server.
        raise ValueError("The files cannot be stored at the moment: try again later.") from None


def name_classes(labels: Sequence[str]) -> tuple[tuple[str, ...], list[int]]:
    """Return names of classes, fit to be shown, and the id of each of n labels.

    Labels that differ only in what cannot be seen are one class. Where all are whole numbers, the
    ids are these numbers, as some number may be missing here that a model knows.

    >>> name_classes(["dog", "cat", "dog "])
    (('cat', 'dog'), [1, 0, 1])
    >>> name_classes(["3", "1"])
    (('0', '1', '2', '3'), [3, 1])
    """
    keys = {label: _visible(label) for label in set(labels)}
    known = sorted(set(keys.values()))
    if all(re.fullmatch(r"0|[1-9]\d{0,3}", key) for key in known):
        last = max(map(int, known))
        if last < limits.MAX_CLASSES:
            known = [str(i) for i in range(last + 1)]
    ids = {key: i for i, key in enumerate(known)}
    return shown_classes(known), [ids[keys[label]] for label in labels]


def _visible(label: str) -> str:
    # A class's folder is named in decomposed letters by macOS, and in composed ones by a model.
    return clean(unicodedata.normalize("NFC", label), 100 * limits.MAX_CLASS_CHARACTERS)


def shown_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return names without control characters, of a length to be shown, no two of them equal."""
    found: dict[str, None] = {}
    for name in names:
        short = base = clean(name, limits.MAX_CLASS_CHARACTERS) or "(no name)"
        number = 2
        while short in found:
            short, number = f"{base} ({number})", number + 1
        found[short] = None
    return tuple(found)


def check_classes(number: int, where: str) -> None:
    """Raise ValueError where there are more classes than may be."""
    if number > limits.MAX_CLASSES:
        raise ValueError(
            f"{where} {number:,} classes; at most {limits.MAX_CLASSES} are taken: upload fewer "
            "classes, or check that these are the labels."
        )


def shown(name: str) -> str:
    """Return a name from an upload as it may stand in a sentence."""
    return repr(clean(name, SHOWN))


def listed(names: Sequence[str]) -> str:
    """Return the first names of several, and how many more there are."""
    more = len(names) - NAMED
    first = ", ".join(map(shown, names[:NAMED]))
    return f"{first} and {more:,} more" if more > 0 else first


def counted(number: int, one: str, several: str) -> str:
    """Return a number with its noun and verb.

    >>> counted(2, "file is", "files are")
    '2 files are'
    """
    return f"{number:,} {one if number == 1 else several}"
