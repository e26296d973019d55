"""The two calls of most users: `fingerprint` of a data set, `estimate` of a shift or task."""

from __future__ import annotations

import datetime
import importlib.metadata
import logging
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from resque.errors import ResqueError, UsageError
from resque.fingerprints import FILE_NAME, Fingerprint, Header, Source
from resque.indices import check_task_options, resque_task
from resque.labels import ClassMap, map_classes
from resque.options import Options, flags_of, make_options
from resque.report import LayerResult, Report, Side
from resque.shifts import Corruption, parse_corruption

if TYPE_CHECKING:
    from resque.data import Data
    from resque.layers import Layer
    from resque.models import Model
    from resque.representations import Part

log = logging.getLogger(__name__)
TEXTUAL = "string"


def fingerprint(
    model: Any,
    dataset: Any,
    layers: Sequence[str | int] | str | int | None = None,
    *,
    corruption: Corruption | str | None = None,
    shard: str = "1/1",
    **options: Any,
) -> Fingerprint:
    """Make the fingerprint of a data set in one inference pass.

    Args:
        model: `ID_OR_FOLDER[@REVISION]`, or a loaded torch module.
        dataset: `ID_OR_FOLDER[@REVISION][:CONFIG][#SPLIT]`, or a `datasets` object.
        layers: None for the representation that enters the classifier head; else names,
            negative indices, or "all".
        corruption: "NAME:LEVEL", applied to each image.
        shard: "i/n": only the i-th part of n; the fingerprints of all parts add up.
        **options: see `Options`.

    Raises:
        ValueError: where model, data, layer or option is not as expected; the text says how.
        TypeError: where one is of another type than expected.
    """
    from resque.layers import choose_layers

    use = make_options(options)
    loaded = _load_model(model, use)
    chosen = choose_layers(loaded, layers, use.pooling)
    data = _load_data(dataset, loaded, use, _shard(shard))
    labels = _choose_labels(use.labels, loaded, [data])[0]
    classes = _classes(data, loaded, None)
    noise = _corruption(corruption, use)
    return _measure(loaded, data, chosen, classes, labels, noise, use)[0]


def estimate(
    model: Any,
    original: Any = None,
    shifted: Any = None,
    *,
    task: Any = None,
    corruption: Corruption | str | None = None,
    layers: Sequence[str | int] | str | int | None = None,
    init: str = "centroids",
    embedding: str = "averaged",
    n_init: int = 10,
    **options: Any,
) -> Report:
    """Measure how far a shift, or a new task, is from what the model knows.

    Args:
        model: `ID_OR_FOLDER[@REVISION]`, or a loaded torch module.
        original: the data that the model was made for: `ID_OR_FOLDER[@REVISION][:CONFIG]
            [#SPLIT]`, a `datasets` object, or its `Fingerprint` (or a folder or repository that
            holds one). None takes the fingerprint beside the model's weights.
        shifted: the new data. None with a corruption takes the corrupted original data.
        task: instead of both: the new task's labelled data.
        corruption: "NAME:LEVEL", applied to each image of the shifted data.
        layers: None for the representation that enters the classifier head; else names,
            negative indices, or "all".
        init: of RESQUE_task: "centroids" or "k-means++".
        embedding: of RESQUE_task: "averaged" or "flattened".
        n_init: of RESQUE_task: starts of k-means++.
        **options: see `Options`.

    Raises:
        ValueError: where model, data, layer or option is not as expected; the text says how.
        TypeError: where one is of another type than expected.
    """
    use = make_options(options)
    if task is not None and (original is not None or shifted is not None or corruption):
        raise UsageError("give either task=, or original= and shifted=")
    if task is None and shifted is None and not (corruption and original is not None):
        raise UsageError("give original= and shifted=, original= and corruption=, or task=")
    loaded = _load_model(model, use)
    if task is not None:
        return _estimate_task(loaded, task, layers, init, embedding, n_init, use)
    return _estimate_dist(loaded, original, shifted, _corruption(corruption, use), layers, use)


