"""Runs a model over a data set once: representations, predictions, accuracy and loss together."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resque.batches import TOKENS_EACH, Batch, Batches, make_encoder
from resque.data import Data
from resque.errors import ResqueError, UsageError
from resque.fingerprint_header import GROUPS, Counts
from resque.labels import ClassMap
from resque.layers import Layer, Taps
from resque.memory import give_back
from resque.models import Model
from resque.processes import fit_memory, on_all, rank_and_world
from resque.shifts import Corruption, check_fits
from resque.sums import ClassSums, Ints, Label, clip
from resque.words import average_words, labelled_words

GIVE_BACK_EVERY = 8  # batches on a CPU
WORKERS_FROM = 2_000  # rows below which starting data-loader workers costs more than they save


@dataclass(frozen=True)
class Settings:
    """How a pass runs; none of it changes the result.

    Attributes:
        batch_size: samples at once; "auto" starts at 256 and halves where memory does not do.
        workers: data-loader processes; None for 0 for text, else by the number of cores.
        skip_bad_rows: leave out and count rows that cannot be read.
        progress: whether a bar is shown (on terminals only).
    """

    batch_size: int | str = 32
    workers: int | None = None
    skip_bad_rows: bool = False
    progress: bool = True

    def __post_init__(self) -> None:
        if self.batch_size != "auto" and not (
            isinstance(self.batch_size, int) and self.batch_size > 0
        ):
            raise UsageError(f"batch_size is {self.batch_size!r}; expected 1 or more, or 'auto'")
        if self.workers is not None and self.workers < 0:
            raise UsageError(f"workers is {self.workers}; expected 0 or more")


@dataclass
class Times:
    """Seconds of a pass: in all, and of it waiting for data."""

    total: float = 0.0
    waiting: float = 0.0


@dataclass
class Part:
    """What one process saw.

    Attributes:
        sums: class sums by layer.
        counts: what happened to the samples.
        bad: why rows were left out that cannot be read.
        times: seconds; of the slowest process where several parts were added.
    """

    sums: dict[str, ClassSums] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    bad: tuple[str, ...] = ()
    times: Times = field(default_factory=Times)


@dataclass
class Vectors:
    """Each sample's vectors, for what needs more than sums.

    Attributes:
        indices: (N,) rows, ascending.
        vectors: (N, D) float32 by layer.
        labels: N classes; empty where the data has no labels.
        targets: (N,) the model's ids of these classes, -1 where it has none; empty likewise.
        logits: (N, C) float32, or None where the model has no classifier head.
        counts: what happened to the samples.
        times: seconds.
    """

    indices: Ints
    vectors: dict[str, NDArray[np.float32]]
    labels: list[Label]
    targets: Ints
    logits: NDArray[np.float32] | None
    counts: Counts
    times: Times


@dataclass(frozen=True)
class Output:
    """A batch that the model ran on: (n, D) vectors by layer, (n, C) logits or None, on the CPU."""

    batch: Batch
    vectors: dict[str, NDArray[np.float32]]
    logits: Tensor | None


def sum_representations(
    model: Model,
    data: Data,
    layers: Sequence[Layer],
    classes: ClassMap,
    *,
    labels: str = "data",
    corruption: Corruption | None = None,
    groups: int = GROUPS,
    clip_norm: float | None = None,
    settings: Settings | None = None,
) -> Part:
    """Run the model once over the data and sum the representations of each class.

    Under `accelerate launch`, each process takes its part of the rows and all get the whole.

    Args:
        model: the model.
        data: the data.
        layers: which representations.
        classes: how the data's labels become classes.
        labels: "data", or "predicted" for the model's predictions in place of labels.
        corruption: applied to each sample before the processor.
        groups: random groups a class.
        clip_norm: longer vectors are shortened to this Euclidean norm; None for no limit.
        settings: how it runs.

    Raises:
        ResqueError: where a row cannot be read, memory does not do, or no sample is left.
        ValueError: where representations are NaN or infinite.
    """
    settings = settings or Settings()

    def run(batch_size: int) -> Part:
        part = Part({layer.name: ClassSums(groups) for layer in layers})
        use = replace(settings, batch_size=batch_size)
        for out in forward(model, data, layers, corruption, labels == "data", use, part.times):
            part.counts += count(out, classes)
            part.bad += out.batch.bad
            keys = _keys(out, classes, labels)
            for name, vectors in out.vectors.items():
                kept = vectors if clip_norm is None else clip(vectors, clip_norm)
                part.sums[name].add(kept, keys, out.batch.indices)
        return part

    total = _add_parts(on_all(lambda: fit_memory(run, settings.batch_size)))
    check_any(total.counts, data)
    return total


def collect_representations(
    model: Model,
    data: Data,
    layers: Sequence[Layer],
    classes: ClassMap,
    *,
    corruption: Corruption | None = None,
    settings: Settings | None = None,
) -> Vectors:
    """Run the model once over the data and keep each sample's vectors.

    Samples without a label are left out, except where the data has no labels at all.

    Args:
        model: the model.
        data: the data.
        layers: which representations.
        classes: how the data's labels become classes.
        corruption: applied to each sample before the processor.
        settings: how it runs.

    Raises:
        ResqueError: where the vectors would not fit into memory, or no sample is left.
    """
    settings = settings or Settings()

    def run(batch_size: int) -> Vectors:
        counts, times = Counts(), Times()
        found: list[Output] = []
        use = replace(settings, batch_size=batch_size)
        need_labels = data.columns.label is not None
        for out in forward(model, data, layers, corruption, need_labels, use, times):
            counts += count(out, classes)
            if out.vectors:
                if not found:
                    check_memory(data.n_rows, sum(x.shape[1] for x in out.vectors.values()))
                found.append(replace(out, batch=replace(out.batch, inputs={})))
        return _stack(found, layers, classes, counts, times)

    total = _join(on_all(lambda: fit_memory(run, settings.batch_size)))
    check_any(total.counts, data)
    return total


def _stack(
    found: list[Output], layers: Sequence[Layer], classes: ClassMap, counts: Counts, times: Times
) -> Vectors:
    """Put the batches of one process together."""
    vectors = {}
    for layer in layers:
        parts = [out.vectors[layer.name] for out in found]
        if len({part.shape[1] for part in parts}) > 1:
            raise ResqueError("samples of different lengths cannot be flattened; use averaged")
        vectors[layer.name] = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
    labels = [label for out in found for label in out.batch.labels if label is not None]
    ids = [classes.model_id(label) for label in labels]
    logits = [out.logits.numpy() for out in found if out.logits is not None]
    return Vectors(
        np.concatenate([np.zeros(0, np.int64), *(out.batch.indices for out in found)]),
        vectors,
        [classes.key(label) for label in labels],
        np.array([-1 if i is None else i for i in ids], np.int64),
        np.concatenate(logits) if logits else None,
        counts,
        times,
    )


def check_memory(n_rows: int | None, dimension: int) -> None:
    """Refuse to keep more vectors than three quarters of the free memory hold.

    Raises:
        ResqueError: where they do not fit.
    """
    import psutil

    needed = 4 * (n_rows or 0) * dimension
    free = psutil.virtual_memory().available
    if needed > 0.75 * free:
        raise ResqueError(
            f"RESQUE_task keeps {n_rows} vectors of {dimension} dimensions: "
            f"{needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free. Take fewer samples with "
            "--max-samples (max_samples=)"
        )


def forward(
    model: Model,
    data: Data,
    layers: Sequence[Layer],
    corruption: Corruption | None,
    need_labels: bool,
    settings: Settings,
    times: Times,
) -> Iterator[Output]:
    """Yield each batch with its vectors and logits, on the CPU."""
    from tqdm.auto import tqdm

    check_fits(corruption, data.columns.modality)
    began, ran = time.perf_counter(), 0
    rank, world = rank_and_world()
    batches = iter(_loader(model, data, corruption, need_labels, settings, rank, world))
    total = None if data.n_rows is None else -(-(data.n_rows - rank) // world)
    hide = None if settings.progress and rank == 0 else True  # None: shown on terminals only
    with Taps(model, layers) as taps, tqdm(total=total, disable=hide, unit="sample") as bar:
        while True:
            before = time.perf_counter()
            batch = next(batches, None)
            times.waiting += time.perf_counter() - before
            if batch is None:
                break
            yield _run(model, taps, batch)
            ran += 1
            if model.device.type == "cpu" and ran % GIVE_BACK_EVERY == 0:
                give_back()  # batches of other lengths do not fit the gaps that are left
            bar.update(len(batch.labels) + batch.empty + batch.unlabelled + len(batch.bad))
    times.total += time.perf_counter() - began


def _loader(
    model: Model,
    data: Data,
    corruption: Corruption | None,
    need_labels: bool,
    settings: Settings,
    rank: int,
    world: int,
) -> Any:
    from torch.utils.data import DataLoader

    encoder = make_encoder(model, data.columns.modality, data.columns.target == "words")
    batches = Batches(
        data,
        encoder,
        int(settings.batch_size),
        corruption=corruption,
        need_labels=need_labels,
        skip_bad_rows=settings.skip_bad_rows,
        rank=rank,
        world=world,
        tokens_each=TOKENS_EACH if model.device.type == "cpu" else None,
    )
    workers = settings.workers
    if workers is None:
        small = data.n_rows is None or data.n_rows < WORKERS_FROM
        workers = 0 if small or encoder.modality == "text" else min(4, (os.cpu_count() or 1) // 2)
    return DataLoader(batches, batch_size=None, num_workers=0 if data.n_rows is None else workers)


def _run(model: Model, taps: Taps, batch: Batch) -> Output:
    if not batch.inputs:
        return Output(batch, {}, None)
    with model.inference():
        inputs = {name: tensor.to(model.device) for name, tensor in batch.inputs.items()}
        taps.expect(inputs.get("attention_mask"))
        if hasattr(model.module, "config"):
            output = model.module(**inputs)
        else:
            output = model.module(*inputs.values())
        if batch.words is not None:
            return _run_words(model, taps, batch)
        vectors = {name: x.cpu().numpy() for name, x in taps.take().items()}
        logits = getattr(output, "logits", output if isinstance(output, Tensor) else None)
        logits = None if logits is None or logits.ndim != 2 else logits.float().cpu()
    return Output(batch, vectors, logits)


def _run_words(model: Model, taps: Taps, batch: Batch) -> Output:
    """Return a batch of the words that have a label, each with an index of its own."""
    left = getattr(model.processor, "padding_side", "right") == "left"
    found = {name: average_words(x, batch.words or [], left) for name, x in taps.take().items()}
    pairs = next(iter(found.values()))[1]
    kept, indices, labels = labelled_words(pairs, batch.indices, batch.labels)
    vectors = {name: x[kept].cpu().numpy() for name, (x, _) in found.items()}
    return Output(replace(batch, indices=indices, labels=labels), vectors, None)


def count(out: Output, classes: ClassMap) -> Counts:
    """Return what happened to the samples of a batch."""
    batch = out.batch
    counts = Counts(
        samples=len(batch.labels),
        unlabelled=batch.unlabelled,
        bad=len(batch.bad),
        empty=batch.empty,
        truncated=batch.truncated,
    )
    if out.logits is None or out.logits.shape[1] != len(classes.keys):
        return counts
    ids = [None if label is None else classes.model_id(label) for label in batch.labels]
    rows = [i for i, target in enumerate(ids) if target is not None]
    if not rows:
        return counts
    logits, targets = out.logits[rows], torch.tensor([ids[i] for i in rows])
    loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    correct = int((logits.argmax(dim=1) == targets).sum())
    return replace(counts, scored=len(rows), correct=correct, loss_sum=float(loss))


def _keys(out: Output, classes: ClassMap, labels: str) -> list[Label]:
    if labels != "predicted":
        return [classes.key(label) for label in out.batch.labels if label is not None]
    if not out.vectors:
        return []
    if out.logits is None or out.logits.shape[1] != len(classes.keys):
        raise ResqueError("the model predicts no classes, so that labels must come from the data")
    return [classes.keys[i] for i in out.logits.argmax(dim=1).tolist()]


def _add_parts(parts: list[Part]) -> Part:
    total = parts[0]
    for part in parts[1:]:
        total = Part(
            {name: total.sums[name] + part.sums[name] for name in total.sums},
            total.counts + part.counts,
            total.bad + part.bad,
            max(total.times, part.times, key=lambda times: times.total),
        )
    return total


def _join(parts: list[Vectors]) -> Vectors:
    """Put the parts of the processes together, in the rows' order."""
    parts = [part for part in parts if len(part.indices)] or parts[:1]
    indices = np.concatenate([part.indices for part in parts])
    order = np.argsort(indices, kind="stable")
    labels = [label for part in parts for label in part.labels]
    targets = np.concatenate([part.targets for part in parts])
    counts = parts[0].counts
    for part in parts[1:]:
        counts += part.counts
    logits = [part.logits for part in parts if part.logits is not None]
    return Vectors(
        indices[order],
        {
            name: np.concatenate([part.vectors[name] for part in parts])[order]
            for name in parts[0].vectors
        },
        [labels[i] for i in order] if labels else [],
        targets[order] if labels else targets,
        np.concatenate(logits)[order] if logits else None,
        counts,
        max((part.times for part in parts), key=lambda times: times.total),
    )


def check_any(counts: Counts, data: Data) -> None:
    """Raise ResqueError where a pass saw no sample."""
    if counts.samples:
        return
    raise ResqueError(
        f"no sample of {data.spec} is left: {counts.unlabelled} without a label, {counts.bad} "
        f"that cannot be read, {counts.empty} empty texts"
    )
