"""Writes a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resque.errors import ResqueError


def write_whole(target: Path, write: Callable[[Path], Any]) -> Path:
    """Let `write` make a file beside the target, then put it in the target's place in one step.

    Raises:
        ResqueError: where it cannot be written; nothing is left behind then.
    """
    staged = None
    try:
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
