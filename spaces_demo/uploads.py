"""Reads a visitor's files into a data set that resque reads, or says what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import limits
from upload_images import read_images
from upload_rows import Rows, write_rows
from upload_tables import SUFFIXES, read_table
from upload_zip import Entry, check_number, wanted, zip_entries


@dataclass(frozen=True)
class Upload:
    """A visitor's data.

    Attributes:
        path: the folder of its only file, test.parquet; a data set for `resque.estimate`.
        modality: "image" or "text".
        rows: how many were kept.
        classes: names of their classes; empty without labels.
        left_out: what was left out and why, a sentence each.
    """

    path: str
    modality: str
    rows: int
    classes: tuple[str, ...]
    left_out: tuple[str, ...]


def read_upload(files: Sequence[tuple[str, Path]], folder: Path) -> Upload:
    """Read a visitor's files and write `test.parquet`; nothing else, and that whole or not at all.

    Nothing is unpacked to the disk, and no byte of an image is kept as it came. Call it in a worker
    process with limits of time and of memory (RLIMIT_DATA): the most that is taken needs half a
    minute of a core, and a parquet file may unpack to more than it says of itself.

    Args:
        files: of each the name that the browser gives, possibly with folders (`cats/1.png`), and
            where it lies: one zip of images, images, or one table (CSV, TSV or parquet) of texts.
            An image's folder is its class.
        folder: where `test.parquet` goes; made where it is not there.

    Raises:
        ValueError: where the files cannot be taken; the text says why, to the visitor.
    """
    _check_size(files)
    rows = _read(files)
    write_rows(rows, folder / "test.parquet")
    return Upload(str(folder), rows.modality, len(rows), rows.classes, rows.left_out)


def _check_size(files: Sequence[tuple[str, Path]]) -> None:
    if not files:
        raise ValueError("There is no file: choose a zip or folder of images, or a table of texts.")
    check_number(len(files))
    size = sum(path.stat().st_size for _, path in files)
    if size > limits.MAX_UPLOAD_BYTES:
        raise ValueError(
            f"The upload has {size / 1e6:,.1f} MB; at most {limits.MAX_UPLOAD_BYTES / 1e6:g} MB "
            "are taken: upload fewer or smaller files."
        )


def _read(files: Sequence[tuple[str, Path]]) -> Rows:
    name, path = files[0]
    if len(files) == 1 and name.lower().endswith(".zip"):
        return read_images(wanted(zip_entries(path.read_bytes(), name)))
    if len(files) == 1 and name.lower().endswith(SUFFIXES):
        return read_table(path.read_bytes(), name)
    return read_images(wanted([Entry(name, path.read_bytes) for name, path in files]))
