"""What of a ledger may be published: every text of an entry has a rule here, or is replaced.

Numbers say what was measured and are kept, but for prices and the exact size of the memory. Texts
are kept where they are words of this package or its libraries, or names that everybody can look up
on the Hub; commands, notes and the names of studies are emptied, times cut to the day. Any other
text becomes a pseudonym, which is the same for the same text on this machine, so that data sets
stay apart, and tells nobody else anything.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from resque.data import DataSpec, parse_spec
from resque.errors import ResqueError
from resque.ledger import DONE, Cell, Entry
from resque.records import CostRecord

log = logging.getLogger(__name__)

IsPublic = Callable[[str, str], bool]  # kind ("model" or "dataset") and id

COMMIT = re.compile(r"[0-9a-f]{40}")
REPO = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
SPLIT = re.compile(r"[A-Za-z]\w{0,40}(\[[0-9:%]{0,30}\])?")
HEX = re.compile(r"[0-9a-f]{8,64}")
WORD = re.compile(r"[A-Za-z0-9][\w.+-]{0,60}")
MODULE = re.compile(r"[\w.]{1,120}")
PAIR = re.compile(r"[a-z_]{1,40}:[a-z0-9.=+-]{1,30}")
NUMBERS = re.compile(r"[0-9.:e+-]{1,40}")
PROSE = re.compile(r"[\w .,;:×()+'’%-]{0,200}")  # no path, no address
GIB = 1 << 30

# By the field's place. Of lists and objects of any keys, the place of all items is "*".
KEPT = {
    "key": HEX, "status": WORD, "modality": WORD,
    "cell.corruption": PAIR, "cell.strategy": WORD, "cell.target": PAIR,
    "cell.options.optimizer": WORD, "cell.options.schedule": WORD,
    "cell.options.precision": WORD, "cell.options.strategy": WORD,
    "cell.measurement.layers": re.compile("all|auto"),
    "cell.eval_split": SPLIT,
    "indices.*.layer": MODULE, "indices.*.labels": WORD,
    "record.measure": WORD, "record.rule": WORD, "record.patience.*": NUMBERS,
    "record.model.revision": COMMIT, "record.model.weights": HEX,
    "record.data.revision": COMMIT, "record.data.fingerprint": HEX,
    "record.data.eval_fingerprint": HEX, "record.data.corruption": PAIR,
    "record.training.strategy": WORD, "record.training.optimizer": WORD,
    "record.training.schedule": WORD, "record.training.precision": WORD,
    "record.target.kind": WORD, "record.flops_method": PROSE,
    "record.energy_method.cpu": PROSE, "record.energy_method.gpu": PROSE,
    "record.energy_method.ram": PROSE,
    "record.country": re.compile("[A-Z]{3}"), "record.grid_source": PROSE,
    "record.host.processor": PROSE, "record.host.accelerators.*": PROSE,
    "record.host.system": PROSE, "record.host.versions.*": WORD,
}  # fmt: skip
EMPTIED: dict[str, Any] = {
    "study": "", "error": None, "record.command": "", "record.notes": [],
    "record.run_id": "", "record.price": None, "record.price_per_hour": None,
}  # fmt: skip
DAYS = ("ended", "record.started", "record.ended")
MODELS = ("cell.model", "record.model.name")
DATA = ("cell.original", "cell.dataset", "record.data.dataset", "record.data.eval_dataset")
FAMILY, CLASSES = "cell.family", "cell.classes"
MEMORY = "record.host.memory_bytes"


def publish_entry(entry: Entry, key: bytes, is_public: IsPublic) -> Entry:
    """Return what of an entry may be published.

    Args:
        entry: of a cell that is done.
        key: of this machine's pseudonyms.
        is_public: whether everybody can see a repository.

    Raises:
        ResqueError: where the entry has no costs.
    """
    if entry.status != DONE or entry.record is None:
        raise ResqueError(f"entry {entry.key} has no costs: there is nothing of it to publish")
    found = _Rules(entry.cell, entry.record, key, is_public).apply(entry.to_dict(), "")
    run = _pseudonym(key, f"run {entry.record.run_id}", 20)
    found["record"]["run_id"] = run
    public = Entry.from_dict(found)
    # Another's run of the same cell is another run; the same run, pushed twice, is the same.
    both = hashlib.sha256(f"{public.cell.key} {run}".encode()).hexdigest()[:20]
    return replace(public, key=both)


def load_key() -> bytes:
    """Return the key of this machine's pseudonyms, made at first in Hugging Face's home.

    It never leaves the machine. Where it cannot be kept, one for this process is taken.
    """
    from huggingface_hub import constants

    path = Path(constants.HF_HOME) / "resque" / "pseudonyms.key"
    new = secrets.token_bytes(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(new)
    except FileExistsError:
        return path.read_bytes()
    except OSError as error:
        log.warning("%s cannot be kept (%s): what is pushed again will count as new", path, error)
    return new


def _pseudonym(key: bytes, text: str, digits: int = 12) -> str:
    return hmac.new(key, text.encode(errors="backslashreplace"), "sha256").hexdigest()[:digits]


class _Rules:
    """The rules, and what of one entry they depend on."""

    def __init__(self, cell: Cell, record: CostRecord, key: bytes, is_public: IsPublic) -> None:
        self._key, self._corruption = key, cell.corruption or ""
        model, data = record.model, record.data
        self._models = _on_hub("model", model.name, model.revision, is_public)
        self._data = _on_hub("dataset", data.dataset, data.revision, is_public)

    def apply(self, value: Any, place: str) -> Any:
        """Return what of a value may be published."""
        if place in EMPTIED:
            return EMPTIED[place]
        if place == CLASSES and value is not None:
            of = self._of_data
            return {of(new): [of(old) for old in olds] for new, olds in value.items()}
        if isinstance(value, dict):
            free = place in ("predictors", "record.host.versions")
            return {
                k: self.apply(v, _join(place, "*" if free else k))
                for k, v in value.items()
                if WORD.fullmatch(k)
            }
        if isinstance(value, list):
            return [self.apply(item, _join(place, "*")) for item in value]
        if isinstance(value, str):
            return self._text(value, place)
        return max(1, round(value / GIB)) * GIB if place == MEMORY else value

    def _text(self, text: str, place: str) -> str:
        if place in MODELS or place in DATA:
            return self._name(text, self._models if place in MODELS else self._data)
        if place in DAYS:
            return text[:10] if re.fullmatch(r"\d{4}-\d\d-\d\dT.*", text) else ""
        if place == FAMILY:
            known = text == self._corruption.partition(":")[0] or text == "class_prior"
            return text if known else self._of_data(text)
        keep = place in KEPT and KEPT[place].fullmatch(text) is not None
        return text if keep else self._hidden(text)

    def _of_data(self, text: str) -> str:
        """Return a word that a data set was described with, where that is on the Hub."""
        keep = self._data is not None and WORD.fullmatch(text) is not None
        return text if keep else self._hidden(text)

    def _name(self, name: str, on_hub: str | None) -> str:
        """Return the name of what is on the Hub, a pseudonym of what is not."""
        spec = parse_spec(name)
        if on_hub is None or spec.path != on_hub:
            return self._hidden(name)
        revision = spec.revision if spec.revision and COMMIT.fullmatch(spec.revision) else None
        config = spec.config if spec.config and WORD.fullmatch(spec.config) else None
        split = spec.split if spec.split and SPLIT.fullmatch(spec.split) else None
        return str(DataSpec(on_hub, revision, config, split))

    def _hidden(self, text: str) -> str:
        return f"local-{_pseudonym(self._key, text)}"


def _on_hub(kind: str, name: str, revision: str | None, is_public: IsPublic) -> str | None:
    """Return the id of a model or data set that everybody can look up, else None."""
    id = parse_spec(name).path
    known = revision is not None and COMMIT.fullmatch(revision) and REPO.fullmatch(id)
    return id if known and is_public(kind, id) else None


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name
