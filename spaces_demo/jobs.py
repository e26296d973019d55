"""What the app's worker processes do: calls of the package's public functions, as JSON types."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

THUMBNAIL = 72  # pixels
SHOWN_CLASSES, SHOWN_OF_EACH = 10, 3
SHOWN_CHARACTERS = 160
MAP_POINTS = 400
UMAP_POINTS = 50  # it cannot draw a few, and says little of neighbourhoods below
MAX_MEMORY_BYTES = 1_000_000_000  # for a visitor's files, beside what the process has
TARGET = "recovery:0.95"
STRATEGIES = ("full", "head")


@dataclass(frozen=True)
class Machine:
    """Where a model would be retrained.

    Attributes:
        country: ISO 3166 code for the grid; empty for the world's mean.
        price_per_hour: of the machine, in the visitor's currency, or None.
        seconds_per_step: of training; None for a probe of this computer.
        watts: of the machine while it trains.
    """

    country: str = ""
    price_per_hour: float | None = None
    seconds_per_step: float | None = None
    watts: float | None = None

    @property
    def rates(self) -> tuple[float, float] | None:
        """Seconds a step and watts; None for a probe."""
        if self.seconds_per_step is None or self.watts is None:
            return None
        return self.seconds_per_step, self.watts

    def flags(self) -> list[str]:
        """Return it as flags of the command line."""
        words = ["--country", self.country] if self.country else []
        if self.rates is not None:
            words += ["--no-probe", "--seconds-per-step", f"{self.seconds_per_step:g}"]
            words += ["--watts", f"{self.watts:g}"]
        if self.price_per_hour is not None:
            words += ["--price-per-hour", f"{self.price_per_hour:g}"]
        return words


@dataclass(frozen=True)
class Shift:
    """A shift to measure.

    Attributes:
        model: id, or a folder of ours.
        original: data specification.
        shifted: data specification; empty for the original data, corrupted.
        corruption: "NAME:LEVEL"; empty for none.
        labels: "auto", "data" or "predicted".
        max_samples: of each side.
        machine: for the forecast.
    """

    model: str
    original: str
    shifted: str = ""
    corruption: str = ""
    labels: str = "auto"
    max_samples: int | None = None
    machine: Machine = Machine()

    def at(self, level: str) -> Shift:
        """Return the shift with its corruption at another level."""
        return replace(self, corruption=f"{self.corruption.partition(':')[0]}:{level}")


@dataclass(frozen=True)
class Task:
    """A new task to measure over models.

    Attributes:
        models: ids, or folders of ours.
        dataset: data specification.
        label_column: of the data; empty where it is found.
        target_accuracy: that retraining is to reach.
        max_samples: rows that are read.
        machine: for the forecast.
    """

    models: tuple[str, ...]
    dataset: str
    label_column: str = ""
    target_accuracy: float = 0.9
    max_samples: int | None = None
    machine: Machine = Machine()


def warm() -> None:
    """Import what the first visitor would wait for."""
    import transformers.models.auto.modeling_auto  # noqa: F401

    from resque.forecast_runs import LABELLED

    _sources().forecaster(LABELLED)


def warm_map() -> None:
    """Compile UMAP where it is installed: the first map of a computer takes most of a minute."""
    import numpy as np

    if _umap() is not None:
        _plane(np.random.default_rng(0).normal(size=(UMAP_POINTS, 8)).astype(np.float32))


def take(files: Sequence[tuple[str, Path]], folder: Path) -> Any:
    """Return what `uploads.read_upload` made of a visitor's files, within a limit of memory."""
    import resource

    import psutil

    from uploads import read_upload

    before = resource.getrlimit(resource.RLIMIT_DATA)
    used = psutil.Process().memory_info().data
    resource.setrlimit(resource.RLIMIT_DATA, (used + MAX_MEMORY_BYTES, before[1]))
    try:
        return read_upload(files, folder)
    except MemoryError:
        raise ValueError("The file unpacks to more than this page's memory holds.") from None
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def estimate(shift: Shift) -> dict[str, Any]:
    """Return the report of `resque.estimate`."""
    import resque

    report = resque.estimate(
        shift.model,
        shift.original or None,
        shift.shifted or None,
        corruption=shift.corruption or None,
        labels=shift.labels,
        max_samples=shift.max_samples,
        workers=0,  # a worker has no children
        progress=False,
    )
    return report.to_dict()


def forecast(shift: Shift) -> dict[str, Any]:
    """Return the answer of `resque.forecast`."""
    import resque
    from resque.forecasting import Rates

    machine = shift.machine
    answer = resque.forecast(
        shift.model,
        shift.original,
        shift.shifted or (),
        corruptions=shift.corruption or (),
        strategies=STRATEGIES,
        target=TARGET,
        ledgers=_sources(),
        rates=None if machine.rates is None else Rates(*machine.rates),
        country=machine.country or None,
        price_per_hour=machine.price_per_hour,
        max_samples=shift.max_samples,
        workers=0,
    )
    return answer.to_dict()


