"""Runs a study's cell through its model before its retraining; cells share models and passes."""

from __future__ import annotations

import datetime
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from resque.batches import Batches, make_encoder
from resque.class_priors import ClassPrior
from resque.data import Data
from resque.errors import ResqueError
from resque.layers import Layer, choose_layers
from resque.ledger import DONE, FAILED, SCHEMA_VERSION, Cell, Entry, LayerIndex
from resque.measurement import load_model, match_classes, open_for
from resque.options import Options
from resque.relabeling import relabel
from resque.representations import Vectors, collect_representations
from resque.rows import is_missing
from resque.shifts import Corruption, parse_corruption
from resque.study_predictors import codes_of, compare_layers, compute_predictors
from resque.sums import Ints
from resque.task_classes import has_other_names

if TYPE_CHECKING:
    from resque.models import Model
    from resque.records import CostRecord

GRADIENT_ROWS = 64  # of the batch whose gradient is measured
KEPT_PASSES = 6  # original and shifted data of cells that differ in strategy or options alone


@dataclass(frozen=True)
class Measurement:
    """What was measured before a retraining.

    Attributes:
        modality: "image", "text" or "audio".
        label_column: of the shifted data, or None.
        indices: RESQUE_dist by layer and kind of labels.
        predictors: by name, see `resque.predictors`.
    """

    modality: str
    label_column: str | None
    indices: tuple[LayerIndex, ...]
    predictors: dict[str, float]


@dataclass(frozen=True)
class _Pass:
    data: Data
    vectors: Vectors
    gradient_norm: float | None


class Measurer:
    """Measures cells; models and passes that several cells share are kept."""

    def __init__(self, device: str = "auto") -> None:
        self._device = device
        self._models: dict[str, Model] = {}
        self._passes: OrderedDict[str, _Pass] = OrderedDict()

    def representations(self, cell: Cell) -> tuple[Vectors, Vectors, list[str]]:
        """Return those of the original and of the shifted data, and the names of the layers.

        The last layer is the classifier's input.
        """
        before, after, names = self._sides(cell)
        return before.vectors, after.vectors, names

    def _sides(self, cell: Cell) -> tuple[_Pass, _Pass, list[str]]:
        model = self._model(cell.model)
        (main,) = choose_layers(model)  # the classifier's input
        asked = choose_layers(model, cell.measurement.get("layers"))
        layers = [*(layer for layer in asked if layer.name != main.name), main]
        before, after = (self._pass(x, layers) for x in (_without_shift(cell), cell))
        return before, after, [layer.name for layer in layers]

    def measure(self, cell: Cell) -> Measurement:
        """Run the model over the original and the shifted data, and compare them.

        Raises:
            ValueError: where model, data or layer is not as expected; the text says how.
        """
        before, after, names = self._sides(cell)
        a, b, main = before.vectors, after.vectors, names[-1]
        paired = cell.dataset == cell.original and not cell.class_prior and not cell.classes
        indices = compare_layers(a, b, names, paired=paired)
        found = compute_predictors(a, b, indices, main, paired=paired, seed=cell.seed)
        norm = after.gradient_norm
        if norm is not None and np.isfinite(norm):
            found["gradient_norm"] = norm
        columns = after.data.columns
        return Measurement(columns.modality, columns.label, indices, found)

    def _model(self, name: str) -> Model:
        if name not in self._models:
            self._models = {name: load_model(name, Options(device=self._device))}
            self._passes.clear()
        return self._models[name]

    def _pass(self, cell: Cell, layers: Sequence[Layer]) -> _Pass:
        """Run the model over the shifted data of a cell."""
        key = json.dumps([cell.shift, cell.seed, cell.measurement, _columns_of(cell)])
        if key in self._passes:
            self._passes.move_to_end(key)
            return self._passes[key]
        use = options_of(cell)
        model = self._model(cell.model)
        data = open_for(model, cell.dataset, use)
        if cell.class_prior or cell.classes:
            data = _change_labels(data, cell)
        noise = parse_corruption(cell.corruption, cell.seed) if cell.corruption else None
        classes = match_classes(data, model, None)
        if has_other_names(model, data.columns.label_names):  # as retraining sees it: a new task
            classes = replace(classes, how="none", ids={})
        vectors = collect_representations(
            model, data, layers, classes, corruption=noise, settings=use.settings
        )
        vectors = replace(vectors, labels=[classes.key(x) for x in vectors.labels])
        norm = None
        if vectors.labels and cell.is_shift:
            norm = gradient_norm_of_batch(model, data, classes, noise)
        self._passes[key] = _Pass(data, vectors, norm)
        while len(self._passes) > KEPT_PASSES:
            self._passes.popitem(last=False)
        return self._passes[key]


