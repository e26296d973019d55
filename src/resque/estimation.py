"""The two calls of most users: `fingerprint` of a data set, `estimate` of a shift or task."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from resque.errors import ResqueError, UsageError
from resque.fingerprint_file import FILE_NAME, FOLDER_NAME
from resque.fingerprints import Fingerprint
from resque.hub import is_silent
from resque.indices import check_task_options, resque_task
from resque.labels import ClassMap
from resque.measurement import (
    Measured,
    choose_labels,
    library_versions,
    load_model,
    match_classes,
    measure,
    open_for,
)
from resque.options import Options, command_line, make_options
from resque.report import LayerResult, Report, Side
from resque.shifts import Corruption, check_fits, parse_corruption

if TYPE_CHECKING:
    from resque.fingerprint_header import Header
    from resque.layers import Layer
    from resque.models import Model
    from resque.representations import Times

log = logging.getLogger(__name__)


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
        corruption: "NAME:LEVEL", applied to each sample; see `resque.shifts`.
        shard: "i/n": only the i-th part of n; the fingerprints of all parts add up.
        **options: see `Options`.

    Raises:
        ValueError: where model, data, layer or option is not as expected; the text says how.
        TypeError: where one is of another type than expected.
    """
    from resque.layers import choose_layers
    from resque.models import lent

    use = make_options(options)
    with lent(model):
        loaded = load_model(model, use)
        chosen = choose_layers(loaded, layers, use.pooling)
        data = open_for(loaded, dataset, use, parse_shard(shard))
        labels, _ = choose_labels(use.labels, loaded, [data])
        classes = match_classes(data, loaded, None)
        noise = _corruption(corruption, use)
        return measure(loaded, data, chosen, classes, labels, noise, use).fingerprint


