"""Puts the `evaluate` metric where `evaluate.load("resque")` finds it, offline too."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

PACKAGED = Path(__file__).parent / "_metric" / "resque.py"  # in an installed wheel
CHECKOUT = Path(__file__).parents[2] / "metrics" / "resque" / "resque.py"
HASH_LENGTH = 64  # evaluate takes folders with names of this length for versions of a metric


def modules_cache() -> Path:
    """Return the folder that `evaluate.config.HF_MODULES_CACHE` names, without importing evaluate.

    It obeys HF_MODULES_CACHE, HF_HOME and XDG_CACHE_HOME, as evaluate does.
    """
    cache = os.path.join(os.getenv("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    home = os.path.expanduser(os.getenv("HF_HOME", cache))
    return Path(os.getenv("HF_MODULES_CACHE", os.path.join(home, "modules")))


def metric_folder() -> Path:
    """Return the folder that holds the metric's versions, whether it is there or not."""
    return modules_cache() / "evaluate_modules" / "metrics" / "evaluate-metric--resque"


def metric_source() -> Path:
    """Return the metric's script: the wheel's, else the checkout's.

    Raises:
        FileNotFoundError: where neither is there.
    """
    for path in (PACKAGED, CHECKOUT):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"the metric's script is neither at {PACKAGED} nor at {CHECKOUT}: reinstall resque"
    )


def install() -> Path:
    """Install the metric in place of any older version; a second call changes nothing.

    Returns:
        Path of the installed script.

    Raises:
        FileNotFoundError: where the package came without the metric.
        PermissionError: where the modules cache cannot be written to.
    """
    script = metric_source().read_bytes()
    folder = metric_folder()
    version = folder / hashlib.sha256(script).hexdigest()
    try:
        _make_packages(folder)
        _put_version(version, script)
        for old in _versions(folder):
            if old != version:
                _remove(old)
    except PermissionError as error:
        raise PermissionError(
            f"cannot write to {folder} ({error.strerror}): set HF_MODULES_CACHE to a folder of "
            "your own, for this command and for your programs"
        ) from error
    return version / "resque.py"


def uninstall() -> Path | None:
    """Remove the installed metric.

    Returns:
        The folder removed, or None where no metric was installed.
    """
    folder = metric_folder()
    folder.with_name(folder.name + ".lock").unlink(missing_ok=True)
    if not folder.is_dir():
        return None
    _remove(folder)
    return folder


def _make_packages(folder: Path) -> None:
    """Make the folders, and `__init__.py` in each from evaluate_modules on."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in (folder.parents[1], folder.parent, folder):
        (package / "__init__.py").touch()


def _put_version(version: Path, script: bytes) -> None:
    """Put the script into its folder, which appears whole or not at all."""
    target = version / "resque.py"
    if target.is_file() and target.read_bytes() == script and (version / "__init__.py").is_file():
        return
    if version.exists():
        _remove(version)
    staged = Path(tempfile.mkdtemp(prefix=".install-", dir=version.parent))
    try:
        staged.chmod(0o755)
        (staged / "__init__.py").touch()
        (staged / "resque.py").write_bytes(script)
        _rename(staged, version)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _rename(staged: Path, version: Path) -> None:
    try:
        staged.rename(version)
    except OSError:
        if not (version / "resque.py").is_file():  # else another process was quicker
            raise


def _versions(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.is_dir() and len(p.name) == HASH_LENGTH]


def _remove(folder: Path) -> None:
    """Remove a folder under another name first: no reader sees it half-removed."""
    away = Path(tempfile.mkdtemp(prefix=".old-", dir=folder.parent))
    folder.rename(away / "removed")
    shutil.rmtree(away)
