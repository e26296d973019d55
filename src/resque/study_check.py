"""Looks, before a study's first cell, whether its models, data sets, splits and columns exist."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from resque.columns import check_names, find_columns
from resque.data import Source, open_data, open_source, parse_spec
from resque.errors import ResqueError, UsageError
from resque.ledger import Cell
from resque.measurement import ready_columns
from resque.models import MODALITIES
from resque.options import Options
from resque.pretrained import main_input_of
from resque.relabeling import new_ids
from resque.shifts import check_fits, parse_corruption
from resque.study_config import Study
from resque.study_measurement import options_of
from resque.targets import parse_target
from resque.training_data import choose_splits

Problem = tuple[str, Exception]  # with the key of the configuration under which it stands


def check_cells(study: Study, cells: Sequence[Cell], *, ask_hub: bool = True) -> tuple[str, ...]:
    """Look up what cells need: each model and each data set once, all before the first cell.

    Of a model the configuration is read, not the weights. Data on this machine are opened as a
    cell opens them; of data on the Hub the names of splits and columns are fetched, no rows (but
    archives that cannot be streamed, whole). What the rows alone tell (columns of a CSV file on
    the Hub, classes), a cell finds out.

    Args:
        study: the study.
        cells: those of its cells that are to be run.
        ask_hub: look up models and data that are not on this machine, too.

    Returns:
        Those that were not looked up, without `ask_hub`.

    Raises:
        UsageError: where something does not exist or does not fit; a line for each such thing.
    """
    names = dict.fromkeys(x for cell in cells for x in (cell.model, cell.original, cell.dataset))
    left = () if ask_hub else tuple(name for name in names if not _is_path(name))
    look = _Look()
    found: dict[tuple[int, str], str] = {}
    for cell in cells:
        for key, error in _problems(cell, look, left):
            line, text = study.lines[cell.key][key], f"{key}: {error}"
            found.setdefault((line, "" if key == "corruption" else text), text)  # not each level
    if found:
        told = "\n".join(f"  line {line}: {text}" for (line, _), text in sorted(found.items()))
        raise UsageError(f"the study {study.name} cannot be run:\n{told}")
    return left


class _Look:
    """Does each piece of work once, and keeps what it returned or raised."""

    def __init__(self) -> None:
        self._outcome = functools.cache(self._try)

    def __call__(self, work: Callable[[str], Any], name: str) -> Any:
        found = self._outcome(work, name)
        if isinstance(found, Exception):
            raise found
        return found

    @staticmethod
    def _try(work: Callable[[str], Any], name: str) -> Any:
        try:
            return work(name)
        except (ValueError, TypeError) as error:
            return error


def _is_path(name: str) -> bool:
    """Whether a model or data set is on this machine, or is written as only a path is."""
    path = parse_spec(name).path
    written = Path(path).is_absolute() or path.startswith((".", "~"))
    return written or Path(path).expanduser().exists()


def _open(data: str) -> Source:
    if _is_path(data):
        return open_source(data)
    try:
        return open_source(data, streaming=True)
    except ResqueError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return open_source(data)  # some archives cannot be streamed: as a cell opens it


def _features(look: _Look, data: str, split: str | None) -> Any:
    """Return the features of a split by column; None where its rows alone tell them."""
    if split and not _is_path(data):
        split = re.split(r"[\[+]", split)[0]  # how many rows it has is not known
    return open_data(look(_open, data).at(split))[0].features


def _problems(cell: Cell, look: _Look, left: Collection[str]) -> Iterator[Problem]:
    main_input = None
    try:
        main_input = None if cell.model in left else look(main_input_of, cell.model)
    except ValueError as error:
        yield "model", error
    for data, key in {cell.dataset: "dataset", cell.original: "original"}.items():
        if data not in left:
            yield from _of_data(cell, data, key, main_input, look)


def _of_data(
    cell: Cell, data: str, key: str, main_input: str | None, look: _Look
) -> Iterator[Problem]:
    where, trained = key, data == cell.dataset
    try:
        source = look(_open, data)
        splits = {key: source.spec.split}
        if trained:
            where = "eval_split"
            splits[key], other, _ = choose_splits(source, cell.eval_split)
            splits |= {where: other} if cell.eval_split else {}
    except (ValueError, TypeError) as error:
        yield where, error
        return
    for where, split in splits.items():
        try:
            features = _features(look, data, split)
        except (ValueError, TypeError) as error:
            yield where, error
            continue
        if where == key and features is not None:  # all splits have the same columns
            yield from _of_columns(cell, where, features, main_input, trained)


def _of_columns(
    cell: Cell, where: str, features: Any, main_input: str | None, trained: bool
) -> Iterator[Problem]:
    use = options_of(cell) if trained else Options()
    label = use.label_column
    needed = trained or parse_target(cell.target)[0] == "recovery"
    try:
        if label not in (None, *features):
            where = "label_column"
        check_names(features, [label] if label else [])
        modality = MODALITIES.get(main_input or "")
        if main_input is None or modality is None:
            return
        columns = find_columns(
            dict(features),
            modality,
            input_columns=use.input_columns,
            label_column=label,
            labels="needed" if needed else "wanted",
            tensor_names=ready_columns(modality, main_input),
        )
        if trained and cell.classes and columns.label and columns.label_names:
            where = "classes"
            new_ids(cell.classes, columns.label_names, columns.label)
        if trained and cell.corruption:
            where = "corruption"
            check_fits(parse_corruption(cell.corruption), columns.modality)
    except (ValueError, TypeError) as error:
        yield where, error
