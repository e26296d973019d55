"""What is known of a study's cell before its retraining: the indices, and their rivals."""

from __future__ import annotations

import datetime
import json
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from resque.accuracies import accuracy
from resque.baselines import Representations, compare
from resque.batches import Batches, make_encoder
from resque.class_priors import ClassPrior
from resque.clustering import cluster, disagreement
from resque.data import Data
from resque.errors import ResqueError
from resque.indices import ARRAY_GROUPS, resque_dist_of_sums
from resque.layers import Layer, choose_layers
from resque.ledger import DONE, FAILED, SCHEMA_VERSION, Cell, Entry, LayerIndex
from resque.measurement import load_model, match_classes, open_for
from resque.options import Options
from resque.relabeling import relabel
from resque.representations import Vectors, collect_representations
from resque.separation import angle_loss, scatter_shift
from resque.shifts import Corruption, parse_corruption
from resque.sums import ClassSums, Floats, Label
from resque.task_classes import has_other_names
from resque.transfer_scores import transfer_scores
from resque.uncertainty import angles

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
        found = {
            **_resque(indices, main),
            **_separation(a, b, main),
            **_rivals(a, b, main, paired),
        }
        if b.labels:
            found["resque_task"] = _task(b, main, cell.seed)
        if after.gradient_norm is not None:
            found["gradient_norm"] = after.gradient_norm
        return Measurement(
            after.data.columns.modality,
            after.data.columns.label,
            indices,
            {name: float(value) for name, value in found.items() if np.isfinite(value)},
        )

    def _model(self, name: str) -> Model:
        if name not in self._models:
            self._models = {name: load_model(name, Options(device=self._device))}
            self._passes.clear()
        return self._models[name]

    def _pass(self, cell: Cell, layers: Sequence[Layer]) -> _Pass:
        """Run the model over the shifted data of a cell."""
        what = [cell.shift, cell.seed, cell.measurement, cell.options.get("label_column")]
        key = json.dumps(what)
        if key in self._passes:
            self._passes.move_to_end(key)
            return self._passes[key]
        use = _options(cell)
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


def _options(cell: Cell) -> Options:
    given = {k: v for k, v in cell.measurement.items() if k in ("max_samples", "batch_size")}
    columns = ("label_column", "input_columns")
    given |= {k: v for k, v in cell.options.items() if k in columns}
    return Options(seed=cell.seed, progress=False, **given)


