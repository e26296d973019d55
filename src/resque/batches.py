"""Rows of a data set → batches that the model takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from resque.data import Data, iterate
from resque.errors import ResqueError
from resque.models import Model
from resque.rows import BadRow, Row, read_row
from resque.shifts import Corruption
from resque.sums import Ints, Label
from resque.words import words_of_tokens

WINDOW = 32  # batches whose texts are sorted by length together
WINDOWS_EACH = 4  # of a process, from which on it takes whole windows: none is dealt out unevenly
TOKENS_EACH = 128  # of a row on a CPU, where larger batches are no faster and take more memory
UNLIMITED = 1_000_000  # tokenizers without a limit name a greater one


@dataclass(frozen=True)
class Batch:
    """What the model takes at once, and what was left out on the way.

    Attributes:
        indices: (n,) the rows' positions.
        labels: n labels; None where there is none.
        inputs: tensors by argument of the model's forward; empty where every row was left out.
        truncated: samples cut to what the model takes.
        empty: rows left out because their text is empty.
        unlabelled: rows left out because they have no label.
        bad: why rows were left out that cannot be read.
        words: of each text each token's word, or −1; None where words are not asked for.
    """

    indices: Ints
    labels: list[Label | None]
    inputs: dict[str, Tensor]
    truncated: int = 0
    empty: int = 0
    unlabelled: int = 0
    bad: tuple[str, ...] = ()
    words: list[list[int]] | None = None


@dataclass(frozen=True)
class Tokens:
    """A text as its tokenizer gives it.

    Attributes:
        ids: a list of numbers by argument of the model's forward.
        cut: whether the text is longer than the model takes.
        words: each token's word, or −1; None where words are not asked for.
    """

    ids: dict[str, list[int]]
    cut: bool
    words: list[int] | None = None

    def __len__(self) -> int:
        return len(self.ids["input_ids"])


@dataclass(frozen=True)
class Encoder:
    """Turns samples into tensors with the model's own processor. Holds no weights.

    Attributes:
        modality: of the data: "image", "text", "audio" or "tensor".
        processor: the checkpoint's, or None for images as [0, 1] tensors.
        channels: 1 for models of grey images, else 3.
        max_length: tokens or audio samples that the model takes; None for no limit.
        sampling_rate: Hz that the model takes, or None.
        argument: the forward argument of an input without a processor.
        by_word: whether tokens are matched with the words of texts.
    """

    modality: str
    processor: Any
    channels: int
    max_length: int | None
    sampling_rate: int | None
    argument: str
    by_word: bool = False

    def __call__(self, samples: Sequence[Any]) -> tuple[dict[str, Tensor], int]:
        """Return the tensors of a batch, texts tokenized or not, and how many samples were cut."""
        if self.modality == "tensor":
            names = samples[0]
            return {name: _stack([sample[name] for sample in samples]) for name in names}, 0
        if self.modality == "image":
            return self._images(samples), 0
        return self._texts(samples) if self.modality == "text" else self._sounds(samples)

    def _images(self, images: Sequence[Any]) -> dict[str, Tensor]:
        if self.channels == 1:
            images = [np.asarray(image.convert("L"))[..., None] for image in images]
        if self.processor is None:
            arrays = [np.asarray(image, np.float32) / 255 for image in images]
            return {self.argument: _stack([np.moveaxis(array, -1, 0) for array in arrays])}
        extra = {"input_data_format": "channels_last"} if self.channels == 1 else {}
        return dict(self.processor(images=list(images), return_tensors="pt", **extra))

    def tokenize(self, texts: Sequence[Any]) -> list[Tokens]:
        """Return the tokens of texts, or of pairs of texts."""
        columns = [list(x) for x in zip(*texts, strict=True)] if _pairs(texts) else [list(texts)]
        encoded = self.processor(
            *columns,
            truncation=self.max_length is not None,
            max_length=self.max_length,
            **({"return_offsets_mapping": True} if self.by_word else {}),
        )
        cut = [bool(e.overflowing) for e in encoded.encodings or ()] or [False] * len(texts)
        offsets = encoded.pop("offset_mapping", None)
        words = map(words_of_tokens, texts, offsets) if self.by_word else [None] * len(texts)
        names = list(encoded)
        ids = (dict(zip(names, x, strict=True)) for x in zip(*encoded.values(), strict=True))
        return [Tokens(*row) for row in zip(ids, cut, words, strict=True)]

    def _texts(self, texts: Sequence[Any]) -> tuple[dict[str, Tensor], int]:
        tokens = texts if isinstance(texts[0], Tokens) else self.tokenize(texts)
        ids = {name: [text.ids[name] for text in tokens] for name in tokens[0].ids}
        padded = self.processor.pad(ids, padding=True, return_tensors="pt")
        return dict(padded), sum(text.cut for text in tokens)

    def _sounds(self, sounds: Sequence[Any]) -> tuple[dict[str, Tensor], int]:
        cut = sum(self.max_length is not None and len(x) > self.max_length for x in sounds)
        if self.processor is None:
            return {self.argument: _stack(sounds)}, cut
        encoded = self.processor(
            list(sounds), sampling_rate=self.sampling_rate, padding=True, return_tensors="pt"
        )
        return dict(encoded), cut


def make_encoder(model: Model, modality: str, by_word: bool = False) -> Encoder:
    """Return the encoder of data of this modality for a model.

    Args:
        model: the model.
        modality: of the data.
        by_word: match tokens with the words of texts.

    Raises:
        ResqueError: where the model needs a processor and has none, or its tokenizer does not
            tell where tokens are from.
    """
    processor, config = model.processor, getattr(model.module, "config", None)
    if processor is None and modality == "text":
        raise ResqueError(f"{model.name} has no tokenizer; give one with processor=")
    if by_word and not getattr(processor, "is_fast", False):
        raise ResqueError(f"the tokenizer of {model.name} does not tell which word a token is from")
    return Encoder(
        modality=modality,
        processor=processor,
        channels=1 if getattr(config, "num_channels", 3) == 1 else 3,
        max_length=_limit(model) if modality == "text" else getattr(processor, "n_samples", None),
        sampling_rate=getattr(processor, "sampling_rate", None),
        argument=getattr(model.module, "main_input_name", "input"),
        by_word=by_word,
    )


def _limit(model: Model) -> int | None:
    """Return how many tokens the model takes: the tokenizer's limit or the positions' number."""
    found = [getattr(model.processor, "model_max_length", None) or UNLIMITED]
    found.append(getattr(model.module.config, "max_position_embeddings", None) or UNLIMITED)
    for name, part in model.module.named_modules():
        if name.endswith("position_embeddings") and getattr(part, "padding_idx", None) is not None:
            found.append(int(found[1]) - int(part.padding_idx) - 1)  # RoBERTa counts from there
    limit = int(min(found))
    return limit if limit < UNLIMITED else None


def _pairs(texts: Sequence[Any]) -> bool:
    return isinstance(texts[0], tuple)


def _stack(arrays: Sequence[Any]) -> Tensor:
    shapes = {np.shape(array) for array in arrays}
    if len(shapes) > 1:
        raise ResqueError(
            f"samples of different shapes ({', '.join(map(str, sorted(shapes)[:3]))}) and no "
            "processor that makes them equal; give one with processor="
        )
    return torch.from_numpy(np.stack([np.asarray(array) for array in arrays]))


class Batches(IterableDataset[Batch]):
    """The batches of one process: every `world`-th batch from the `rank`-th on.

    Which rows make a batch does not depend on the number of processes, so that the model gives
    the same numbers to the last bit.
    """

    def __init__(
        self,
        data: Data,
        encoder: Encoder,
        batch_size: int,
        *,
        corruption: Corruption | None = None,
        need_labels: bool = False,
        skip_bad_rows: bool = False,
        rank: int = 0,
        world: int = 1,
        tokens_each: int | None = None,
    ) -> None:
        self.data = data
        self.encoder = encoder
        self.batch_size = batch_size
        self.corruption = corruption
        self.need_labels = need_labels
        self.skip_bad_rows = skip_bad_rows
        self.rank, self.world = rank, world
        self.tokens_each = tokens_each  # padded, mean over a batch's full number of rows, at most

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches; in a data-loader worker, that worker's part of them."""
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        part, parts = self.rank + self.world * number, self.world * workers
        size = self.batch_size * (WINDOW if self.encoder.modality == "text" else 1)
        few = self.data.n_rows is None or self.data.n_rows < WINDOWS_EACH * size * parts
        if self.encoder.modality == "text" and few:  # all read and sort, and share the batches
            rows = iterate(self.data)
        else:
            rows = iterate(self.data, size, part, parts)
            part, parts = 0, 1
        while window := list(itertools.islice(rows, size)):
            yield from self._window(window, part, parts)

    def _window(
        self, window: list[tuple[int, dict[str, Any]]], part: int, parts: int
    ) -> Iterator[Batch]:
        """Yield one of `parts` shares of a window: its batches; in share 0, what was left out."""
        rows, bad, empty, unlabelled = [], [], 0, 0
        for index, raw in window:
            try:
                row = self._read(index, raw)
            except BadRow as error:
                if not self.skip_bad_rows:
                    raise BadRow(f"{error} (--skip-bad-rows leaves such rows out)") from error
                bad.append(str(error))
                continue
            if self.need_labels and row.label is None:
                unlabelled += 1
            elif self.encoder.modality == "text" and not _length(row):
                empty += 1
            else:
                rows.append(row)
        if self.encoder.modality == "text" and rows:
            tokens = self.encoder.tokenize([row.inputs for row in rows])
            rows = [replace(row, inputs=x) for row, x in zip(rows, tokens, strict=True)]
            rows.sort(key=lambda row: len(row.inputs), reverse=True)  # later ones fit its memory
        if part == 0:
            yield Batch(np.zeros(0, np.int64), [], {}, 0, empty, unlabelled, tuple(bad))
        for some in itertools.islice(self._split(rows), part, None, parts):
            yield self._encode(some)

    def _split(self, rows: list[Row]) -> Iterator[list[Row]]:
        """Yield the rows of each batch."""
        start = 0
        while start < len(rows):
            size = self.batch_size
            if self.encoder.modality == "text" and self.tokens_each:
                most = size * self.tokens_each // len(rows[start].inputs)
                size = max(1, min(size, most))
            yield rows[start : start + size]
            start += size

    def _read(self, index: int, raw: dict[str, Any]) -> Row:
        row = read_row(self.data, index, raw, self.encoder.sampling_rate)
        if self.corruption is None:
            return row
        return Row(row.index, self.corruption(row.inputs, index), row.label)

    def _encode(self, rows: list[Row]) -> Batch:
        inputs, truncated = self.encoder([row.inputs for row in rows])
        indices = np.fromiter((row.index for row in rows), np.int64, len(rows))
        words = [row.inputs.words for row in rows] if self.encoder.by_word else None
        return Batch(indices, [row.label for row in rows], inputs, truncated, words=words)


def _length(row: Row) -> int:
    texts = row.inputs if isinstance(row.inputs, tuple) else (row.inputs,)
    return sum(map(len, texts))
