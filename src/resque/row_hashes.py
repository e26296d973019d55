"""Digests of rows: whether two data sets have rows in common, and whether one has changed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resque.data import Data
from resque.sums import Ints

log = logging.getLogger(__name__)
HASHED_ROWS = 200_000  # above that, rows are not read through once more to compare them


def hash_rows(data: Data, rows: Ints) -> list[bytes]:
    """Return a digest of each row's inputs; none where there are too many to read once more."""
    if len(rows) > HASHED_ROWS:
        return []
    wanted, found = set(rows.tolist()), []
    position = 0
    for block in data.rows.iter(batch_size=1000):
        columns = [block[name] for name in data.columns.inputs]
        for values in zip(*columns, strict=True):
            if position in wanted:
                found.append(_hash(values))
            position += 1
    return found


def _hash(values: Sequence[Any]) -> bytes:
    digest = hashlib.blake2b(digest_size=12)
    for value in values:
        if isinstance(value, dict):  # an encoded image or sound
            raw = value.get("bytes")
            size = None if raw else Path(value["path"]).stat().st_size
            digest.update(raw or f"{value['path']} {size}".encode())
        elif isinstance(value, str):
            digest.update(value.encode("utf-8", "surrogatepass"))
        else:
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.digest()


def digest_rows(data: Data, rows: Ints, hashes: Sequence[bytes]) -> str:
    """Return a digest of a data set's rows in their order, and of which they are."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(np.ascontiguousarray(rows).tobytes())
    digest.update(b"".join(hashes) or str(getattr(data.rows, "_fingerprint", "")).encode())
    return digest.hexdigest()


def warn_of_overlap(train: Sequence[bytes], evaluation: Sequence[bytes]) -> None:
    """Warn where evaluation rows have the content of training rows."""
    known = set(train)
    common = sum(x in known for x in evaluation)
    if common:
        log.warning(
            "%d of %d evaluation rows have the same content as a training row: accuracy is "
            "flattered. Choose another split with --eval-split",
            common,
            len(evaluation),
        )