def change_labels(rows: Any, label: str, cell: Cell) -> tuple[Any, NDArray[np.int64]]:
    """Leave out, merge or rename classes as a cell says.

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
        some = ClassPrior(cell.class_prior, cell.seed).keep(_codes(values))
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


def compare_layers(
    a: Vectors, b: Vectors, names: Sequence[str], *, paired: bool
) -> tuple[LayerIndex, ...]:
    """Return RESQUE_dist of each layer with the data's and with predicted labels.

    Args:
        a: of the original data.
        b: of the shifted data.
        names: layers from the first to the classifier's input, which also gets the index with
            class probabilities for labels.
        paired: both are of the same rows.
    """
    found = []
    for i, name in enumerate(names):
        depth = i / max(len(names) - 1, 1)
        for kind, labels in _labels_of(a, b).items():
            sums = [_sums(x, name, y) for x, y in zip((a, b), labels, strict=True)]
            if not set(sums[0].labels) & set(sums[1].labels):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of classes left out: the ledger is no place
                score = resque_dist_of_sums(*sums, paired=paired and kind == "data")
            found.append(
                LayerIndex(
                    name,
                    depth,
                    kind,
                    score.value,
                    score.interval if np.isfinite(score.interval).all() else None,
                    score.noise_floor if np.isfinite(score.noise_floor) else None,
                    score.debiased if np.isfinite(score.debiased) else None,
                )
            )
    if a.logits is not None and b.logits is not None:
        from scipy.special import softmax

        (x, p), (y, q) = ((v.vectors[names[-1]], softmax(v.logits, axis=1)) for v in (a, b))
        value = soft_resque_dist(x, p, y, q)
        found.append(LayerIndex(names[-1], 1.0, "soft", value, None, None, None))
    return tuple(found)


def _labels_of(a: Vectors, b: Vectors) -> dict[str, tuple[list[Label], list[Label]]]:
    kinds = {}
    if a.labels and b.labels:
        kinds["data"] = a.labels, b.labels
    if a.logits is not None and b.logits is not None:
        predicted = [[int(i) for i in x.logits.argmax(axis=1)] for x in (a, b)]  # type: ignore[union-attr]
        kinds["predicted"] = (list(predicted[0]), list(predicted[1]))
    return kinds


def _sums(vectors: Vectors, layer: str, labels: list[Label]) -> ClassSums:
    sums = ClassSums(ARRAY_GROUPS)
    sums.add(vectors.vectors[layer], labels, vectors.indices)
    return sums


def soft_resque_dist(
    original: NDArray[Any],
    original_probabilities: Floats,
    shifted: NDArray[Any],
    shifted_probabilities: Floats,
) -> float:
    """RESQUE_dist with class probabilities in place of labels.

    Each sample adds its vector to the sum of every class, weighted by its probability. With
    one-hot probabilities it is RESQUE_dist; predicted labels collapse where all predictions fall
    on few classes, and probabilities do so less.

    Args:
        original: (N, D) representations.
        original_probabilities: (N, K), rows that add up to 1.
        shifted: (M, D) representations.
        shifted_probabilities: (M, K).

    Returns:
        The mean over the classes of the angle between the weighted sums, / π, in [0, 1]; NaN
        where no class has a sum on both sides.
    """
    a, b = (
        probabilities.T.astype(np.float64) @ x.astype(np.float64)
        for x, probabilities in (
            (original, original_probabilities),
            (shifted, shifted_probabilities),
        )
    )
    some = a.any(axis=1) & b.any(axis=1)
    return float(angles(a[some], b[some]).mean() / np.pi) if some.any() else float("nan")


def _resque(indices: Sequence[LayerIndex], main: str) -> dict[str, float]:
    """Return the predictors that are RESQUE in one of its variants."""
    at = {(x.layer, x.labels): x for x in indices}
    found = {}
    for kind, name in (
        ("data", "resque_dist"),
        ("predicted", "resque_dist_predicted"),
        ("soft", "resque_dist_soft"),
    ):
        if (main, kind) in at:
            found[name] = at[main, kind].value
    labelled = at.get((main, "data"))
    if labelled is not None and labelled.debiased is not None:
        found["resque_dist_debiased"] = labelled.debiased
    layers = [x.value for x in indices if x.labels == "data"]
    if len(layers) > 1:
        found["resque_dist_layers"] = float(np.mean(layers))
    return found


def _separation(a: Vectors, b: Vectors, main: str) -> dict[str, float]:
    kinds, found = _labels_of(a, b), {}
    for name, kind, score in (
        ("resque_scatter", "data", scatter_shift),
        ("resque_angle_loss", "predicted", angle_loss),
    ):
        if kind in kinds:
            found[name] = score(a.vectors[main], kinds[kind][0], b.vectors[main], kinds[kind][1])
    return found


def _rivals(a: Vectors, b: Vectors, main: str, paired: bool) -> dict[str, float]:
    sides = [
        Representations(x.vectors, main, x.logits, x.targets if x.labels else None) for x in (a, b)
    ]
    found = compare(sides[0], sides[1], paired=paired)
    if b.labels and (b.targets < 0).all():  # a new task: these scores are of its own classes
        found |= transfer_scores(b.vectors[main], b.labels, b.logits)
    for name, side in (("accuracy", b), ("original_accuracy", a)):
        known = side.targets >= 0
        if side.logits is not None and known.any():
            found[name] = accuracy(side.logits[known], side.targets[known])
    if b.labels:
        found["classes"] = float(len(set(b.labels)))
    return found


def _codes(labels: Sequence[Label]) -> NDArray[np.int64]:
    return np.asarray(np.unique([str(x) for x in labels], return_inverse=True)[1], np.int64)


def _task(vectors: Vectors, main: str, seed: int) -> float:
    """Return RESQUE_task from the class centroids, without its interval."""
    y = _codes(vectors.labels)
    clusters, _ = cluster(vectors.vectors[main], y, "centroids", 1, seed)
    return disagreement(y, clusters)


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
