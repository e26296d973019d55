"""Reads a visitor's table of texts: CSV, TSV or parquet, with or without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import limits
from resque.columns import INPUT_NAMES, LABEL_NAMES, Columns, find_columns
from resque.sampling import draw_rows
from upload_csv import read_csv
from upload_parquet import read_parquet
from upload_rows import Rows, check_classes, counted, listed, name_classes, shown
from upload_table import Table, feature_of

SUFFIXES = (".csv", ".tsv", ".parquet")


def read_table(raw: bytes, name: str) -> Rows:
    """Read texts, and their labels where there are any.

    Args:
        raw: the file.
        name: its name, whose suffix says what it is.

    Raises:
        ValueError: where it cannot be read, has no texts or too many classes.
    """
    table = read_parquet(raw, name) if name.lower().endswith(".parquet") else read_csv(raw, name)
    columns = _find(table, name)
    texts = [table.values(column) for column in columns.inputs]
    labels = table.values(columns.label) if columns.label else []
    labelled = any(label is not None for label in labels)
    filled = [i for i, row in enumerate(zip(*texts, strict=True)) if all(map(_is_text, row))]
    kept = [i for i in filled if not labelled or labels[i] is not None]
    _check_kept(kept, filled, table, name)
    chosen = [kept[i] for i in draw_rows(len(kept), limits.MAX_ROWS, seed=0)]
    found, cut = _texts(columns.inputs, texts, chosen)
    features = {column: feature_of("string") for column in found}
    classes: tuple[str, ...] = ()
    if labelled and columns.label:
        check_classes(len({labels[i] for i in kept}), f"The column {shown(columns.label)} has")
        given = table.features[columns.label]
        found["label"], features["label"], classes = _labels([labels[i] for i in chosen], given)
    left_out = (
        *_emptied(table.n_rows - len(filled), len(filled) - len(kept)),
        *_drawn(len(kept)),
        *cut,
        *_unread(table, columns, labelled),
    )
    return Rows("text", found, features, classes, left_out)


def _check_kept(kept: Sequence[int], filled: Sequence[int], table: Table, name: str) -> None:
    if not kept:
        what = "a text and a label" if filled else "a text"
        raise ValueError(
            f"{shown(name)} has {table.n_rows:,} rows, and none of them has {what}: fill its "
            "columns and upload it again."
        )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _find(table: Table, name: str) -> Columns:
    """Return the columns of the texts and of the labels."""
    if not table.n_rows:
        raise ValueError(f"{shown(name)} has no rows: upload a table with a text in each row.")
    try:
        return find_columns(table.features, "text", labels="optional")
    except (ValueError, TypeError):
        raise ValueError(
            f"{shown(name)} has the columns {listed(list(table.features))}, of which not one alone "
            f"holds texts; expected one called {INPUT_NAMES['text'][0]!r}, and one called "
            f"{LABEL_NAMES[0]!r} if there are labels: rename them and upload the table again."
        ) from None


def _texts(
    names: Sequence[str], texts: Sequence[Sequence[Any]], chosen: Sequence[int]
) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """Return the chosen texts by column, and a sentence where some had to be cut."""
    most, cut = limits.MAX_TEXT_CHARACTERS, 0
    found: dict[str, list[Any]] = {}
    for name, column in zip(names, texts, strict=True):
        cut += sum(len(column[i]) > most for i in chosen)
        found["text" if len(names) == 1 else name] = [column[i][:most] for i in chosen]
    if not cut:
        return found, ()
    return found, (f"{counted(cut, 'text was', 'texts were')} cut after {most:,} characters.",)


def _labels(labels: list[Any], feature: Any) -> tuple[list[int], Any, tuple[str, ...]]:
    """Return labels, their feature and the classes' names.

    Numbers stay the ids of a model's classes that they are.
    """
    import datasets

    if isinstance(labels[0], str):
        names, ids = name_classes(labels)
        feature = datasets.ClassLabel(names=list(names))
    elif type(feature).__name__ == "ClassLabel":
        names, ids = tuple(feature.names), labels
    else:
        classes = tuple(map(str, sorted(set(map(int, labels)))))
        return list(map(int, labels)), feature_of("int64"), classes
    return ids, feature, tuple(names[i] for i in sorted(set(ids)))


def _emptied(empty: int, unlabelled: int) -> tuple[str, ...]:
    found = []
    if empty:
        found.append(f"{counted(empty, 'row has', 'rows have')} no text.")
    if unlabelled:
        found.append(f"{counted(unlabelled, 'row has', 'rows have')} no label.")
    return tuple(found)


def _drawn(n: int) -> tuple[str, ...]:
    most = limits.MAX_ROWS
    if n <= most:
        return ()
    return (f"{most:,} of {n:,} texts were drawn at random; the others are not read.",)


def _unread(table: Table, columns: Columns, labelled: bool) -> tuple[str, ...]:
    read = {*columns.inputs, columns.label if labelled else None}
    names = [name for name in table.features if name not in read]
    if not names:
        return ()
    hint = "" if columns.label else f"; labels are {_wanted_labels(names)}"
    kind = "column is" if len(names) == 1 else "columns are"
    return (f"{len(names)} {kind} not read: {listed(names)}{hint}.",)


def _wanted_labels(names: Sequence[str]) -> str:
    if LABEL_NAMES[0] in names:
        return "texts or whole numbers"
    return f"read from a column called {LABEL_NAMES[0]!r}"
