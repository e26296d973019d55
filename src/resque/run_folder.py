"""The folder of a run: one run at a time, what each attempt spent, and its checkpoints."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from resque.costs import Costs, Spent
from resque.documents import plain
from resque.errors import ResqueError, UsageError, first_line
from resque.files import check_folder, write_whole
from resque.records import FILE_NAME

RUN, ATTEMPTS, CHECKPOINTS = "run.json", "attempts", "checkpoints"
KEPT = 2


@dataclass(frozen=True)
class Attempt:
    """A run as one attempt at it begins.

    Attributes:
        run_id: the same for all attempts.
        number: of this attempt, from 0.
        started: UTC of the first attempt, ISO 8601.
        base: useful costs until the checkpoint that it goes on from.
        wasted: what was lost and is done again.
        checkpoint: the folder that it goes on from, or None.
        notes: what was found on the way, a line each.
        finished: whether the run has ended already.
    """

    run_id: str
    number: int
    started: str
    base: Costs
    wasted: Spent
    checkpoint: str | None
    notes: tuple[str, ...] = ()
    finished: bool = False


def utc_now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def lock_folder(folder: Path) -> Any:
    """Keep other runs out of a folder until the process ends, however it ends.

    Raises:
        ResqueError: where the folder cannot be written to, or another run holds it.
    """
    from filelock import FileLock, Timeout

    check_folder(folder)
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ResqueError(
            f"another run is writing into {folder}: wait for it, or take another --output-dir"
        ) from None
    return lock


def begin(folder: Path, settings: dict[str, Any], resume: bool, overwrite: bool) -> Attempt:
    """Begin a run in a folder, go on with the one that is there, or refuse.

    Args:
        folder: the run's, already locked.
        settings: what determines the run.
        resume: go on with the run that is there, or begin one where there is none.
        overwrite: begin anew; what an unfinished run spent counts as wasted.

    Raises:
        UsageError: where there is a run and neither is asked for, or it has other settings.
    """
    file = folder / RUN
    known = _read_json(file) if file.exists() else None
    if known is None:
        return _new(folder, settings, Spent())
    finished = _is_finished(folder, known)
    if resume:
        _check_same(known["settings"], plain(settings), folder)
        return _next(folder, known, finished)
    if not overwrite:
        check_unused(folder)
    lost = Spent() if finished else _wasted(folder, known, Costs())
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    attempt = _new(folder, settings, lost)  # from here on, what was lost stands in two places
    shutil.rmtree(folder / ATTEMPTS, ignore_errors=True)
    return attempt


def check_unused(folder: Path) -> None:
    """Refuse a folder that holds a run.

    Raises:
        UsageError: where it does.
    """
    file = folder / RUN
    if not file.exists():
        return
    finished = _is_finished(folder, _read_json(file))
    raise UsageError(
        f"{folder} holds {'a finished' if finished else 'an unfinished'} run: "
        + ("" if finished else "--resume goes on with it; ")
        + "--overwrite begins anew there; or take another --output-dir"
    )


def _is_finished(folder: Path, known: dict[str, Any]) -> bool:
    """Whether a run has ended; it may have been killed between its record and that mark."""
    if known.get("status") == "finished":
        return True
    file = folder / FILE_NAME
    for line in file.read_bytes().split(b"\n") if file.exists() else ():
        with contextlib.suppress(ValueError, TypeError, KeyError):  # cut off, or foreign
            if json.loads(line)["run_id"] == known["run_id"]:
                return True
    return False


def _new(folder: Path, settings: dict[str, Any], wasted: Spent) -> Attempt:
    attempt = Attempt(uuid.uuid4().hex, 0, utc_now(), Costs(), wasted, None)
    _write_run(folder, attempt, settings, "running")
    return attempt


def _next(folder: Path, known: dict[str, Any], finished: bool) -> Attempt:
    checkpoint, notes = newest_checkpoint(folder)
    base = Costs()
    if checkpoint is not None:
        base = Costs.from_dict(_read_json(checkpoint / "progress.json")["costs"])
    return Attempt(
        run_id=known["run_id"],
        number=_last_attempt(folder) + 1,
        started=known["started"],
        base=base,
        wasted=_wasted(folder, known, base),
        checkpoint=str(checkpoint) if checkpoint else None,
        notes=notes,
        finished=finished,
    )


def _last_attempt(folder: Path) -> int:
    """Return the number of the last attempt that left a heartbeat, or -1."""
    return max((_number(p) for p in (folder / ATTEMPTS).glob("*.json")), default=-1)


def _wasted(folder: Path, known: dict[str, Any], kept: Costs) -> Spent:
    """Return what was wasted before the last attempt and what that did past `kept`."""
    number = _last_attempt(folder)
    if number < 0:
        return Costs.from_dict(known["wasted"]).overhead
    files = sorted((folder / ATTEMPTS).glob(f"{number:03d}-*.json"))
    beats = [_read_json(file) for file in files]
    first = next((b for b in beats if b["node"] == 0), beats[0])
    useful = Costs.from_dict(first["base"])
    useful = useful + Costs.from_dict(first["costs"])
    for other in (b for b in beats if b is not first):
        useful = useful + Costs.from_dict(other["costs"]).energy_only()
    done = useful.training + useful.evaluation
    lost = done - (kept.training + kept.evaluation)
    before = Costs.from_dict(first["wasted"]).overhead
    return before + (lost if lost.seconds > 0 else Spent())


def write_heartbeat(
    folder: Path, attempt: Attempt, node: int, costs: Costs, step: int, status: str
) -> None:
    """Leave on the disk what a machine has spent in this attempt so far."""
    document = {
        "attempt": attempt.number,
        "node": node,
        "status": status,
        "step": step,
        "at": utc_now(),
        "base": attempt.base.to_dict(),
        "wasted": Costs(overhead=attempt.wasted).to_dict(),
        "costs": costs.to_dict(),
    }
    _write_json(folder / ATTEMPTS / f"{attempt.number:03d}-node{node}.json", document)


def finish(folder: Path, attempt: Attempt, settings: dict[str, Any]) -> None:
    """Mark the run as ended: its record is written."""
    _write_run(folder, attempt, settings, "finished")


def _write_run(folder: Path, attempt: Attempt, settings: dict[str, Any], status: str) -> None:
    document = {
        "run_id": attempt.run_id,
        "started": attempt.started,
        "status": status,
        "wasted": Costs(overhead=attempt.wasted).to_dict(),
        "settings": plain(settings),
    }
    _write_json(folder / RUN, document)


def _check_same(known: dict[str, Any], settings: dict[str, Any], folder: Path) -> None:
    names = [n for n in {**known, **settings} if known.get(n) != settings.get(n)]
    if names:
        listed = "; ".join(f"{n}: {known.get(n)!r} then, {settings.get(n)!r} now" for n in names)
        raise UsageError(f"the run in {folder} has other settings, so it cannot go on: {listed}")


def clear_staging(folder: Path) -> Path:
    """Make an empty folder for a checkpoint that does not count yet."""
    staged = staging(folder)
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    return staged


def seal(folder: Path, step: int, progress: dict[str, Any]) -> Path:
    """Make what was staged the checkpoint of a step, on the disk before it counts; keep two.

    Args:
        folder: of the run.
        step: of the checkpoint.
        progress: what goes beside the weights, as JSON.
    """
    staged = staging(folder)
    _write_json(staged / "progress.json", progress)
    files = sorted(p for p in staged.rglob("*") if p.is_file())
    manifest = {str(p.relative_to(staged)): [p.stat().st_size, _digest(p)] for p in files}
    for file in files:
        _sync(file)
    _write_json(staged / "manifest.json", manifest)
    target = folder / CHECKPOINTS / f"step-{step:08d}"
    shutil.rmtree(target, ignore_errors=True)
    os.replace(staged, target)
    _sync(target.parent)
    known = _checkpoints(folder)
    kept = [p for p in known if p.name <= target.name][:KEPT]
    for old in known:  # later ones are broken: the run went on from one before them
        if old not in kept:
            shutil.rmtree(old, ignore_errors=True)
    return target


def cannot_save(folder: Path, step: int, error: BaseException) -> ResqueError:
    """Return the error to raise where a checkpoint cannot be written; clears what was staged."""
    shutil.rmtree(staging(folder), ignore_errors=True)
    kept, _ = newest_checkpoint(folder)
    why = getattr(error, "strerror", None) or first_line(error)
    return ResqueError(
        f"cannot save the checkpoint of step {step}: {why}. "
        + (f"{kept.name} is kept; " if kept else "There is no earlier one; ")
        + "make room and go on with --resume"
    )


def staging(folder: Path) -> Path:
    """Return the folder that a checkpoint is written into before it counts."""
    return folder / CHECKPOINTS / ".saving"


def newest_checkpoint(folder: Path) -> tuple[Path | None, tuple[str, ...]]:
    """Return the newest complete checkpoint, and a line on each broken one that was skipped."""
    notes: list[str] = []
    for path in _checkpoints(folder):
        fault = _fault(path)
        if fault is None:
            return path, tuple(notes)
        notes.append(f"skipped the broken checkpoint {path.name}: {fault}")
    return None, tuple(notes)


def _checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints, the newest first."""
    found = (folder / CHECKPOINTS).glob("step-*")
    return sorted((p for p in found if re.fullmatch(r"step-\d+", p.name)), reverse=True)


def _fault(path: Path) -> str | None:
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        for name, (size, digest) in manifest.items():
            file = path / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != size or _digest(file) != digest:
                return f"{name} is damaged"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"its manifest cannot be read ({first_line(error)})"
    return None


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])


def _digest(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Have the system write a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if path.is_file():
            raise  # some file systems refuse it for folders
    finally:
        os.close(handle)


def _write_json(path: Path, document: Any) -> None:
    text = json.dumps(document, indent=1, allow_nan=False)

    def write(file: Path) -> None:
        file.write_text(text, encoding="utf-8")
        _sync(file)

    write_whole(path, write)
    with contextlib.suppress(OSError):
        _sync(path.parent)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResqueError(f"cannot read {path}: {first_line(error)}") from error