@cache
def _sources() -> Any:
    """Return what forecasts are learnt from: a process learns once."""
    from resque.forecast_sources import Sources

    return Sources()


def samples(shift: Shift) -> list[dict[str, Any]]:
    """Return some rows of each of the first classes, before and after the corruption.

    Returns:
        Dictionaries: `label`, and `before` and `after`, each a text, or an image as a `data:`
        address.
    """
    from resque.data import load_data, open_data
    from resque.shifts import check_fits, parse_corruption

    corrupt = parse_corruption(shift.corruption) if shift.corruption else None
    spec = shift.shifted or shift.original
    features = open_data(spec)[0].features
    images = any(type(x).__name__ == "Image" for x in features.values())
    modality = "image" if images else "text"
    check_fits(corrupt, modality)
    data = load_data(
        spec,
        modality=modality,
        labels="optional",
        max_samples=shift.max_samples,
    )
    return [
        {
            "label": label,
            "before": _shown(row),
            "after": _shown(corrupt(row, index)) if corrupt else None,
        }
        for index, label, row in _first_of_each(data)
    ]


def _first_of_each(data: Any) -> list[tuple[int, str, Any]]:
    """Return (index, label, sample) of the first rows of the first classes, by class."""
    from resque.data import iterate

    names, column = data.columns.label_names, data.columns.label
    found: dict[str, list[tuple[int, str, Any]]] = {}
    for index, row in iterate(data):
        value = row[column] if column else ""
        label = str(names[value]) if names and isinstance(value, int) and value >= 0 else str(value)
        kept = found.setdefault(label, [])
        if len(kept) < SHOWN_OF_EACH:
            kept.append((index, label, _sample(row[data.columns.inputs[0]])))
        enough = [x for x in found.values() if len(x) == SHOWN_OF_EACH]
        if len(enough) >= SHOWN_CLASSES or (not column and enough):
            break
    return [x for label in sorted(found) for x in found[label]]


def _sample(value: Any) -> Any:
    """Return what a corruption takes: an RGB image, or text."""
    if isinstance(value, dict) and "bytes" in value:
        from resque.images import decode_image

        return decode_image(value)
    return str(value)


def _shown(sample: Any) -> str:
    if isinstance(sample, str):
        return sample if len(sample) <= SHOWN_CHARACTERS else sample[:SHOWN_CHARACTERS] + "…"
    small = sample.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def rank(task: Task) -> dict[str, Any]:
    """Return the ranking of `resque.rank`, with what retraining each model would cost."""
    import resque
    from resque.ranking import Costs

    machine = task.machine
    ranking = resque.rank(
        list(task.models),
        task.dataset,
        costs=Costs(
            task.target_accuracy,
            rates=machine.rates,
            country=machine.country or None,
            price_per_hour=machine.price_per_hour,
            options={"workers": 0},
        ),
        cache=False,
        label_column=task.label_column or None,
        max_samples=task.max_samples,
        workers=0,
        progress=False,
    )
    return ranking.to_dict()


def embed(model: str, task: Task) -> dict[str, Any]:
    """Return a map of the data as a model sees it.

    Returns:
        `points`, (n, 2) of at most MAP_POINTS rows; `labels`, (n,); `method`: "PCA", or "UMAP"
        where that is installed and there are UMAP_POINTS rows.
    """
    from resque.layers import choose_layers
    from resque.measurement import load_model, match_classes, open_for
    from resque.options import Options
    from resque.representations import collect_representations

    use = Options(
        labels="data",
        label_column=task.label_column or None,
        max_samples=min(task.max_samples or MAP_POINTS, MAP_POINTS),
        workers=0,
        progress=False,
    )
    loaded = load_model(model, use)
    data = open_for(loaded, task.dataset, use)
    (layer,) = choose_layers(loaded)
    classes = match_classes(data, loaded, data.columns.label_names)
    found = collect_representations(loaded, data, [layer], classes, settings=use.settings)
    points, method = _plane(found.vectors[layer.name])
    return {
        "points": [[float(f"{x:.4g}") for x in point] for point in points],
        "labels": [str(x) for x in found.labels],
        "method": method,
    }


def _plane(vectors: Any) -> tuple[Any, str]:
    """Return (n, 2) coordinates of vectors, the same in each run, and the method's name."""
    umap = _umap() if len(vectors) >= UMAP_POINTS else None
    if umap is not None:
        return umap(random_state=0, n_jobs=1).fit_transform(vectors), "UMAP"
    from sklearn.decomposition import PCA

    return PCA(n_components=2, random_state=0).fit_transform(vectors), "PCA"


def _umap() -> Any:
    """Return the class UMAP; None where it is not installed, or cannot keep what it compiles."""
    try:
        from umap import UMAP
    except (ImportError, RuntimeError):  # numba's, where it may write into no folder
        return None
    return UMAP
