"""What a card tells: indices, costs that were measured, costs that are forecast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from resque import __version__
from resque.public_text import clean

TOOL = "resque"
COST = "retraining_epochs"
INDICES = ("resque_dist", "resque_task")
MEASURED, FORECAST = "measured", "forecast"
# What tells one fact from another, beside metric and data; a run replaces facts that agree in it.
IDENTITY = (
    "original", "corruption", "layer", "pooling", "labels", "label_column", "init", "embedding",
    "kind", "strategy", "target",
)  # fmt: skip
TEXTS = (
    *IDENTITY, "made_by", "energy", "date", "command", "model_revision", "data_revision",
)  # fmt: skip
NUMBERS = (
    "noise_floor", "debiased", "p_value", "level", "runs", "reached", "energy_kwh", "co2eq_g",
    "seconds", "reached_probability",
)  # fmt: skip
PAIRS = ("interval", "accuracy", "samples", "energy_kwh_interval", "co2eq_g_interval")


@dataclass(frozen=True)
class Place:
    """The data that a fact is of.

    Attributes:
        path: id on the Hub, or a folder's name.
        config: of the data set, or None.
        split: with any slice, or None.
    """

    path: str
    config: str | None = None
    split: str | None = None

    def __str__(self) -> str:
        config = f":{self.config}" if self.config else ""
        split = f"#{self.split}" if self.split else ""
        return f"{self.path}{config}{split}"


@dataclass(frozen=True)
class Fact:
    """A number that stands on the card: one metric of a result in its front matter.

    Attributes:
        metric: "resque_dist", "resque_task" or "retraining_epochs".
        value: the index or the epochs; text such as "> 3" where no more than that is known.
        place: the shifted data, or the new task's.
        args: what else is known, JSON types: those of `TEXTS`, `NUMBERS` and `PAIRS`, and
            `most_shifted`, [class, score] pairs.
    """

    metric: str
    value: float | str
    place: Place
    args: dict[str, Any]

    @property
    def identity(self) -> tuple[Any, ...]:
        """What a newer fact agrees in with the one that it replaces."""
        return self.metric, self.place, *(self.args.get(name) for name in IDENTITY)

    @property
    def shift(self) -> tuple[Any, ...]:
        """What an index and the costs of the same shift or task have in common."""
        task = self.args.get("label_column") if self.metric == "resque_task" else None
        place = (self.place.path, self.place.config)
        return *place, self.args.get("corruption"), self.metric == "resque_task", task

    @property
    def is_index(self) -> bool:
        """Whether it is an index; else it is a cost."""
        return self.metric in INDICES


def make_fact(metric: str, value: float | str, place: Place, args: dict[str, Any]) -> Fact:
    """Make a fact of this version of resque: strings cleaned, numbers rounded, None left out."""
    kept = {name: _rounded(item) for name, item in args.items() if item is not None}
    cleaned = Place(
        clean(place.path),
        clean(place.config) if place.config else None,
        clean(place.split) if place.split else None,
    )
    return Fact(metric, _rounded(value), cleaned, {"made_by": f"{TOOL} {__version__}", **kept})


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, str):
        return clean(value, 2000)
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def to_results(facts: Sequence[Fact], task_type: str) -> list[dict[str, Any]]:
    """Return facts as results of `model-index`, in huggingface_hub's form: one for each data."""
    if not facts:
        return []
    from huggingface_hub import EvalResult
    from huggingface_hub.repocard_data import eval_results_to_model_index

    results = [
        EvalResult(
            task_type=task_type,
            dataset_type=fact.place.path,
            dataset_name=str(replace(fact.place, split=None)),
            dataset_config=fact.place.config,
            dataset_split=fact.place.split,
            metric_type=fact.metric,
            metric_value=fact.value,
            metric_name=_title(fact),
            metric_config=_config(fact),
            metric_args=fact.args,
        )
        for fact in facts
    ]
    found: list[dict[str, Any]] = eval_results_to_model_index("", results)[0]["results"]
    return found


def _title(fact: Fact) -> str:
    args = fact.args
    if fact.is_index:
        what = fact.metric.replace("resque", "RESQUE")
        return f"{what} ({', '.join(str(x) for x in (args.get('layer'), _shift_word(fact)) if x)})"
    parts = args.get("kind"), args.get("strategy"), args.get("target"), _shift_word(fact)
    return f"Epochs of retraining ({', '.join(str(x) for x in parts if x)})"


def _shift_word(fact: Fact) -> str | None:
    column = fact.args.get("label_column")
    return fact.args.get("corruption") or (f"classes: {column}" if column else None)


def _config(fact: Fact) -> str:
    """Return a name that no two facts on the same data share."""
    return " | ".join(str(x) for x in fact.identity[2:] if x is not None)


def from_metric(dataset: Any, metric: Any) -> Fact | None:
    """Read what `to_results` gave; None where it is not ours, or was changed into what is none."""
    if not (isinstance(dataset, dict) and isinstance(metric, dict)):
        return None
    kind, value, args = (metric.get(name) for name in ("type", "value", "args"))
    if not isinstance(args, dict) or not str(args.get("made_by", "")).startswith(f"{TOOL} "):
        return None
    fits = _is_number(value) or (kind == COST and isinstance(value, str))
    if not isinstance(value, str | int | float) or not fits or kind not in (*INDICES, COST):
        return None
    path, config, split = (dataset.get(name) for name in ("type", "config", "split"))
    named = all(x is None or isinstance(x, str) for x in (config, split))
    if not isinstance(path, str) or not named:
        return None
    if not all(_fits(name, item) for name, item in args.items()):
        return None
    return Fact(kind, value, Place(path, config, split), args)


def _fits(name: str, value: Any) -> bool:
    if name in TEXTS:
        return isinstance(value, str)
    if name in NUMBERS:
        return _is_number(value)
    if name in PAIRS:
        return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
    if name == "most_shifted":
        pairs = isinstance(value, list) and all(isinstance(x, list) and len(x) == 2 for x in value)
        return pairs and all(isinstance(k, str) and _is_number(v) for k, v in value)
    return True  # of a newer resque: kept, and not shown


def _is_number(value: Any) -> bool:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return real and abs(value) < 1e15 and math.isfinite(value)
