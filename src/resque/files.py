"""Writes a file whole or not at all, and adds lines to one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resque.errors import ResqueError, first_line


def write_whole(target: Path, write: Callable[[Path], Any]) -> Path:
    """Let `write` make a file beside the target, then put it in the target's place in one step.

    A device or a pipe (`/dev/stdout`) stays in its place, and is written to.

    Raises:
        ResqueError: where it cannot be written; nothing is left behind then.
    """
    staged = None
    try:
        if _is_stream(target):
            write(target)
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        os.close(handle)
        staged = Path(name)
        write(staged)
        umask = os.umask(0)
        os.umask(umask)
        staged.chmod(0o666 & ~umask)
        os.replace(staged, target)
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ResqueError(f"cannot write {target}: {reason}") from error
    finally:
        if staged is not None:
            staged.unlink(missing_ok=True)
    return target


def _is_stream(target: Path) -> bool:
    if target.is_symlink() and target.parent == Path("/dev"):  # stdout, which may be any file
        return True
    return target.exists() and not (target.is_file() or target.is_dir())


def check_folder(folder: Path) -> None:
    """Make a folder and see that it can be written to, before hours go into what it is for.

    Raises:
        ResqueError: where it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ResqueError(f"cannot write to {folder}: {error.strerror}") from error


def write_folder(target: Path, write: Callable[[Path], Any]) -> Path:
    """Let `write` fill a folder beside the target, then put it in the target's place.

    Raises:
        ResqueError: where it cannot be written; the target is then as it was.
    """
    staged = target.with_name(f".{target.name}-new")
    old = target.with_name(f".{target.name}-old")
    try:
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        write(staged)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)  # of a process that was killed here
            os.replace(target, old)
        os.replace(staged, target)
    except Exception as error:
        shutil.rmtree(staged, ignore_errors=True)
        reason = getattr(error, "strerror", None) or first_line(error)
        raise ResqueError(f"cannot write {target}: {reason}") from error
    shutil.rmtree(old, ignore_errors=True)
    return target


def json_line(document: dict[str, Any]) -> bytes:
    """Return a document as one line of JSON."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode(errors="backslashreplace")  # a path may hold what is no text


def append_line(document: dict[str, Any], path: Path) -> None:
    """Add a line of JSON to a file, on the disk before it returns.

    Raises:
        ResqueError: where it cannot be written; the file is then as it was.
    """
    line = json_line(document)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        size = path.stat().st_size if path.exists() else None
        try:
            with path.open("a+b") as file:
                file.seek(max((size or 0) - 1, 0))
                if size and file.read() != b"\n":
                    line = b"\n" + line  # the line before was cut off: it stays a line of its own
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            _restore(path, size)  # after closing, which writes what is left
            raise
    except OSError as error:
        raise ResqueError(f"cannot write {path}: {error.strerror or error}") from error


def _restore(path: Path, size: int | None) -> None:
    """Give a file the size again that it had; None where there was none."""
    with contextlib.suppress(OSError):
        if size is None:
            path.unlink(missing_ok=True)
        else:
            os.truncate(path, size)
