"""Dataclasses as JSON documents, and back: what is unknown, missing or of another type is named."""

from __future__ import annotations

import math
import types
import typing
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from resque.errors import ResqueError

MOST = 2**1023  # whole numbers beyond are no floats, and count nothing


def plain(value: Any) -> Any:
    """Return JSON types alone: tuples as lists, numbers that are not finite as None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_document(kind: Any, found: Any, newest: int, where: str) -> Any:
    """Read plain JSON types that have a schema_version as a dataclass.

    Args:
        kind: the dataclass.
        found: what was found.
        newest: schema_version that is known.
        where: what it is, for the error's text.

    Raises:
        ResqueError: where it is nothing of that kind, or of a newer form.
    """
    version = found.get("schema_version") if isinstance(found, dict) else None
    if not isinstance(version, int):
        raise ResqueError(f"it has no schema_version: it is no {where}")
    if version > newest:
        raise ResqueError(f"it has schema_version {version}, newer than {newest}: update resque")
    return read_as(kind, found, where)


def read_as(kind: Any, value: Any, where: str) -> Any:
    """Read plain JSON types as a dataclass, or as a field of one.

    Args:
        kind: the type that is expected.
        value: what was found.
        where: its place, for the error's text.

    Raises:
        ResqueError: where the value is of another type, or keys are missing or unknown.
    """
    if kind is Any:
        return value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        kind = next(a for a in arguments if a is not type(None))
        return read_as(kind, value, where)
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if origin is tuple:
        _expect(isinstance(value, list | tuple), value, "a list", where)
        if arguments[-1] is not ...:
            _expect(len(value) == len(arguments), value, f"{len(arguments)} values", where)
        return tuple(read_as(arguments[0], x, f"{where}[{i}]") for i, x in enumerate(value))
    if origin is dict:
        _expect(isinstance(value, dict), value, "an object", where)
        return {key: read_as(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, int) and abs(value) > MOST:
        raise ResqueError(f"{where} is a number of {value.bit_length():,} bits")
    if kind is float:
        _expect(isinstance(value, int | float) and not isinstance(value, bool), value, "", where)
        return float(value)
    _expect(isinstance(value, kind) and isinstance(value, bool) == (kind is bool), value, "", where)
    return value


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), value, "an object", where)
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    missing = sorted({f.name for f in fields(kind) if f.default is MISSING} - set(value))
    for names, what in ((unknown, "unknown"), (missing, "no")):
        if names:
            raise ResqueError(f"{where} has {what} {', '.join(names)}")
    return kind(**{k: read_as(hints[k], v, f"{where}.{k}") for k, v in value.items()})


def _expect(fits: bool, value: Any, what: str, where: str) -> None:
    if not fits:
        raise ResqueError(f"{where} is {value!r}{f'; expected {what}' if what else ''}")
