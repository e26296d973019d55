"""The ledger: one line for each cell of a study, with predictors known before and costs after."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from resque.documents import plain, read_document
from resque.errors import ResqueError
from resque.files import append_line, json_line, write_whole
from resque.records import CostRecord

SCHEMA_VERSION = 1
FILE_NAME = "ledger.jsonl"
DONE, FAILED = "done", "failed"


@dataclass(frozen=True)
class Cell:
    """Everything that determines a cell of a study.

    Attributes:
        model: id or folder.
        original: the data that the model knows, as a data specification.
        dataset: the data that it is retrained on, before any corruption.
        eval_split: its evaluation split, or None where it was chosen automatically.
        corruption: "NAME:LEVEL" on training and evaluation rows, or None.
        class_prior: strength of a shift of the class frequencies in the training rows, in [0, 1).
        family: kind of shift: the corruption's name, or the name of another domain or task.
        level: of the corruption, in its own unit; None for other shifts.
        strategy: "full", "head", "lora" or "scratch".
        target: "accuracy:A", or "recovery:R" of the accuracy on the original data.
        seed: of rows, corruption, order and head.
        options: of `retrain`, those that the study sets.
        measurement: of the pass before it, those that the study sets.
        classes: of a task made out of the data's own classes, see `relabel`; None for these.
    """

    model: str
    original: str
    dataset: str
    eval_split: str | None
    corruption: str | None
    class_prior: float
    family: str
    level: float | None
    strategy: str
    target: str
    seed: int
    options: dict[str, Any]
    measurement: dict[str, Any]
    classes: dict[str, tuple[str, ...]] | None = None

    @property
    def key(self) -> str:
        """Twenty hexadecimal digits that tell this cell from every other."""
        found = asdict(self)
        if self.classes is None:  # as it was before there were such cells
            del found["classes"]
        text = json.dumps(found, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def setting(self) -> str:
        """What cells that differ in their seed alone have in common: a key without the seed."""
        return replace(self, seed=0).key

    @property
    def is_shift(self) -> bool:
        """Whether its data differs from the original data at all."""
        changed = self.corruption or self.class_prior or self.classes
        return bool(changed) or self.dataset != self.original

    @property
    def shift(self) -> str:
        """What cells with other seeds, strategies and options have in common with this one."""
        what = self.corruption or (f"class_prior:{self.class_prior:g}" if self.class_prior else "")
        if self.classes:
            what += " as " + "; ".join(f"{k}: {', '.join(v)}" for k, v in self.classes.items())
        return f"{self.model} | {self.original} → {self.dataset} {what}".rstrip()


@dataclass(frozen=True)
class LayerIndex:
    """RESQUE_dist of one layer.

    Attributes:
        layer: its name.
        depth: its place among the measured layers, from 0 (first) to 1 (the classifier's input).
        labels: what made the classes: "data", "predicted", or "soft" (class probabilities).
        value: the index, in [0, 1].
        interval: 95 %; None for "soft".
        noise_floor: the value expected with no shift; None for "soft".
        debiased: the value with its sampling bias taken out; None for "soft".
    """

    layer: str
    depth: float
    labels: str
    value: float
    interval: tuple[float, float] | None
    noise_floor: float | None
    debiased: float | None


@dataclass(frozen=True)
class Entry:
    """One line of a ledger.

    Attributes:
        schema_version: of this form.
        key: of the cell.
        study: name of the study.
        cell: what was done.
        status: "done" or "failed".
        error: why it failed, or None.
        modality: "image", "text" or "audio"; None where it failed before that was known.
        indices: RESQUE_dist of each measured layer and kind of labels.
        predictors: what is known before retraining, by name (see `resque.predictors`).
        record: what the retraining cost, or None.
        seconds: of the measurement before it.
        ended: UTC, ISO 8601.
    """

    schema_version: int
    key: str
    study: str
    cell: Cell
    status: str
    error: str | None
    modality: str | None
    indices: tuple[LayerIndex, ...]
    predictors: dict[str, float]
    record: CostRecord | None
    seconds: float
    ended: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        found: dict[str, Any] = plain(asdict(self))
        return found

    @staticmethod
    def from_dict(found: Any) -> Entry:
        """Read what `to_dict` gave.

        Raises:
            ResqueError: where it is no entry of a ledger, or one of a newer form.
        """
        if not isinstance(found, dict) or "cell" not in found:
            raise ResqueError("it is no entry of a ledger")
        entry: Entry = read_document(Entry, found, SCHEMA_VERSION, "entry")
        return entry


@dataclass(frozen=True)
class Ledger:
    """What was read from ledgers.

    Attributes:
        entries: one of each key, in the order of their first lines: the first that is done, else
            the newest.
        skipped: a sentence for each line that is no entry.
    """

    entries: tuple[Entry, ...]
    skipped: tuple[str, ...] = ()

    @property
    def done(self) -> tuple[Entry, ...]:
        """The entries of cells that did not fail."""
        return tuple(entry for entry in self.entries if entry.status == DONE)


def append_entry(entry: Entry, path: Path) -> None:
    """Add an entry to a ledger, on the disk before it returns.

    Raises:
        ResqueError: where it cannot be written; the file is then as it was.
    """
    append_line(entry.to_dict(), path)


def add_entry(entry: Entry, path: Path) -> None:
    """Add an entry to a ledger that several processes may add to; see `append_entry`."""
    from filelock import FileLock

    with FileLock(str(path.with_name(".ledger.lock"))):
        append_entry(entry, path)


def ledger_file(path: str | Path) -> Path:
    """Return a ledger's file: a file as it is, of a folder its `ledger.jsonl`."""
    path = Path(path)
    return path / FILE_NAME if path.is_dir() else path


def write_ledger(entries: Iterable[Entry], path: Path) -> None:
    """Write a ledger of these entries, whole or not at all.

    Raises:
        ResqueError: where it cannot be written.
    """
    content = b"".join(json_line(entry.to_dict()) for entry in entries)
    write_whole(path, lambda file: file.write_bytes(content))


def read_ledger(paths: Iterable[str | Path]) -> Ledger:
    """Read ledgers, files or folders that hold one, as one.

    Lines that are no entries (cut off, foreign, of a newer form) are skipped and named.

    Raises:
        ResqueError: where a file cannot be read.
    """
    found: dict[str, Entry] = {}
    skipped: list[str] = []
    for file in map(ledger_file, paths):
        try:
            lines = file.read_bytes().split(b"\n")
        except OSError as error:
            raise ResqueError(f"cannot read the ledger {file}: {error.strerror}") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                entry = Entry.from_dict(json.loads(line))
            except (ValueError, RecursionError) as error:
                skipped.append(f"line {number} of {file}: {error}")
                continue
            old = found.get(entry.key)
            if old is None or old.status == FAILED:
                found[entry.key] = entry
    return Ledger(tuple(found.values()), tuple(skipped))
