"""Reads CSV and TSV files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

import limits
from upload_rows import counted, shown
from upload_table import MISSING, Table, check_columns, feature_of, too_long


def read_csv(raw: bytes, name: str) -> Table:
    """Read a CSV file, or a TSV file where its name says so.

    Args:
        raw: the file.
        name: its name.

    Raises:
        ValueError: where it is not UTF-8 or no table.
    """
    header, rows = _parse(_decode(raw, name), name)
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=False))
    kinds = {column: _kind(values) for column, values in columns.items()}
    features = {column: feature_of(kind) for column, kind in kinds.items()}

    def values(column: str) -> list[Any]:
        if kinds[column] != "int64":
            return [x or None for x in columns[column]]
        numbers = [int(x) if x.strip() else MISSING for x in columns[column]]
        return [None if x == MISSING else x for x in numbers]

    return Table(len(rows), features, values)


def _decode(raw: bytes, name: str) -> str:
    if b"\0" in raw:
        raise ValueError(
            f"{shown(name)} has a byte 0 at position {raw.index(0):,}, which no text has: save it "
            "as CSV in UTF-8."
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{shown(name)} is not UTF-8 (byte {raw[error.start]:#04x} at position "
            f"{error.start:,}): save it as CSV in UTF-8."
        ) from None


def _parse(text: str, name: str) -> tuple[list[str], list[list[str]]]:
    first = text.partition("\n")[0]
    mark = "\t" if name.lower().endswith(".tsv") else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        check_columns(header, name)
        rows = []
        for row in reader:
            if row:
                _check_row(row, len(header), reader.line_num, name)
                rows.append(row)
            if len(rows) > limits.MAX_TABLE_ROWS:
                raise too_long(f"more than {limits.MAX_TABLE_ROWS:,}", name)
    except csv.Error as error:
        raise ValueError(
            f"{shown(name)} is no CSV at line {reader.line_num:,} ({error}): quote texts that "
            "hold quotes, separators or line breaks, and close each quote."
        ) from None
    return header, rows


def _check_row(row: Sequence[str], expected: int, line: int, name: str) -> None:
    if len(row) != expected:
        raise ValueError(
            f"{shown(name)} has {counted(len(row), 'value', 'values')} at line {line:,}; expected "
            f"{expected:,}, as its first line has: quote texts that hold separators or line breaks."
        )


def _kind(values: Sequence[str]) -> str:
    """Return what a column of a CSV file holds: int64, float64 or string."""
    filled = [x for x in values if x.strip()]
    if filled and all(re.fullmatch(r"\s*-?\d{1,18}\s*", x, re.ASCII) for x in filled):
        return "int64"
    return "float64" if filled and all(map(_is_number, filled)) else "string"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
