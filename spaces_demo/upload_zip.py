"""Reads the entries of a zip file in memory; what no honest zip has is refused, all of it."""

from __future__ import annotations

import io
import re
import stat
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import limits
from upload_rows import shown

CENTRAL_HEADER = b"PK\x01\x02"  # of an entry, in the list at a zip's end
LOCAL_HEADER_BYTES = 30
ENCRYPTED = 0x1
# Only what deflate unpacks is bounded before it is unpacked.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
SMALL = 1_000_000  # bytes that an entry may unpack to at any ratio
IGNORED = re.compile(r"(^|/)(__MACOSX/|(\._[^/]*|\.DS_Store|Thumbs\.db|desktop\.ini)$)", re.I)


@dataclass(frozen=True)
class Entry:
    """A file of an upload.

    Attributes:
        name: with its folders, parted by "/".
        read: gives its bytes.
    """

    name: str
    read: Callable[[], bytes]


def wanted(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries without those that file managers add.

    Raises:
        ValueError: for a name that leads outside of the upload, or too many entries.
    """
    for entry in entries:
        check_name(entry.name)
    found = [entry for entry in entries if not IGNORED.search(entry.name)]
    check_number(len(found))
    return found


def zip_entries(raw: bytes, name: str) -> list[Entry]:
    """Return the files of a zip, none of them unpacked yet.

    Args:
        raw: the zip.
        name: the zip's name.

    Raises:
        ValueError: for what is no zip, and for one that is not safe to read.
    """
    # Each entry has such a header, whatever the zip says of their number.
    if raw.count(CENTRAL_HEADER) > 4 * limits.MAX_FILES:
        check_number(raw.count(CENTRAL_HEADER))
    try:
        archive = zipfile.ZipFile(io.BytesIO(raw))
        entries = archive.infolist()
    except Exception:  # on hostile bytes it raises nearly anything
        raise ValueError(
            f"{shown(name)} is no zip file that can be read: make it again and upload that."
        ) from None
    for entry in entries:
        _check_entry(entry)
    _check_sizes(entries)
    _check_places(entries, len(raw))
    files = [entry for entry in entries if not entry.is_dir()]
    _check_twice(files)
    return [Entry(file.filename, partial(_read, archive, file)) for file in files]


def check_number(files: int) -> None:
    """Raise ValueError for too many files."""
    if files > limits.MAX_FILES:
        raise ValueError(
            f"There are {files:,} files; at most {limits.MAX_FILES:,} are taken: upload fewer."
        )


def check_name(name: str) -> None:
    """Raise ValueError for the name of a file that is not below the upload's own folder."""
    parts = name.split("/")
    if (
        not parts[0]  # "/etc", or no name at all
        or re.match("[A-Za-z]:", name)
        or "\\" in name
        or "\0" in name
        or ".." in parts
    ):
        raise ValueError(
            f"A file is named {shown(name)}; expected a name like 'cats/1.png', without '..', "
            "drive letters, backslashes or a leading '/': pack or choose the folder again."
        )


def _check_entry(entry: zipfile.ZipInfo) -> None:
    check_name(entry.orig_filename)
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ValueError(
            f"{shown(entry.filename)} in the zip is a link or a device, no file: pack the files "
            "themselves."
        )
    if entry.flag_bits & ENCRYPTED:
        raise ValueError(
            f"{shown(entry.filename)} in the zip is encrypted: pack it without a password."
        )
    if entry.compress_type not in METHODS:
        raise ValueError(
            f"{shown(entry.filename)} in the zip is packed by method {entry.compress_type}; "
            "expected 'deflate', the usual one: pack it so."
        )


def _check_sizes(entries: Sequence[zipfile.ZipInfo]) -> None:
    total = sum(entry.file_size for entry in entries)
    if total > limits.MAX_UNPACKED_BYTES:
        raise ValueError(
            f"The zip unpacks to {total / 1e6:,.0f} MB; at most "
            f"{limits.MAX_UNPACKED_BYTES / 1e6:,.0f} MB are taken: upload fewer or smaller files."
        )
    for entry in entries:
        if entry.file_size > max(SMALL, limits.MAX_RATIO * entry.compress_size):
            raise ValueError(
                f"{shown(entry.filename)} in the zip unpacks to "
                f"{entry.file_size / max(entry.compress_size, 1):,.0f} times its size; at most "
                f"{limits.MAX_RATIO} times is taken: leave that file out."
            )


def _check_places(entries: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Raise ValueError where the bytes of two entries overlap, or lie outside of the zip."""
    end = 0
    for entry in sorted(entries, key=lambda x: x.header_offset):
        if entry.header_offset < end:
            raise _damaged(entry)
        end = entry.header_offset + LOCAL_HEADER_BYTES + entry.compress_size
        if end > size:
            raise _damaged(entry)


def _check_twice(files: Sequence[zipfile.ZipInfo]) -> None:
    known: set[str] = set()
    for file in files:
        if file.filename in known:
            raise ValueError(
                f"The zip has {shown(file.filename)} twice; expected each name once: pack the "
                "folder again."
            )
        known.add(file.filename)


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Unpack an entry; never more than the size that was checked."""
    try:
        with archive.open(entry) as file:
            data = file.read(entry.file_size + 1)
    except Exception:  # a wrong checksum, a broken stream, another name in the local header
        raise _damaged(entry) from None
    if len(data) != entry.file_size:
        raise _damaged(entry)
    return data


def _damaged(entry: zipfile.ZipInfo) -> ValueError:
    return ValueError(f"The zip is damaged at {shown(entry.filename)}: make it again.")