def _estimate_dist(
    loaded: Model, original: Any, shifted: Any, noise: Corruption | None, layers: Any, use: Options
) -> Report:
    from resque.layers import choose_layers

    known = _find_fingerprint(original, loaded, use)
    if known is not None:
        if shifted is None:
            raise UsageError("a corruption needs data: give shifted=, or the original data itself")
        if layers is None:
            layers = known.header.layers
        labels = "data" if known.header.labels == "data" else "predicted"
        use = replace(use, groups=known.sums[known.header.layers[0]].n_groups)
        chosen = choose_layers(loaded, layers, use.pooling)
        data = [_load_data(shifted, loaded, replace(use, labels=labels))]
        if labels == "data" and data[0].columns.label is None:
            raise ResqueError(
                f"{data[0].spec} has no labels, and the fingerprint of the original data goes by "
                "labels: make one with --labels predicted (labels='predicted')"
            )
        note = f"labels: {labels} (as in the fingerprint)"
    else:
        chosen = choose_layers(loaded, layers, use.pooling)
        wanted = [original] if shifted is None else [original, shifted]
        _check_label_column(wanted, use)
        data = [_load_data(x, loaded, use) for x in wanted]
        labels, note = _choose_labels(use.labels, loaded, data)
    reference = known.header.class_names if known else data[0].columns.label_names
    maps = [_classes(x, loaded, reference) for x in data]
    began = [*loaded.notes, *_layer_notes(chosen), note]
    paired = shifted is None and labels == "data"
    parts, sides = [], []
    if known is None:
        found, part = _measure(loaded, data[0], chosen, maps[0], labels, None, use)
        parts.append(part)
        sides.append(_side("original", data[0], found, maps[0]))
    else:
        found = known
        sides.append(_known_side(known))
    new, part = _measure(loaded, data[-1], chosen, maps[-1], labels, noise, use)
    parts.append(part)
    sides.append(_side("shifted", data[-1], new, maps[-1]))
    results = tuple(
        LayerResult(
            layer.name,
            layer.pooling,
            int(new.sums[layer.name].sums.shape[2]),
            layer.why,
            found.resque_dist(new, layer.name, paired=paired),
        )
        for layer in chosen
    )
    return _report(loaded, sides, results, parts, use, began, _command(loaded, sides, layers, use))


def _estimate_task(
    loaded: Model, task: Any, layers: Any, init: str, embedding: str, n_init: int, use: Options
) -> Report:
    from resque.layers import choose_layers
    from resque.representations import collect_representations

    check_task_options(init, embedding, n_init)  # before the pass, not after it
    chosen = choose_layers(loaded, layers, use.pooling)
    if len(chosen) > 1:
        raise UsageError("RESQUE_task keeps vectors of one layer; name one")
    layer = replace(chosen[0], pooling="flatten") if embedding == "flattened" else chosen[0]
    data = _load_data(task, loaded, replace(use, labels="data"))
    names = data.columns.label_names
    classes = ClassMap("none", {}, (), names)
    found = collect_representations(loaded, data, layer, classes, settings=use.settings)
    score = resque_task(
        found.vectors,
        found.labels,
        cast(Any, init),
        embedding=cast(Any, embedding),
        n_init=n_init,
        seed=use.seed,
    )
    result = LayerResult(layer.name, layer.pooling, found.vectors.shape[1], layer.why, score)
    note = "labels: the new task's own classes"
    side = Side("task", str(data.spec), data.spec.revision, None, "data", note, found.counts)
    notes = [*loaded.notes, *_layer_notes(chosen), _size_note(found.vectors)]
    extra = {"--init": init, "--embedding": embedding}
    command = _command(loaded, [side], layers, use, extra)
    return _report(loaded, [side], (result,), [found], use, notes, command)


def _size_note(vectors: Any) -> str:
    n, dim = vectors.shape
    size = vectors.nbytes / 1e6
    return f"RESQUE_task keeps {n} vectors of {dim} dimensions in memory: {size:.1f} MB"


def _load_model(model: Any, use: Options) -> Model:
    from resque.models import load_model

    return load_model(
        model,
        processor=use.processor,
        device=use.device,
        dtype=cast(Any, use.dtype),
        trust_remote_code=use.trust_remote_code,
        token=use.token,
    )


