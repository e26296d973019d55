"""Tables of hidden states with labels, read from pasted lines, .csv or .npz, within limits."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAX_UNPACKED_MB = 200  # float64 tables of 50,000 rows and 512 columns
MAX_TEXT = 1_000_000  # characters of a pasted table
MAX_CLASSES = 1_000
LINE = "cat, 1.0, 0.1"
SAVING = "np.savez('states.npz', hidden_states=array, labels=np.array(names))"


class Refused(ValueError):
    """Input that cannot be measured; the message is for the visitor."""


@dataclass(frozen=True)
class Table:
    """Hidden states (N, D) or (N, C, …) and N labels, as strings."""

    states: Any
    labels: list[str]


def example(shift: float) -> str:
    """Return 24 lines of three classes in three dimensions, moved by `shift`."""
    rng = np.random.default_rng(7)
    centres = {"cat": (1.0, 0.1, 0.2), "dog": (0.2, 1.0, 0.1), "fox": (0.3, 0.2, 1.0)}
    lines = []
    for name, centre in centres.items():
        for row in np.array(centre) + rng.normal(scale=0.15, size=(8, 3)) + shift:
            lines.append(", ".join([name, *(f"{x:.2f}" for x in row)]))
    return "\n".join(lines)


def read_lines(text: str, where: str) -> Table:
    """Return the table of lines `label, number, number, …`.

    Args:
        text: the lines.
        where: what they are, for the messages.

    Raises:
        Refused: for a line that does not fit, with its number.
    """
    states: list[list[float]] = []
    labels: list[str] = []
    lines = csv.reader(io.StringIO(text), skipinitialspace=True)
    try:
        for line in filter(None, lines):
            here = f"{where}, line {lines.line_num}"
            labels.append(line[0].strip())
            states.append(_numbers(line, here))
            if len(states[-1]) != len(states[0]):
                raise Refused(
                    f"{here}: {len(states[-1])} numbers, but the first line has "
                    f"{len(states[0])}; give every sample equally many"
                )
    except csv.Error as error:
        raise Refused(f"{where}, line {lines.line_num}: {error}") from None
    if not states:
        raise Refused(f"{where}: nothing there; paste lines like {LINE}, or upload a file")
    return Table(np.array(states), labels)


def _numbers(line: list[str], here: str) -> list[float]:
    numbers = []
    for x in line[1:]:
        try:
            numbers.append(float(x))
        except ValueError:
            raise Refused(
                f"{here}: {quoted(x)} is not a number; expected a label and numbers, like {LINE}"
            ) from None
    if not numbers:
        raise Refused(f"{here}: no numbers after {quoted(line[0])}; expected a line like {LINE}")
    return numbers


def quoted(text: str) -> str:
    """Return what a visitor wrote, in quotes and cut short, for a message."""
    return repr(text if len(text) <= 40 else text[:40] + "…")


def read_file(path: str, where: str) -> Table:
    """Return the table of a .npz or .csv file; pickled objects are never loaded.

    Raises:
        Refused: for a file that is not what its name says, or too large once unpacked.
    """
    if not path.endswith(".npz"):
        try:
            return read_lines(Path(path).read_text(encoding="utf-8-sig"), where)
        except UnicodeDecodeError:
            raise Refused(f"{where}: not a text in UTF-8; save the table as CSV UTF-8") from None
    try:
        return _read_npz(path, where)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, MemoryError):
        raise Refused(f"{where}: not a readable .npz; write it with {SAVING}") from None


def _read_npz(path: str, where: str) -> Table:
    with zipfile.ZipFile(path) as members:
        size = sum(member.file_size for member in members.infolist())
        if size > MAX_UNPACKED_MB * 2**20:
            raise Refused(f"{where}: {size / 2**20:,.0f} MB unpacked; up to {MAX_UNPACKED_MB} MB")
    with np.load(path, allow_pickle=False) as arrays:
        missing = sorted({"hidden_states", "labels"} - set(arrays.files))
        if missing:
            raise Refused(f"{where}: no array {' and none '.join(missing)}; write it with {SAVING}")
        try:
            states, labels = arrays["hidden_states"], arrays["labels"]
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise EOFError from error
            raise Refused(
                f"{where}: it holds pickled objects, which could run code and are not loaded; "
                f"write numbers and texts: {SAVING}"
            ) from None
    if not isinstance(states, np.ndarray) or not isinstance(labels, np.ndarray):
        raise EOFError  # a member that is no array
    if states.ndim < 2 or labels.ndim != 1 or len(states) != len(labels):
        raise Refused(
            f"{where}: hidden_states has shape {states.shape} and labels {labels.shape}; "
            "expected (N, D) or (N, C, …), and (N,)"
        )
    if states.dtype.kind not in "fiu" or not states.size:
        raise Refused(f"{where}: hidden_states holds no numbers ({states.dtype}, {states.shape})")
    return Table(states, _names(labels, where))


def _names(labels: Any, where: str) -> list[str]:
    """Return labels as strings, so that those of a table and of an .npz agree."""
    if labels.dtype.kind in "bf" and np.isfinite(labels).all() and (labels % 1 == 0).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iuU":
        raise Refused(f"{where}: labels holds {labels.dtype} values; expected ints or texts")
    return [str(x) for x in labels.tolist()]


def read(text: str, file: str | None, side: str) -> Table:
    """Return one side's table: of its file, else of the pasted lines.

    Raises:
        Refused: where there is none, or one that cannot be measured.
    """
    if file:
        table = read_file(file, f"{side}, file {Path(file).name}")
    elif len(text) > MAX_TEXT:
        raise Refused(f"{side}: {len(text):,} characters; up to {MAX_TEXT:,}, or upload a file")
    else:
        table = read_lines(text, side)
    finite = np.isfinite(table.states).reshape(len(table.labels), -1).all(axis=1)
    if not finite.all():
        raise Refused(
            f"{side}: {(~finite).sum()} of {len(finite)} samples have NaN or infinite values "
            f"(first: sample {np.argmin(finite) + 1}); remove them"
        )
    if (classes := len(set(table.labels))) > MAX_CLASSES:
        raise Refused(f"{side}: {classes:,} classes; this page takes up to {MAX_CLASSES:,}")
    return table