def estimate(
    model: Any,
    original: Any = None,
    shifted: Any = None,
    *,
    name: str | None = None,
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
        name: of the fingerprint, where there are several beside the weights (or in the folder or
            repository that `original` names).
        shifted: the new data. None with a corruption takes the corrupted original data.
        task: instead of both: the new task's labelled data.
        corruption: "NAME:LEVEL", applied to each sample of the shifted data.
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
    from resque.models import lent

    use = make_options(options)
    if task is not None and (original is not None or shifted is not None or corruption):
        raise UsageError("give either task=, or original= and shifted=")
    if task is None and shifted is None and not (corruption and original is not None):
        raise UsageError("give original= and shifted=, original= and corruption=, or task=")
    with lent(model):
        loaded = load_model(model, use)
        if task is not None:
            return _estimate_task(loaded, task, layers, init, embedding, n_init, use)
        noise = _corruption(corruption, use)
        known = _find_fingerprint(original, name, loaded, use)
        if known is None:
            return _estimate_from_data(loaded, original, shifted, noise, layers, use)
        return _estimate_from_fingerprint(loaded, known, original, shifted, noise, layers, use)


def _estimate_from_data(
    model: Model, original: Any, shifted: Any, noise: Corruption | None, layers: Any, use: Options
) -> Report:
    from resque.layers import choose_layers

    if use.labels == "predicted" and use.label_column:
        raise UsageError("--label-column has no use with --labels predicted: leave one of them out")
    chosen = choose_layers(model, layers, use.pooling)
    data = [open_for(model, x, use) for x in (original, shifted) if x is not None]
    labels, note = choose_labels(use.labels, model, data)
    maps = [match_classes(x, model, data[0].columns.label_names) for x in data]
    check_fits(noise, data[-1].columns.modality)  # before the first pass
    before = measure(model, data[0], chosen, maps[0], labels, None, use)
    after = measure(model, data[-1], chosen, maps[-1], labels, noise, use)
    paired = shifted is None and labels == "data"
    results = _compare(before.fingerprint, after.fingerprint, chosen, paired)
    sides = [_side("original", before), _side("shifted", after)]
    words = {"original": str(data[0].spec), "corruption": str(noise) if noise else None}
    if shifted is not None:
        words["shifted"] = str(data[1].spec)
    notes = [*model.notes, *_layer_notes(chosen), note]
    command = command_line(model.name, model.revision, words, layers, use)
    return _report(model, sides, results, [before.times, after.times], use, notes, command)


def _estimate_from_fingerprint(
    model: Model,
    known: Fingerprint,
    original: Any,
    shifted: Any,
    noise: Corruption | None,
    layers: Any,
    use: Options,
) -> Report:
    from resque.layers import POOLINGS, choose_layers

    if shifted is None:
        raise UsageError("a corruption needs data: give shifted=, or the original data itself")
    header, given = known.header, use
    _check_weights(header, model)  # before the pass, not after it
    groups = known.sums[header.layers[0]].n_groups
    use = replace(use, labels=header.labels, groups=groups, clip_norm=header.clip_norm)
    asked = use.pooling == "auto" and header.pooling[0] in POOLINGS
    pooling = header.pooling[0] if asked else use.pooling
    chosen = choose_layers(model, layers or header.layers, pooling)
    data = open_for(model, shifted, use)
    classes = match_classes(data, model, header.class_names)
    after = measure(model, data, chosen, classes, use.labels, noise, use)
    results = _compare(known, after.fingerprint, chosen, False)
    name = " + ".join(map(str, header.sources)) + " (fingerprint)"
    counts, revision = header.counts, header.sources[0].revision if header.sources else None
    before = Side("original", name, revision, header.corruption, header.labels, None, counts)
    words = {"shifted": str(data.spec), "corruption": str(noise) if noise else None}
    if original is not None:
        words["original"] = "<Fingerprint>" if original is known else str(original)
    note = f"labels: {use.labels} (as in the fingerprint)"
    notes = [*model.notes, *_layer_notes(chosen), note]
    command = command_line(model.name, model.revision, words, layers, given)
    sides = [before, _side("shifted", after)]
    return _report(model, sides, results, [after.times], use, notes, command)


def _check_weights(header: Header, model: Model) -> None:
    """Raise ResqueError where a fingerprint is of other weights than a model's."""
    if header.weights == model.weights:
        return
    theirs, ours = (
        f"{name}@{revision}" if revision else f"{weights} (of {name})"
        for name, revision, weights in (
            (header.model, header.model_revision, header.weights),
            (model.name, model.revision, model.weights),
        )
    )
    raise ResqueError(
        f"the fingerprint is of different model weights: {theirs}; the model has {ours}. Take the "
        "model at the fingerprint's revision, or give the original data"
    )


def _compare(
    original: Fingerprint, shifted: Fingerprint, layers: Sequence[Layer], paired: bool
) -> tuple[LayerResult, ...]:
    return tuple(
        LayerResult(
            layer.name,
            layer.pooling,
            int(shifted.sums[layer.name].sums.shape[2]),
            layer.why,
            original.resque_dist(shifted, layer.name, paired=paired),
        )
        for layer in layers
    )


def _side(role: str, measured: Measured) -> Side:
    header, spec = measured.fingerprint.header, measured.data.spec
    note = measured.classes.note if measured.data.columns.label else None
    return Side(
        role, str(spec), spec.revision, header.corruption, header.labels, note, header.counts
    )


def _estimate_task(
    model: Model, task: Any, layers: Any, init: str, embedding: str, n_init: int, use: Options
) -> Report:
    from resque.layers import choose_layers
    from resque.representations import collect_representations

    check_task_options(init, embedding, n_init)  # before the pass, not after it
    chosen = choose_layers(model, layers, use.pooling)
    if len(chosen) > 1:
        raise UsageError("RESQUE_task keeps vectors of one layer; name one")
    layer = replace(chosen[0], pooling="flatten") if embedding == "flattened" else chosen[0]
    data = open_for(model, task, replace(use, labels="data"))
    classes = ClassMap("none", {}, (), data.columns.label_names)
    found = collect_representations(model, data, [layer], classes, settings=use.settings)
    vectors = found.vectors[layer.name]
    score = resque_task(
        vectors,
        found.labels,
        cast(Any, init),
        embedding=cast(Any, embedding),
        n_init=n_init,
        seed=use.seed,
        device=str(model.device),
    )
    result = LayerResult(layer.name, layer.pooling, vectors.shape[1], layer.why, score)
    note = "labels: the new task's own classes"
    side = Side("task", str(data.spec), data.spec.revision, None, "data", note, found.counts)
    notes = [*model.notes, *_layer_notes(chosen), _size_note(vectors)]
    words = {"task": str(data.spec), "init": init, "embedding": embedding}
    if n_init != 10:
        words["n-init"] = str(n_init)
    command = command_line(model.name, model.revision, words, layers, use)
    return _report(model, [side], (result,), [found.times], use, notes, command)


def _size_note(vectors: Any) -> str:
    n, dim = vectors.shape
    size = vectors.nbytes / 1e6
    return f"RESQUE_task keeps {n} vectors of {dim} dimensions in memory: {size:.1f} MB"


def _report(
    model: Model,
    sides: list[Side],
    results: tuple[LayerResult, ...],
    times: Sequence[Times],
    use: Options,
    notes: list[str],
    command: str,
) -> Report:
    seconds = {
        "total": round(sum(x.total for x in times), 3),
        "waiting": round(sum(x.waiting for x in times), 3),
    }
    for line in notes:
        log.info(line)
    return Report(
        model=model.name,
        model_revision=model.revision,
        sides=tuple(sides),
        results=results,
        device=str(model.device),
        dtype=model.dtype,
        batch_size=use.batch_size,
        seconds=seconds,
        versions=library_versions(),
        date=datetime.date.today().isoformat(),
        command=command,
        notes=tuple(notes),
    )


def _corruption(corruption: Corruption | str | None, use: Options) -> Corruption | None:
    if isinstance(corruption, str):
        return parse_corruption(corruption, use.seed)
    return corruption


def parse_shard(text: str) -> tuple[int, int]:
    """Read `i/n`.

    Raises:
        UsageError: where it is not of that form.

    >>> parse_shard("1/4")
    (1, 4)
    """
    parts = text.split("/")
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise UsageError(f"shard is {text!r}; expected i/n, as in 1/4")
    return int(parts[0]), int(parts[1])


def _find_fingerprint(
    original: Any, name: str | None, model: Model, use: Options
) -> Fingerprint | None:
    """Return the fingerprint that `original` is or names, or None where it is data."""
    if isinstance(original, Fingerprint):
        return original
    if original is None:
        return _beside(model, name, use)
    if not isinstance(original, str | Path):
        return None
    path = Path(original).expanduser()
    holds = (path / FILE_NAME).is_file() or any((path / FOLDER_NAME).glob("*.safetensors"))
    if path.suffix == ".safetensors" or holds:
        return Fingerprint.from_pretrained(path, name=name)
    if path.exists() or any(mark in str(original) for mark in ":#"):
        return None
    return _published(str(original), name, use)


def _beside(model: Model, name: str | None, use: Options) -> Fingerprint:
    """Return the fingerprint beside a model's weights: of their commit, or published since."""
    first: ResqueError | None = None
    for revision in dict.fromkeys((model.revision, None)):
        try:
            return Fingerprint.from_pretrained(
                model.name, name=name, revision=revision, token=use.token
            )
        except ResqueError as error:
            first = first or error
            if is_silent(error):
                break
    raise ResqueError(
        f"no original data is given, and there is no fingerprint beside the model: {first}"
    ) from first


def _published(original: str, name: str | None, use: Options) -> Fingerprint | None:
    """Return the fingerprint of a model repository of that name, if there is one."""
    repo, _, revision = original.partition("@")
    if repo.count("/") != 1 or repo.startswith((".", "/", "~")):
        return None
    try:
        return Fingerprint.from_pretrained(
            repo, name=name, revision=revision or None, token=use.token
        )
    except ResqueError as error:
        if name is not None or is_silent(error):
            raise
        return None


def _layer_notes(chosen: Sequence[Layer]) -> list[str]:
    return [f"layer {x.name}, pooling {x.pooling}: {x.why}" for x in chosen[:4]]
