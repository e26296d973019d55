"""One data set as a model sees it: opened, its labels matched with classes, and measured."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from resque.errors import ResqueError
from resque.fingerprint_header import Header, Source
from resque.fingerprints import Fingerprint
from resque.labels import ClassMap, map_classes
from resque.options import Options
from resque.shifts import Corruption

if TYPE_CHECKING:
    from resque.data import Data
    from resque.layers import Layer
    from resque.models import Model
    from resque.representations import Times

log = logging.getLogger(__name__)
LABEL_USE = {"data": "needed", "auto": "wanted", "predicted": "optional"}


@dataclass(frozen=True)
class Measured:
    """A data set after a pass.

    Attributes:
        fingerprint: its class sums.
        data: the data set.
        classes: how its labels became classes.
        times: seconds of the pass.
    """

    fingerprint: Fingerprint
    data: Data
    classes: ClassMap
    times: Times


def load_model(model: Any, use: Options) -> Model:
    """Load a model as the options say."""
    from resque import models

    return models.load_model(
        model,
        processor=use.processor,
        device=use.device,
        dtype=cast(Any, use.dtype),
        trust_remote_code=use.trust_remote_code,
        token=use.token,
    )


def open_for(
    model: Model,
    dataset: Any,
    use: Options,
    shard: tuple[int, int] = (1, 1),
    any_target: bool = False,
) -> Data:
    """Open a data set for a model as the options say."""
    from resque.data import load_data

    return load_data(
        dataset,
        modality=model.modality,
        input_columns=use.input_columns,
        label_column=use.label_column,
        labels=cast(Any, LABEL_USE[use.labels]),
        tensor_names=ready_columns(model.modality, getattr(model.module, "main_input_name", "")),
        max_samples=use.max_samples,
        streaming=use.streaming,
        seed=use.seed,
        shard=shard,
        token=use.token,
        any_target=any_target,
    )


def ready_columns(modality: str, main_input: str) -> tuple[str, ...]:
    """Return the names of columns that pass to a model as they are, where they are arrays."""
    if modality == "text":
        return ("input_ids", "attention_mask", "token_type_ids")
    return () if modality == "tensor" else (main_input,)


def choose_labels(labels: str, model: Model, data: Sequence[Data]) -> tuple[str, str]:
    """Return "data" or "predicted" for all of the data sets, and a line that says why.

    Args:
        labels: "data", "predicted" or "auto".
        model: the model.
        data: the data sets that are compared.

    Raises:
        ResqueError: where labels must be predicted and the model has no classifier head.
    """
    without = [str(x.spec) for x in data if x.columns.label is None]
    why = "as asked"
    if labels == "auto" and without:
        labels, why = "predicted", f"{' and '.join(without)}: no labels"
    elif labels == "auto" and _apart(data):
        labels, why = "predicted", "the data sets have no class in common"
    elif labels == "auto":
        labels, why = "data", "chosen automatically"
    if labels == "predicted" and model.n_classes is None:
        raise ResqueError(
            f"{' and '.join(without) or 'the data'}: no labels to go by, and {model.name} has no "
            "classifier head to predict any. Name a label column with --label-column, or take a "
            "model with a head"
        )
    return labels, f"labels: {labels} ({why})"


def _apart(data: Sequence[Data]) -> bool:
    """Whether two data sets' class names are known and have nothing in common."""
    names = [x.columns.label_names for x in data]
    if len(names) < 2 or None in names:
        return False
    a, b = (set(x or ()) for x in names)
    return map_classes(sorted(a), False, sorted(b), len(b)).how != "name" and len(a) != len(b)


def match_classes(data: Data, model: Model, reference: tuple[str, ...] | None) -> ClassMap:
    """Match a data set's classes with the model's.

    Args:
        data: the data set.
        model: the model.
        reference: names of the original data's classes, for models that name none.
    """
    columns, n = data.columns, model.n_classes
    names = model.class_names
    if names is None and reference and n in (None, len(reference)):
        names = reference
    plain = n is not None and not hasattr(model.module, "config")
    if plain and columns.label is not None and not columns.label_names:
        n = None  # a plain module's last linear layer may be no classifier
    return map_classes(columns.label_names, _has_text_labels(data), names, n)


def _has_text_labels(data: Data) -> bool:
    feature = (data.rows.features or {}).get(data.columns.label)
    return "string" in str(getattr(feature, "dtype", "")) and not data.columns.label_names


def measure(
    model: Model,
    data: Data,
    layers: Sequence[Layer],
    classes: ClassMap,
    labels: str,
    corruption: Corruption | None,
    use: Options,
) -> Measured:
    """Run the model once over a data set and make its fingerprint.

    Args:
        model: the model.
        data: the data set.
        layers: which representations.
        classes: how the data's labels become classes.
        labels: "data" or "predicted".
        corruption: applied to each sample.
        use: the options.
    """
    from resque.representations import sum_representations

    part = sum_representations(
        model,
        data,
        layers,
        classes,
        labels=labels,
        corruption=corruption,
        groups=use.groups,
        clip_norm=use.clip_norm,
        settings=use.settings,
    )
    for reason in part.bad[:5]:
        log.warning(reason)
    header = Header(
        model=model.name,
        model_revision=model.revision,
        weights=model.weights,
        layers=tuple(layer.name for layer in layers),
        pooling=tuple(layer.pooling for layer in layers),
        preprocessing=model.preprocessing,
        dtype=model.dtype,
        labels=labels,
        corruption=str(corruption) if corruption else None,
        class_names=_class_names(classes),
        sources=(_source(data, use),),
        counts=part.counts,
        versions=library_versions(),
        clip_norm=use.clip_norm,
    )
    return Measured(Fingerprint(header, part.sums), data, classes, part.times)


def _source(data: Data, use: Options) -> Source:
    return Source(
        dataset=data.spec.path,
        revision=data.spec.revision,
        config=data.spec.config,
        split=data.spec.split,
        shard=f"{data.part[0]}/{data.part[1]}",
        max_samples=use.max_samples,
        seed=use.seed,
    )


def _class_names(classes: ClassMap) -> tuple[str, ...] | None:
    names = tuple(key for key in classes.keys if isinstance(key, str))
    return names if names and len(names) == len(classes.keys) else None


def library_versions() -> dict[str, str]:
    """Return the versions of resque and of the libraries that numbers depend on."""
    from resque import __version__

    names = ("torch", "transformers", "datasets", "numpy", "scikit-learn")
    return {"resque": __version__} | {name: importlib.metadata.version(name) for name in names}