def _load_data(dataset: Any, loaded: Model, use: Options, shard: tuple[int, int] = (1, 1)) -> Data:
    from resque.data import load_data

    names: tuple[str, ...] = ()
    if loaded.modality != "tensor":
        names = (getattr(loaded.module, "main_input_name", ""),)
    if loaded.modality == "text":
        names = ("input_ids", "attention_mask", "token_type_ids")
    return load_data(
        dataset,
        modality=loaded.modality,
        input_columns=use.input_columns,
        label_column=use.label_column,
        labels=cast(Any, {"data": "needed", "auto": "wanted", "predicted": "optional"}[use.labels]),
        tensor_names=names,
        max_samples=use.max_samples,
        streaming=use.streaming,
        seed=use.seed,
        shard=shard,
        token=use.token,
    )


def _check_label_column(wanted: list[Any], use: Options) -> None:
    if use.labels == "predicted" and use.label_column:
        raise UsageError("--label-column has no use with --labels predicted: leave one of them out")


def _choose_labels(labels: str, loaded: Model, data: Sequence[Data]) -> tuple[str, str]:
    """Return "data" or "predicted", and a line that says why."""
    without = [str(x.spec) for x in data if x.columns.label is None]
    apart = _apart(data)
    if labels == "auto":
        labels = "predicted" if without or apart else "data"
        why = "chosen automatically"
        if without:
            why = f"{' and '.join(without)}: no labels"
        elif apart:
            why = "the data sets have no class in common"
    else:
        why = "as asked"
    if labels == "predicted" and loaded.n_classes is None:
        raise ResqueError(
            f"{' and '.join(without) or 'the data'}: no labels to go by, and {loaded.name} has no "
            "classifier head to predict any. Name a label column with --label-column, or take a "
            "model with a head"
        )
    return labels, f"labels: {labels} ({why})"


def _apart(data: Sequence[Data]) -> bool:
    """Whether the data sets' class names are known and have nothing in common."""
    names = [x.columns.label_names for x in data]
    if len(names) < 2 or None in names:
        return False
    a, b = (set(x or ()) for x in names)
    return map_classes(sorted(a), False, sorted(b), len(b)).how != "name" and len(a) != len(b)


def _classes(data: Data, loaded: Model, reference: tuple[str, ...] | None) -> ClassMap:
    """Match the data's classes with the model's, or without a head with the original data's."""
    columns, n = data.columns, loaded.n_classes
    names = loaded.class_names
    if names is None and reference and n in (None, len(reference)):
        names = reference
    text = bool(columns.label) and _is_text(data)
    if n is not None and not hasattr(loaded.module, "config") and not columns.label_names:
        n = n if columns.label is None else None  # a last linear layer may be no classifier
    return map_classes(columns.label_names, text, names, n)


def _is_text(data: Data) -> bool:
    features = data.rows.features or {}
    feature = features.get(data.columns.label)
    return TEXTUAL in str(getattr(feature, "dtype", "")) and not data.columns.label_names


def _measure(
    loaded: Model,
    data: Data,
    chosen: Sequence[Layer],
    classes: ClassMap,
    labels: str,
    noise: Corruption | None,
    use: Options,
) -> tuple[Fingerprint, Part]:
    from resque.representations import sum_representations

    part = sum_representations(
        loaded,
        data,
        chosen,
        classes,
        labels=labels,
        corruption=noise,
        groups=use.groups,
        settings=use.settings,
    )
    for reason in part.bad[:5]:
        log.warning(reason)
    spec = data.spec
    source = Source(
        dataset=spec.path,
        revision=spec.revision,
        config=spec.config,
        split=spec.split,
        shard=f"{data.part[0]}/{data.part[1]}",
        max_samples=use.max_samples,
        seed=use.seed,
    )
    header = Header(
        model=loaded.name,
        model_revision=loaded.revision,
        weights=loaded.weights,
        layers=tuple(layer.name for layer in chosen),
        pooling=tuple(layer.pooling for layer in chosen),
        preprocessing=loaded.preprocessing,
        dtype=loaded.dtype,
        labels=labels,
        corruption=str(noise) if noise else None,
        class_names=_class_names(classes),
        sources=(source,),
        counts=part.counts,
        versions=library_versions(),
    )
    return Fingerprint(header, part.sums), part


def _class_names(classes: ClassMap) -> tuple[str, ...] | None:
    if classes.keys and all(isinstance(key, str) for key in classes.keys):
        return tuple(str(key) for key in classes.keys)
    return None


