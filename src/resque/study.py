"""Runs the cells of a study, one after another, into a ledger that survives any interruption."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resque.errors import ResqueError, Stopped, UsageError, first_line
from resque.files import check_folder, write_whole
from resque.ledger import (
    DONE,
    FAILED,
    FILE_NAME,
    Cell,
    Entry,
    Ledger,
    add_entry,
    read_ledger,
    write_ledger,
)
from resque.processes import rank_and_world
from resque.study_config import Study, parse_study
from resque.targets import parse_target

if TYPE_CHECKING:
    from resque.records import CostRecord
    from resque.study_measurement import Measurer

CONFIG_NAME = "study.yaml"
MANY_CELLS = 2_000  # more are run only where that is confirmed
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is left to do.

    Attributes:
        study: the study.
        folder: of the ledger.
        ledger: what it holds so far.
        todo: cells of this shard that have no entry (or failed, where these are tried again).
        done: cells of this shard that have one.
    """

    study: Study
    folder: Path
    ledger: Ledger
    todo: tuple[Cell, ...]
    done: int


def plan(
    study: Study,
    folder: str | Path,
    *,
    shard: tuple[int, int] = (1, 1),
    retry_failed: bool = False,
    yes: bool = False,
) -> Plan:
    """Decide which cells are to be run; writes nothing.

    Args:
        study: the study.
        folder: where its ledger is, or will be.
        shard: (i, n): only every n-th cell, from the i-th on.
        retry_failed: run cells that failed once more.
        yes: run more than `MANY_CELLS` cells.

    Raises:
        UsageError: where the folder holds another study, or there are too many cells.
    """
    folder, (i, n) = Path(folder), shard
    if not 1 <= i <= n:
        raise UsageError(f"shard is {i}/{n}; expected i/n with i from 1 to n, as in 1/4")
    if len(study.cells) > MANY_CELLS and not yes:
        raise UsageError(f"the study has {len(study.cells):,} cells; --yes runs so many")
    _check_same(study, folder)
    ledger = read_ledger([folder]) if (folder / FILE_NAME).exists() else Ledger(())
    known = {entry.key: entry.status for entry in ledger.entries}
    wanted = (None, FAILED) if retry_failed else (None,)
    mine = study.cells[i - 1 :: n]
    todo = tuple(cell for cell in mine if known.get(cell.key) in wanted)
    return Plan(study, folder, ledger, todo, len(mine) - len(todo))


def _check_same(study: Study, folder: Path) -> None:
    """Refuse a folder with another study; one that this study only adds cells to is its own."""
    file = folder / CONFIG_NAME
    if not file.is_file():
        return
    old = parse_study(file.read_text(encoding="utf-8"), str(file))
    lost = {cell.key for cell in old.cells} - {cell.key for cell in study.cells}
    if lost or old.name != study.name:
        raise UsageError(
            f"{folder} holds another study ({old.name}, {len(lost)} of its {len(old.cells)} cells "
            "are not in this one): take another --output-dir, or add to the study that is there"
        )


def run(chosen: Plan, *, device: str = "auto", progress: bool = True) -> int:
    """Run the cells of a plan; each is in the ledger once it is done.

    Args:
        chosen: what to run.
        device: "auto" or "cpu".
        progress: show a bar on terminals.

    Returns:
        How many cells failed.

    Raises:
        UsageError: before the first cell, where a model, data set, split or column is not there.
        ResqueError: where the folder cannot be written.
        Stopped: after SIGTERM or Ctrl-C; the cell that was running is run again later.
    """
    from tqdm.auto import tqdm

    from resque.study_check import check_cells
    from resque.study_measurement import Measurer

    if rank_and_world()[1] > 1:
        raise UsageError("a study's cells run on one process each: start several with --shard i/n")
    check_cells(chosen.study, chosen.todo)
    check_folder(chosen.folder)
    text = chosen.study.text
    write_whole(chosen.folder / CONFIG_NAME, lambda x: x.write_text(text, encoding="utf-8"))
    measurer, failed, kwh = Measurer(device), 0, 0.0
    with tqdm(total=len(chosen.todo), disable=None if progress else True, unit="cell") as bar:
        for cell in chosen.todo:
            bar.set_description(f"{cell.family} {cell.level or ''} seed {cell.seed}".strip())
            entry = run_cell(cell, chosen.study.name, chosen.folder, measurer, device)
            add_entry(entry, chosen.folder / FILE_NAME)
            failed += entry.status == FAILED
            kwh += entry.record.energy_kwh if entry.record else 0.0
            bar.set_postfix_str(f"{kwh:.2g} kWh, {failed} failed")
            bar.update()
    return failed