def make_entry(
    cell: Cell,
    study: str,
    measured: Measurement | None,
    record: CostRecord | None,
    seconds: float,
    problem: str | None = None,
) -> Entry:
    """Return the line of a ledger that a cell becomes.

    Args:
        cell: what was done.
        study: name of the study.
        measured: before the retraining; None where that failed.
        record: what the retraining cost; None where it failed.
        seconds: of the measurement.
        problem: why it failed.
    """
    predictors = dict(measured.predictors) if measured else {}
    if record:
        predictors["n_train"] = float(record.data.rows)
        predictors["n_parameters"] = float(record.model.parameters)
    now = datetime.datetime.now(datetime.timezone.utc)
    return Entry(
        schema_version=SCHEMA_VERSION,
        key=cell.key,
        study=study,
        cell=cell,
        status=FAILED if problem else DONE,
        error=problem,
        modality=measured.modality if measured else None,
        indices=measured.indices if measured else (),
        predictors=predictors,
        record=record,
        seconds=seconds,
        ended=now.isoformat(timespec="seconds"),
    )


def _without_shift(cell: Cell) -> Cell:
    """Return the cell whose shifted data is the original data as it is."""
    options = cell.options if cell.dataset == cell.original else {}
    return replace(
        cell,
        dataset=cell.original,
        corruption=None,
        class_prior=0.0,
        classes=None,
        options=options,
    )


def options_of(cell: Cell) -> Options:
    """Return how the shifted data of a cell are read and passed over."""
    given = {k: v for k, v in cell.measurement.items() if k in ("max_samples", "batch_size")}
    return Options(seed=cell.seed, progress=False, **given, **_columns_of(cell))


def _columns_of(cell: Cell) -> dict[str, Any]:
    return {k: v for k, v in cell.options.items() if k in ("label_column", "input_columns")}


def change_labels(rows: Any, label: str, cell: Cell) -> tuple[Any, Ints]:
    """Leave out, merge or rename classes as a cell says; rows without a label are left out.

    Args:
        rows: a `datasets.Dataset`.
        label: its label column.
        cell: with a class prior or classes.

    Returns:
        The changed rows, and (n,) their positions among the given ones.
    """
    kept = np.arange(len(rows))
    if cell.classes:
        rows, kept = relabel(rows, label, cell.classes)
    if cell.class_prior:
        values = rows.select_columns([label])[:][label]
        labelled = np.array([i for i, x in enumerate(values) if not is_missing(x)], np.int64)
        codes = codes_of([values[i] for i in labelled])
        some = labelled[ClassPrior(cell.class_prior, cell.seed).keep(codes)]
        rows, kept = rows.select(some), kept[some]
    return rows, kept


def _change_labels(data: Data, cell: Cell) -> Data:
    label = data.columns.label
    if data.indices is None or label is None:
        raise ResqueError(
            f"class_prior and classes need labelled rows that are no stream; {data.spec} has none"
        )
    rows, kept = change_labels(data.rows, label, cell)
    names = getattr(rows.features[label], "names", None)
    columns = replace(data.columns, label_names=tuple(names) if names else None)
    return replace(data, rows=rows, columns=columns, indices=data.indices[kept], n_rows=len(kept))


def gradient_norm_of_batch(
    model: Model, data: Data, classes: Any, corruption: Corruption | None
) -> float | None:
    """Return the norm of the loss's gradient on one batch of labelled rows.

    The model is as in inference: no dropout, running statistics.

    Returns:
        ‖∇loss‖₂ over all weights; None where the model does not know the data's classes.
    """
    encoder = make_encoder(model, data.columns.modality)
    batches = Batches(data, encoder, GRADIENT_ROWS, corruption=corruption, need_labels=True)
    batch = next((x for x in batches if x.inputs), None)
    if batch is None:
        return None
    ids = [None if x is None else classes.model_id(x) for x in batch.labels]
    rows = [i for i, found in enumerate(ids) if found is not None]
    if not rows:
        return None
    targets = torch.tensor([ids[i] for i in rows], device=model.device)
    inputs = {name: x.to(model.device) for name, x in batch.inputs.items()}
    with torch.enable_grad():
        logits = model.module(**inputs).logits.float()[rows]
        if logits.shape[1] <= int(targets.max()):
            return None
        loss = torch.nn.functional.cross_entropy(logits, targets)
        trained = [x for x in model.module.parameters() if x.requires_grad]
        found: Any = torch.autograd.grad(loss, trained, allow_unused=True)
    norms = [x.float().norm() for x in found if x is not None]  # None: weights it does not use
    return float(torch.stack(norms).norm())
