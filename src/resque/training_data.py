"""Training and evaluation rows that are apart, with their labels as the model's class ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from resque.batches import Encoder, make_encoder
from resque.data import Data, Source, open_data, open_source
from resque.errors import ResqueError, UsageError
from resque.measurement import open_for
from resque.options import Options
from resque.row_hashes import digest_rows, hash_rows, warn_of_overlap
from resque.rows import read_label, read_row
from resque.sampling import draw_rows
from resque.shifts import Corruption, check_fits
from resque.sums import Ints
from resque.task_classes import Classes, choose_classes

if TYPE_CHECKING:
    from resque.models import Model

EVAL_SPLITS = ("validation", "valid", "dev", "test")  # taken in this order
EVAL_SHARE = 0.2  # of the training rows, where the data set has no other split
KEEP_BYTES = 256_000_000  # of encoded evaluation rows


class Samples(Dataset[Any]):
    """Rows as batches of (inputs, class ids), read, corrupted and encoded when they are asked for.

    A data loader asks for a batch at once. Evaluation rows, whose batches are always the same,
    are kept once they are encoded, up to `KEEP_BYTES`.
    """

    def __init__(
        self,
        data: Data,
        positions: Ints,
        targets: Ints,
        corruption: Corruption | None,
        encoder: Encoder,
        *,
        keep: bool = False,
    ) -> None:
        self.data, self.positions, self.targets = data, positions, targets
        self.corruption, self.encoder = corruption, encoder
        self._free = KEEP_BYTES if keep else 0
        self._kept: dict[tuple[int, ...], dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, item: int) -> dict[str, Any]:
        return self.__getitems__([item])

    def __getitems__(self, items: list[int]) -> dict[str, Any]:
        """Return {"inputs": tensors by argument of the model, "targets": (n,) int64}."""
        key = tuple(items)
        if key in self._kept:
            return self._kept[key]
        inputs, _ = self.encoder([self._read(item) for item in items])
        batch = {"inputs": inputs, "targets": torch.from_numpy(self.targets[items])}
        size = sum(x.nbytes for x in inputs.values())
        if size <= self._free:
            self._free -= size
            self._kept[key] = batch
        return batch

    def _read(self, item: int) -> Any:
        position = int(self.positions[item])
        indices = self.data.indices
        index = position if indices is None else int(indices[position])
        row = read_row(self.data, index, self.data.rows[position], self.encoder.sampling_rate)
        return self.corruption(row.inputs, index) if self.corruption else row.inputs


class EpochSampler(Sampler[int]):
    """An order of the rows for each epoch, by the seed alone; cut to whole steps.

    It does not depend on batch size or number of processes. What an epoch leaves over comes in
    others, since each has an order of its own.
    """

    def __init__(self, n_rows: int, used: int, seed: int) -> None:
        self.n_rows, self.used, self.seed = n_rows, used, seed
        self.epoch = self.skip = 0

    def start(self, epoch: int, skip: int = 0) -> None:
        """Choose the epoch to come, and how many of its rows have been seen already."""
        self.epoch, self.skip = epoch, skip

    def __len__(self) -> int:
        return self.used - self.skip

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng(np.random.SeedSequence((self.seed, self.epoch)))
        yield from rng.permutation(self.n_rows)[self.skip : self.used].tolist()


@dataclass(frozen=True)
class TrainingData:
    """Everything that a run reads.

    Attributes:
        train: training rows.
        evaluation: evaluation rows, apart from these.
        original: the rows that "recovery" is measured against, or None.
        classes: the classes.
        names: what training and evaluation rows are called in records.
        digests: digests of training and evaluation rows.
        notes: what was chosen automatically, a line each.
    """

    train: Samples
    evaluation: Samples
    original: Samples | None
    classes: Classes
    names: tuple[str, str]
    digests: tuple[str, str]
    notes: tuple[str, ...]


def open_training_data(
    model: Model,
    dataset: Any,
    use: Options,
    *,
    eval_split: str | None,
    max_eval_samples: int | None,
    original: Any,
    recovery: bool,
    corruption: Corruption | None,
    head: str = "auto",
) -> TrainingData:
    """Open what a run trains on and is evaluated on.

    Args:
        model: with the checkpoint's own head.
        dataset: `ID_OR_FOLDER[@REVISION][:CONFIG][#SPLIT]` or a `datasets` object.
        use: columns, seed, largest number of training rows.
        eval_split: split of the evaluation rows; None for the validation or test split, else a
            stratified fifth of the training rows.
        max_eval_samples: draw so many evaluation rows.
        original: the data that the model was made for, or None.
        recovery: whether accuracy on the original data is asked for.
        corruption: applied to training and evaluation rows.
        head: "auto", "keep" or "new".

    Raises:
        ResqueError: where data, split, columns or labels do not fit; the text says how.
    """
    source = open_source(dataset, token=use.token)
    train, evaluation, why = _open_parts(model, source, use, eval_split, corruption)
    chosen = _draw(evaluation.rows, max_eval_samples, use.seed)
    evaluation = replace(evaluation, rows=_by_length(evaluation.data, chosen))
    encoder = make_encoder(model, train.data.columns.modality)
    classes = choose_classes(model, train.data, [*train.own, *evaluation.own], head)
    _check_training(train, evaluation)
    hashes = [hash_rows(part.data, part.rows) for part in (train, evaluation)]
    warn_of_overlap(*hashes)
    later = replace(corruption, seed=corruption.seed + 1) if corruption else None
    reference = None
    if recovery and original is not None:
        reference = _original(model, original, use, max_eval_samples, encoder)
    elif recovery:
        if corruption is None or classes.new_head:
            raise UsageError(
                "--target-recovery is a share of the accuracy on the original data: name that "
                "with --original (without it, it is the data before a --corruption)"
            )
        reference = evaluation.samples(classes, encoder, None, keep=True)
    found = f"evaluation rows: {len(evaluation.rows)} of {evaluation.data.spec} ({why})"
    return TrainingData(
        train=train.samples(classes, encoder, later),
        evaluation=evaluation.samples(classes, encoder, corruption, keep=True),
        original=reference,
        classes=classes,
        names=(str(train.data.spec), str(evaluation.data.spec)),
        digests=(
            digest_rows(train.data, train.rows, hashes[0]),
            digest_rows(evaluation.data, evaluation.rows, hashes[1]),
        ),
        notes=(found, classes.note),
    )


@dataclass(frozen=True)
class _Part:
    """Some rows of a data set, by their positions in it, with the labels of all of its rows."""

    data: Data
    labels: Any
    rows: Ints

    @property
    def own(self) -> Any:
        """Labels of these rows."""
        return self.labels[self.rows]

    def samples(
        self, classes: Classes, encoder: Encoder, corruption: Corruption | None, keep: bool = False
    ) -> Samples:
        targets = np.array([classes.ids[label] for label in self.own], np.int64)
        return Samples(self.data, self.rows, targets, corruption, encoder, keep=keep)


def _open_parts(
    model: Model,
    source: Source,
    use: Options,
    eval_split: str | None,
    corruption: Corruption | None,
) -> tuple[_Part, _Part, str]:
    """Open training and evaluation rows, and say why these are evaluated on."""
    train_split, other, why = choose_splits(source, eval_split)
    data = open_for(model, source.at(train_split), use)
    check_fits(corruption, data.columns.modality)
    labels = _labels(data)
    rows = _usable(data, labels)
    if other is None:
        rows, apart = _split(rows, labels, use.seed)
        return _Part(data, labels, rows), _Part(data, labels, apart), why
    evaluation = open_for(model, source.at(other), replace(use, max_samples=None))
    _check_apart(data, evaluation)
    at = _labels(evaluation)
    return _Part(data, labels, rows), _Part(evaluation, at, _usable(evaluation, at)), why


def choose_splits(source: Source, eval_split: str | None) -> tuple[str | None, str | None, str]:
    """Choose the splits to train and to evaluate on.

    Returns:
        The training split, the evaluation split (None for a part of the training rows), and why.

    Raises:
        UsageError: where a split that is asked for cannot be had.
    """
    names, asked = source.splits, source.spec.split
    train = asked or next((n for n in ("train", *names) if n in names), None)
    if eval_split is not None:
        if not names:
            raise UsageError(
                f"{source.spec.path!r} has one split only: leave out --eval-split {eval_split}, "
                "and a stratified part of the rows is kept apart for evaluation"
            )
        return train, eval_split, "as asked"
    own = (train or "").partition("[")[0]
    other = next((n for n in EVAL_SPLITS if n in names and n != own), None)
    if other is not None:
        return train, other, f"the data set's {other} split"
    share = f"{EVAL_SHARE:.0%}".replace("%", " %")
    return train, None, f"a stratified {share} of the training rows, kept apart"


def _original(
    model: Model, original: Any, use: Options, most: int | None, encoder: Encoder
) -> Samples:
    source = open_source(original, token=use.token)
    named = open_data(source)[0].column_names
    label = use.label_column if use.label_column in named else None
    data = open_for(model, source, replace(use, label_column=label, max_samples=None))
    labels = _labels(data)
    part = _Part(data, labels, _draw(_usable(data, labels), most, use.seed))
    found = choose_classes(model, data, list(part.own), "auto")
    if found.new_head:
        raise UsageError(
            f"the model does not know the classes of --original {data.spec}: {found.note}"
        )
    return part.samples(found, encoder, None)


def _labels(data: Data) -> Any:
    """Return (N,) labels as an object array, None where a row has none."""
    if data.indices is None:
        raise UsageError(f"{data.spec} is a stream; retraining needs rows that can be read again")
    name = data.columns.label or ""
    values = data.rows.select_columns([name]).with_format(None)[:][name]
    labels = [
        read_label(value, data.columns, int(index))
        for index, value in zip(data.indices, values, strict=True)
    ]
    return np.array(labels, object)


def _usable(data: Data, labels: Any) -> Ints:
    """Return the positions of rows that have a label and, for texts, are not empty."""
    keep = np.array([label is not None for label in labels], bool)
    if data.columns.modality == "text":
        keep &= np.array([any(texts) for texts in _texts(data)], bool)
    if not keep.any():
        raise ResqueError(f"no row of {data.spec} has a label and an input")
    return np.flatnonzero(keep)


def _split(rows: Ints, labels: Any, seed: int) -> tuple[Ints, Ints]:
    """Keep a stratified part apart for evaluation; classes with one row stay in training."""
    from sklearn.model_selection import train_test_split

    counts = Counter(labels[rows])
    single = np.array([counts[label] < 2 for label in labels[rows]], bool)
    several = rows[~single]
    n_classes = len(set(labels[several]))
    wanted = max(round(EVAL_SHARE * len(several)), n_classes)
    if len(several) - wanted < n_classes or not n_classes:
        raise ResqueError(
            f"{len(rows)} rows of {len(counts)} classes are too few to keep some apart for "
            "evaluation; name a split with --eval-split"
        )
    names = np.array([str(label) for label in labels[several]])
    kept, apart = train_test_split(several, test_size=wanted, stratify=names, random_state=seed)
    return np.sort(np.concatenate([kept, rows[single]])), np.sort(apart)


def _by_length(data: Data, rows: Ints) -> Ints:
    """Order the rows of texts by length, so that batches are hardly padded."""
    if data.columns.modality != "text":
        return rows
    texts = _texts(data)
    lengths = [sum(len(text or "") for text in texts[row]) for row in rows]
    return rows[np.argsort(lengths, kind="stable")]


def _texts(data: Data) -> list[tuple[str | None, ...]]:
    """Return each row's text, or its pair of texts."""
    columns = data.rows.select_columns(list(data.columns.inputs)).with_format(None)[:]
    return list(zip(*(columns[name] for name in data.columns.inputs), strict=True))


def _draw(rows: Ints, most: int | None, seed: int) -> Ints:
    if most is not None and most < 1:
        raise UsageError(f"--max-eval-samples is {most}; expected at least 1")
    return rows[draw_rows(len(rows), most, seed)]


def _check_apart(train: Data, evaluation: Data) -> None:
    """Refuse slices of one split that have rows in common."""
    names = [(d.spec.split or "").partition("[")[0] for d in (train, evaluation)]
    if names[0] != names[1] or train.indices is None or evaluation.indices is None:
        return
    common = len(np.intersect1d(train.indices, evaluation.indices))
    if common:
        raise UsageError(
            f"{common} rows of --eval-split {evaluation.spec.split} are training rows "
            f"({train.spec.split}); choose another split, or slices that are apart"
        )


def _check_training(train: _Part, evaluation: _Part) -> None:
    if not len(evaluation.rows):
        raise ResqueError(f"{evaluation.data.spec} has no rows to evaluate on")
    if len(set(train.own)) < 2:
        raise ResqueError(
            f"all {len(train.rows)} training rows of {train.data.spec} have the class "
            f"{train.own[0]!r}; training needs at least two"
        )