def run_cell(
    cell: Cell, study: str, folder: Path, measurer: Measurer, device: str = "auto"
) -> Entry:
    """Measure and retrain one cell. What goes wrong becomes the entry of a failed cell.

    Args:
        cell: what to do.
        study: name of the study.
        folder: for what the retraining leaves; nothing of it stays.
        measurer: keeps what several cells share.
        device: "auto" or "cpu".

    Raises:
        Stopped: after SIGTERM or Ctrl-C.
    """
    from resque.study_measurement import make_entry

    work = folder / ".work" / cell.key
    began = time.perf_counter()
    seconds, measured, record, problem = 0.0, None, None, None
    try:
        with _quiet():
            measured = measurer.measure(cell)
            seconds = time.perf_counter() - began
            record = _retrain(cell, measured.label_column, work, device)
    except Stopped as stop:
        raise Stopped(stop.signal, "run the study again: it goes on with this cell") from None
    except Exception as error:  # whatever a library raises for one cell, the others go on
        problem = f"{type(error).__name__}: {first_line(error)}"
        log.warning("cell %s (%s, seed %d) failed: %s", cell.key, cell.shift, cell.seed, problem)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        with contextlib.suppress(OSError):
            work.parent.rmdir()
    return make_entry(cell, study, measured, record, seconds, problem)


def _retrain(cell: Cell, label: str | None, work: Path, device: str) -> CostRecord:
    from resque.retrain import retrain

    kind, share = parse_target(cell.target)
    options: dict[str, Any] = {
        **cell.options,
        f"target_{kind}": share,
        "strategy": cell.strategy,
        "seed": cell.seed,
        "corruption": cell.corruption,
        "eval_split": cell.eval_split,
        "device": device,
        "checkpoint_every": 10**9,  # a cell that is cut off begins anew
        "progress": False,
    }
    if kind == "recovery":
        options["original"] = _evaluation_of_original(cell)
    data: Any = cell.dataset
    if cell.class_prior or cell.classes:
        data, options["eval_split"] = _with_other_labels(cell, label), "test"
    return retrain(cell.model, data, work, overwrite=True, **options)


def _evaluation_of_original(cell: Cell) -> str | None:
    """Return what "recovery" is measured against; None for the evaluation rows uncorrupted."""
    if cell.corruption and cell.dataset == cell.original:
        return None
    from resque.data import open_source
    from resque.training_data import choose_splits

    source = open_source(cell.original)
    _, split, _ = choose_splits(source, None)
    return str(source.at(split).spec) if split else cell.original


def _with_other_labels(cell: Cell, label: str | None) -> Any:
    """Return the splits of a cell's data with its classes changed as the cell says.

    Uneven class frequencies are those of the training rows alone; other classes are everywhere.
    """
    import datasets

    from resque.data import open_data, open_source
    from resque.study_measurement import change_labels
    from resque.training_data import choose_splits

    source = open_source(cell.dataset)
    train, other, _ = choose_splits(source, cell.eval_split)
    if other is None or label is None:
        raise ResqueError(
            f"class_prior and classes need labels and an evaluation split in {cell.dataset}"
        )
    even = replace(cell, class_prior=0.0)
    parts = {"train": (train, cell), "test": (other, even)}
    return datasets.DatasetDict(
        {
            name: change_labels(open_data(source.at(split))[0], label, how)[0]
            for name, (split, how) in parts.items()
        }
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what each retraining says of its choices: the record has it."""
    ours, level = logging.getLogger("resque"), logging.getLogger("resque").level
    ours.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        ours.setLevel(level)


def merge(folders: Sequence[str | Path], folder: Path) -> Ledger:
    """Write the entries of several ledgers into one, each cell once.

    Args:
        folders: ledgers, or folders that hold one.
        folder: gets the ledger.

    Raises:
        UsageError: where the folder holds entries that would be lost.
        ResqueError: where one cannot be read, or the new one not be written.
    """
    ledger, file = read_ledger(folders), folder / FILE_NAME
    old = read_ledger([file]).entries if file.exists() else ()
    kept = {entry.key: entry.status for entry in ledger.entries}
    lost = [entry for entry in old if kept.get(entry.key) not in (DONE, entry.status)]
    if lost:
        raise UsageError(
            f"{file} holds {len(lost)} entries that the ledgers to merge do not have: name "
            f"{folder} among them, or take another --output-dir"
        )
    write_ledger(ledger.entries, file)
    return ledger
