"""Keeps what was measured of each model, so that a ranking that was interrupted goes on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resque.errors import ResqueError
from resque.files import write_whole

LIMIT = 64_000_000  # bytes; the entries that were not used for longest go first


@dataclass(frozen=True)
class Contents:
    """What the cache holds.

    Attributes:
        folder: where it lies.
        entries: how many models' results.
        bytes: their size on disk.
    """

    folder: Path
    entries: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "folder": str(self.folder),
            "entries": self.entries,
            "bytes": self.bytes,
            "limit_bytes": LIMIT,
        }


def cache_folder() -> Path:
    """Return the folder of the cache, beside the Hub's; it may not be there yet."""
    from huggingface_hub.constants import HF_ASSETS_CACHE

    return Path(HF_ASSETS_CACHE) / "resque" / "rank"


def key_of(settings: dict[str, Any]) -> str:
    """Return the name of an entry: a digest of all that its content depends on."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_entry(key: str) -> dict[str, Any] | None:
    """Return an entry, or None where there is none that can be read."""
    path = cache_folder() / f"{key}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return found if isinstance(found, dict) else None


def write_entry(key: str, content: dict[str, Any], limit: int = LIMIT) -> None:
    """Keep an entry, and drop the oldest ones that are over the limit in bytes.

    A folder that cannot be written to costs the cache only, not the result.
    """
    text = json.dumps(content, allow_nan=True)
    with contextlib.suppress(ResqueError):
        path = cache_folder() / f"{key}.json"
        write_whole(path, lambda file: file.write_text(text, encoding="utf-8"))
        _prune(limit)


def _prune(limit: int) -> None:
    total = 0
    for _, size, path in sorted(_entries(), reverse=True):
        total += size
        if total > limit:
            path.unlink(missing_ok=True)


def _entries() -> list[tuple[float, int, Path]]:
    """Return (last use, bytes, file) of each entry."""
    found = []
    for path in cache_folder().glob("*.json"):
        with contextlib.suppress(OSError):  # another process may have dropped it
            about = path.stat()
            found.append((about.st_mtime, about.st_size, path))
    return found


def contents() -> Contents:
    """Say what the cache holds."""
    entries = _entries()
    return Contents(cache_folder(), len(entries), sum(size for _, size, _ in entries))


def clear() -> Contents:
    """Drop all entries, and say what there was."""
    before = contents()
    for _, _, path in _entries():
        path.unlink(missing_ok=True)
    return before
