"""Which models to rank: named, listed in a file, or found on the Hub; fetched one ahead."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resque.errors import ResqueError, UsageError, explain, near

SEARCH_KEYS = ("task", "library", "author", "search", "sort", "limit")
MOST_FOUND = 200
# What loading takes; other formats of the same weights lie beside it or in folders below.
FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def listed_models(given: Any) -> list[Any]:
    """Return the models of a list, each `.txt` file in it replaced by its lines, each once.

    Empty lines, and what follows a `#` at a line's start or after a space, do not count.

    Raises:
        UsageError: where there is none, or a file cannot be read.
    """
    items = [given] if isinstance(given, str | Path) or not isinstance(given, Sequence) else given
    found: dict[Any, None] = {}
    for item in items:
        path = Path(item) if isinstance(item, str | Path) else None
        if path is not None and path.suffix == ".txt":
            found |= dict.fromkeys(_lines(path))
        else:
            found[str(item) if path is not None else item] = None
    if not found:
        raise UsageError("there is no model to rank: give ids, folders, a file of these, or search")
    return list(found)


def _lines(path: Path) -> list[str]:
    try:
        lines = path.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the list of models {path}: {error}") from error
    return [text for line in lines if (text := (" " + line).split(" #")[0].strip())]


def parse_search(text: str) -> dict[str, Any]:
    """Read a search such as `task=image-classification, sort=downloads, limit=20`.

    Raises:
        UsageError: where a key is unknown or a value is not as expected.

    >>> parse_search("task=text-classification, limit=3")
    {'task': 'text-classification', 'limit': 3}
    """
    found: dict[str, Any] = {}
    for part in filter(None, (x.strip() for x in text.split(","))):
        key, mark, value = (x.strip() for x in part.partition("="))
        if key not in SEARCH_KEYS or not mark or not value:
            known = ", ".join(near(key, SEARCH_KEYS) or SEARCH_KEYS)
            raise UsageError(f"search has {part!r}; expected KEY=VALUE with KEY one of {known}")
        found[key] = value
    limit = str(found.get("limit", 20))
    if not limit.isdigit() or not 1 <= int(limit) <= MOST_FOUND:
        raise UsageError(f"search has limit={limit}; expected 1 to {MOST_FOUND}")
    return found | {"limit": int(limit)}


def search_models(text: str, token: str | None = None) -> list[str]:
    """Return the ids of the models that a search on the Hub finds, in its order.

    Args:
        text: as for `parse_search`; 20 models where it names no limit.
        token: for the Hub.

    Raises:
        UsageError: where the search is not understood.
        ResqueError: where the Hub does not answer, or finds none.
    """
    from huggingface_hub import HfApi

    asked = parse_search(text)
    try:
        models = HfApi(token=token).list_models(
            pipeline_tag=asked.get("task"),
            filter=[asked["library"]] if "library" in asked else None,
            author=asked.get("author"),
            search=asked.get("search"),
            sort=asked.get("sort", "downloads"),
            limit=asked["limit"],
        )
        found = [model.id for model in models]
    except Exception as error:
        raise explain(error, "search", text) from error
    if not found:
        raise ResqueError(f"the Hub has no model for the search {text!r}")
    return found


class Ahead:
    """Fetches the next model's files into the Hub's cache while the present one runs.

    Errors are left to loading, which tells them.
    """

    def __init__(self, token: str | None = None) -> None:
        self._token = token
        self._threads: dict[str, threading.Thread] = {}

    def fetch(self, model: Any) -> None:
        """Begin to fetch a model of the Hub; anything else is here already."""
        if not isinstance(model, str) or Path(model).expanduser().exists():
            return
        thread = threading.Thread(target=self._fetch, args=(model,), daemon=True)
        self._threads[model] = thread
        thread.start()

    def wait(self, model: Any) -> None:
        """Wait until a model that was asked for is here."""
        thread = self._threads.pop(model, None) if isinstance(model, str) else None
        if thread is not None:
            thread.join()

    def _fetch(self, model: str) -> None:
        from huggingface_hub import snapshot_download

        name, _, revision = model.partition("@")
        with contextlib.suppress(Exception):
            snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=FETCHED,
                ignore_patterns=["*/*"],
                token=self._token,
            )