def _find_fingerprint(original: Any, loaded: Model, use: Options) -> Fingerprint | None:
    """Return the fingerprint that `original` is or names, or None where it is data."""
    if isinstance(original, Fingerprint):
        return original
    if original is None:
        try:
            return Fingerprint.from_pretrained(
                loaded.name, revision=loaded.revision, token=use.token
            )
        except ResqueError as error:
            raise ResqueError(
                f"no original data is given, and there is no fingerprint beside the model: {error}"
            ) from error
    if not isinstance(original, str | Path):
        return None
    path = Path(original).expanduser()
    if path.suffix == ".safetensors" or (path / FILE_NAME).is_file():
        return Fingerprint.from_pretrained(path)
    if path.exists() or any(mark in str(original) for mark in ":#"):
        return None
    return _published(str(original), use)


def _published(name: str, use: Options) -> Fingerprint | None:
    """Return the fingerprint of a model repository of that name, if there is one."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    repo, _, revision = name.partition("@")
    if repo.count("/") > 1 or repo.startswith((".", "/", "~")) or HF_HUB_OFFLINE:
        return None
    try:
        return Fingerprint.from_pretrained(repo, revision=revision or None, token=use.token)
    except ResqueError:
        return None


def _layer_notes(chosen: Sequence[Layer]) -> list[str]:
    return [f"layer {x.name}, pooling {x.pooling}: {x.why}" for x in chosen[:4]]


def _side(role: str, data: Data, found: Fingerprint, classes: ClassMap) -> Side:
    h = found.header
    note = classes.note if data.columns.label else None
    return Side(role, str(data.spec), data.spec.revision, h.corruption, h.labels, note, h.counts)


def _known_side(known: Fingerprint) -> Side:
    h = known.header
    name = " + ".join(map(str, h.sources)) + " (fingerprint)"
    revision = h.sources[0].revision if len(h.sources) == 1 else None
    return Side("original", name, revision, h.corruption, h.labels, None, h.counts)


def _report(
    loaded: Model,
    sides: list[Side],
    results: tuple[LayerResult, ...],
    parts: Sequence[Any],
    use: Options,
    notes: list[str],
    command: str,
) -> Report:
    seconds = {
        "total": round(sum(part.times.total for part in parts), 3),
        "waiting": round(sum(part.times.waiting for part in parts), 3),
    }
    for line in notes:
        log.info(line)
    return Report(
        model=loaded.name,
        model_revision=loaded.revision,
        sides=tuple(sides),
        results=results,
        device=str(loaded.device),
        dtype=loaded.dtype,
        batch_size=use.batch_size,
        seconds=seconds,
        versions=library_versions(),
        date=datetime.date.today().isoformat(),
        command=command,
        notes=tuple(notes),
    )


def library_versions() -> dict[str, str]:
    """Return the versions of resque and of the libraries that numbers depend on."""
    from resque import __version__

    names = ("torch", "transformers", "datasets", "numpy", "scikit-learn")
    return {"resque": __version__} | {name: importlib.metadata.version(name) for name in names}


def _command(
    loaded: Model,
    sides: Sequence[Side],
    layers: Any,
    use: Options,
    extra: dict[str, str] | None = None,
) -> str:
    """Return the command line that measures this again."""
    revision = f"@{loaded.revision}" if loaded.revision else ""
    words = ["resque", "estimate", "--model", f"{loaded.name}{revision}"]
    names = {side.role: side.dataset.removesuffix(" (fingerprint)") for side in sides}
    same = len(sides) == 2 and sides[1].corruption and names["original"] == names["shifted"]
    for role, name in names.items():
        if not (same and role == "shifted"):
            words += [f"--{role}", name]
    if sides[-1].corruption:
        words += ["--corruption", sides[-1].corruption]
    if layers is not None:
        for layer in [layers] if isinstance(layers, str | int) else layers:
            words.append(f"--layer={layer}")
    for flag, value in (extra or {}).items():
        words += [flag, value]
    return shlex.join([*words, *flags_of(use)])


def _corruption(corruption: Corruption | str | None, use: Options) -> Corruption | None:
    if isinstance(corruption, str):
        return parse_corruption(corruption, use.seed)
    return corruption


def _shard(text: str) -> tuple[int, int]:
    parts = text.split("/")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise UsageError(f"shard is {text!r}; expected i/n, as in 1/4")
    return int(parts[0]), int(parts[1])
