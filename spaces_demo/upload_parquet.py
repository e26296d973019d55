"""Reads parquet files: their metadata first, then single columns."""

from __future__ import annotations

import io
import json
from typing import Any

import limits
from upload_rows import check_classes, shown, shown_classes
from upload_table import MISSING, Table, check_columns, feature_of, too_long


def read_parquet(raw: bytes, name: str) -> Table:
    """Open a parquet file; columns of other things than texts and numbers are never read.

    Args:
        raw: the file.
        name: its name.

    Raises:
        ValueError: where it cannot be read, or would be too much.
    """
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(io.BytesIO(raw))
        kinds = {field.name: _arrow_kind(field.type) for field in schema}
        texts = [column for column, kind in kinds.items() if kind == "string"]
        file = parquet.ParquetFile(io.BytesIO(raw), read_dictionary=texts)
        features = {column: feature_of(kind) for column, kind in kinds.items()}
    except Exception:  # on hostile bytes it raises nearly anything
        raise _no_parquet(name) from None
    check_columns(schema.names, name)
    _check_metadata(file, name)
    features |= _named(schema.metadata, kinds)

    def values(column: str) -> list[Any]:
        try:
            found = _plain(file.read([column]).column(0))
        except Exception:
            raise _no_parquet(name) from None
        if len(found) != file.metadata.num_rows:
            raise _no_parquet(name)
        return [_label(x, features[column]) for x in found]

    return Table(file.metadata.num_rows, features, values)


def _no_parquet(name: str) -> ValueError:
    return ValueError(
        f"{shown(name)} is no parquet file that can be read: write it again and upload that."
    )


def _check_metadata(file: Any, name: str) -> None:
    """Raise ValueError for what would be too much to read, before it is read."""
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    rows = max(file.metadata.num_rows, sum(group.num_rows for group in groups))
    if rows > limits.MAX_TABLE_ROWS:
        raise too_long(f"{rows:,}", name)
    size = sum(group.total_byte_size for group in groups)
    if size > limits.MAX_UNPACKED_BYTES:
        raise ValueError(
            f"{shown(name)} unpacks to {size / 1e6:,.0f} MB; at most "
            f"{limits.MAX_UNPACKED_BYTES / 1e6:,.0f} MB are taken: keep fewer rows or columns."
        )


def _arrow_kind(kind: Any) -> str:
    """Return the feature of an Arrow type; "binary" of what is neither text nor number."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    if str(kind) in ("string", "large_string", "string_view"):
        return "string"
    if types.is_integer(kind) and not types.is_uint64(kind):
        return "int64"
    if types.is_floating(kind):
        return "float64"
    return "bool" if types.is_boolean(kind) else "binary"


def _named(metadata: dict[bytes, bytes] | None, kinds: dict[str, str]) -> dict[str, Any]:
    """Return the columns whose numbers datasets has names for."""
    import datasets

    try:
        given = json.loads((metadata or {})[b"huggingface"])["info"]["features"]
        names = {
            column: [str(x) for x in about["names"]]
            for column, about in given.items()
            if kinds.get(column) == "int64" and about.get("_type") == "ClassLabel"
        }
    except Exception:  # no such metadata, or not as datasets writes it
        return {}
    for column, known in names.items():
        check_classes(len(known), f"The column {shown(column)} names")
    return {c: datasets.ClassLabel(names=list(shown_classes(x))) for c, x in names.items() if x}


def _plain(column: Any) -> list[Any]:
    """Return a column's values; equal texts are one object, so that they take no more memory."""
    from pyarrow import types

    if not types.is_dictionary(column.type):
        return list(column.to_pylist())
    found: list[Any] = []
    for chunk in column.chunks:
        known = chunk.dictionary.to_pylist()
        found += [None if i is None else known[i] for i in chunk.indices.to_pylist()]
    return found


def _label(value: Any, feature: Any) -> Any:
    """Return a value, or None for a number that stands for no class."""
    if isinstance(value, str | None):
        return value or None
    names = getattr(feature, "names", None)
    if value == MISSING or (names and not 0 <= value < len(names)):
        return None
    return value
