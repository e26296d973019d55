"""Reads reports of `resque estimate` and `resque forecast` into what a card tells."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resque.card_facts import COST, FORECAST, INDICES, Fact, Place, make_fact
from resque.data import DataSpec, parse_spec
from resque.errors import ResqueError, UsageError
from resque.public_text import clean, public_command, public_name, scrub

SCHEMA_VERSION = 1
NOTHING = "nothing"  # the strategy of a forecast that leaves the model as it is
MAX_BYTES = 20_000_000
MAX_NAME = 1000  # characters of a data set's name
MAX_NUMBER = 1e15
LISTED_CLASSES = 3
JSON_NAMES: dict[type[Any], str] = {dict: "an object", str: "text", list: "a list"}
CLASS_LENGTH = 40  # characters of a class's name


@dataclass(frozen=True)
class Document:
    """One report, as JSON types, and what it says.

    Attributes:
        content: the report.
        facts: indices or forecasts.
        shifts: what each is of, as ledgers name it: (model, data without split, corruption).
        model: id or folder.
        revision: of the model on the Hub; None for a folder.
    """

    content: dict[str, Any]
    facts: tuple[Fact, ...]
    shifts: frozenset[tuple[str, str, str | None]]
    model: str
    revision: str | None = None

    @property
    def path(self) -> str:
        """Path in a repository, the same for a newer report of the same shifts and layers."""
        first = self.facts[0]
        kind = "forecast" if first.metric == COST else first.metric
        words = first.place.path, first.args.get("corruption"), first.args.get("label_column")
        what = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(filter(None, words)))
        told = json.dumps(sorted(repr(fact.identity) for fact in self.facts))
        digest = hashlib.sha256(told.encode()).hexdigest()[:8]
        return f"resque/reports/{kind}-{what[:60].strip('-.')}-{digest}.json"

    def published(self) -> dict[str, Any]:
        """Return the report without paths from the root or home, and without tokens."""
        sides = [x.get("dataset") for x in self.content.values() if isinstance(x, dict)]
        folders = [_spec(str(x)).path for x in sides if x]
        names = [name for name in (*folders, self.model) if name.count("/") > 1]
        found: dict[str, Any] = scrub(self.content, names)
        return found


def read_reports(path: str | Path) -> list[Document]:
    """Read a file that `estimate --json`, `estimate --output`, `forecast` or `demo` wrote.

    Raises:
        ResqueError: where it cannot be read, or is no such report.
    """
    try:
        if Path(path).stat().st_size > MAX_BYTES:
            raise ResqueError(f"{path} has over {MAX_BYTES // 10**6} MB: it is no report")
        content = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse)
        return read_documents(content)
    except OSError as error:
        raise ResqueError(f"cannot read the report {path}: {error.strerror}") from error
    except RecursionError:
        raise ResqueError(f"{path} is nested too deeply: it is no report") from None
    except ResqueError as error:
        raise ResqueError(f"{path}: {error}") from error
    except ValueError as error:
        raise ResqueError(f"{path} is no JSON: {error}") from error


def _refuse(constant: str) -> None:
    raise ResqueError(f"it holds {constant}, which is no number")


def read_documents(content: Any) -> list[Document]:
    """Read a report's JSON types; the demo's holds several.

    Raises:
        ResqueError: where it is no report, or one of a newer form.
    """
    if not isinstance(content, Mapping):
        raise ResqueError("it is no report: expected a JSON object")
    version = content.get("schema_version", SCHEMA_VERSION)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ResqueError(f"it has schema_version {version!r}, newer than 1: update resque")
    if isinstance(content.get("shifts"), list) and isinstance(content.get("tasks"), list):
        parts = [*content["shifts"], *content["tasks"]]
        return [document for part in parts for document in read_documents(part)]
    if isinstance(content.get("candidates"), list):
        return _forecasts(dict(content))
    if any(name in content for name in INDICES):
        return [_indices(dict(content))]
    raise ResqueError(
        "it is no report: expected what `resque estimate --json` or `resque forecast --json` gives"
    )


def _indices(content: dict[str, Any]) -> Document:
    metric = next(name for name in INDICES if name in content)
    shifted = _get(content, "task" if metric == "resque_task" else "shifted", dict)
    spec, corruption = _spec(_text(shifted, "dataset")), _optional(shifted, "corruption")
    place = place_of(spec)
    known = _known(content, metric, shifted) | {"corruption": corruption}
    facts = []
    for layer, found in _get(content, "layers", dict).items():
        score = _get(found, metric, dict)
        args = {"layer": layer, "pooling": _text(found, "pooling")} | _error(score, metric) | known
        facts.append(make_fact(metric, _number(score, "value", 0, 1.5), place, args))
    if not facts:
        raise ResqueError("it has no layers: it is no report")
    revision = _optional(content, "model_revision")
    named = _spec(_text(content, "model")).path
    model = named if revision else absolute(named)
    return Document(
        content,
        tuple(facts),
        frozenset({(model, data_name(spec), corruption)}),
        model,
        revision,
    )


def _known(content: dict[str, Any], metric: str, shifted: dict[str, Any]) -> dict[str, Any]:
    """Return what a report says of all its layers."""
    command = _text(content, "command")
    known: dict[str, Any] = {
        "labels": _text(shifted, "labels"),
        "model_revision": _optional(content, "model_revision"),
        "data_revision": _optional(shifted, "revision"),
        "date": _text(content, "date"),
        "command": public_command(command),
    }
    if metric == "resque_task":
        return known | {"label_column": _flag(command, "--label-column")}
    original = _get(content, "original", dict)
    name = _text(original, "dataset").removesuffix(" (fingerprint)")
    sides = (original, shifted)
    return known | {
        "original": str(place_of(_spec(name))),
        "samples": [_number(side, "scored", 0, math.inf) for side in sides],
        "accuracy": _both([side.get("accuracy") for side in sides]),
    }


def _error(score: dict[str, Any], metric: str) -> dict[str, Any]:
    """Return what tells a score's error, and what only this index has."""
    numbers = {
        name: None if score.get(name) is None else _number(score, name, 0, 1.5)
        for name in ("noise_floor", "debiased", "p_value")
    }
    if metric == "resque_task":
        own = {name: _text(score, name) for name in ("init", "embedding")}
        return {"interval": _pair(score, "interval"), "debiased": numbers["debiased"], **own}
    classes = _get(score, "per_class", dict)
    worst = sorted(classes, key=lambda name: -_number(classes, name, 0, 1))[:LISTED_CLASSES]
    most = [[clean(name, CLASS_LENGTH), float(classes[name])] for name in worst]
    return {"interval": _pair(score, "interval"), **numbers, "most_shifted": most}


def _forecasts(content: dict[str, Any]) -> list[Document]:
    """Return a document for each model of a forecast, without leaving the model as it is."""
    target = _text(content, "target")
    facts: dict[str, list[Fact]] = {}
    shifts: dict[str, set[tuple[str, str, str | None]]] = {}
    for found in content["candidates"]:
        if _text(found, "strategy") == NOTHING:
            continue
        spec, corruption = _shift_of(_text(found, "shifted"))
        model = absolute(_spec(_text(found, "model")).path)
        shifts.setdefault(model, set()).add((model, data_name(spec), corruption))
        facts.setdefault(model, []).append(_forecast(found, place_of(spec), corruption, target))
    if not facts:
        raise ResqueError("it forecasts nothing")
    return [
        Document(content, tuple(facts[model]), frozenset(shifts[model]), model) for model in facts
    ]


def _forecast(found: dict[str, Any], place: Place, corruption: str | None, target: str) -> Fact:
    costs = {name: _get(found, name, dict) for name in ("epochs", "energy_kwh", "co2eq_kg")}
    value = {name: _number(cost, "value", 0, math.inf) for name, cost in costs.items()}
    between = {name: _pair(cost, "interval") for name, cost in costs.items()}
    args = {
        "kind": FORECAST,
        "strategy": _text(found, "strategy"),
        "target": target,
        "corruption": corruption,
        "level": _number(found, "level", 0, 1),
        "interval": between["epochs"],
        "energy_kwh": value["energy_kwh"],
        "energy_kwh_interval": between["energy_kwh"],
        "co2eq_g": 1000 * value["co2eq_kg"],
        "co2eq_g_interval": [1000 * x for x in between["co2eq_kg"] or ()] or None,
        "reached_probability": _number(found, "reached_probability", 0, 1),
        "outside": bool(found.get("outside")),
        "runs": _number(found, "runs", 0, math.inf),
    }
    return make_fact(COST, value["epochs"], place, args)


def _shift_of(text: str) -> tuple[DataSpec, str | None]:
    """Read "DATA" or "DATA NAME:LEVEL", as a forecast names a shift."""
    from resque.shifts import parse_corruption

    data, _, last = text.rpartition(" ")
    if data:
        try:
            return _spec(data), str(parse_corruption(last))
        except UsageError:
            pass
    return _spec(text), None


def _spec(text: str) -> DataSpec:
    if len(text) > MAX_NAME or "\0" in text:
        raise ResqueError(f"its data set {clean(text, 60)!r} is no name")
    return parse_spec(text)


def place_of(spec: DataSpec) -> Place:
    """Return the data of a fact, without what is above a folder."""
    return Place(public_name(spec.path), spec.config, spec.split)


def data_name(spec: DataSpec) -> str:
    """Return what data sets have in common that differ in revision and split alone."""
    path = absolute(spec.path)
    return f"{path}:{spec.config}" if spec.config else path


def absolute(name: str) -> str:
    """Return the absolute path of a folder here, so that two ways to name it are one."""
    here = Path(name).expanduser()
    return str(here.resolve()) if here.exists() else name


def _flag(command: str, flag: str) -> str | None:
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    return next((b for a, b in itertools.pairwise(words) if a == flag), None)


def _get(found: Any, name: str, kind: type[Any]) -> Any:
    value = found.get(name) if isinstance(found, dict) else None
    if not isinstance(value, kind):
        raise ResqueError(f"its {name} is {clean(repr(value), 60)}; expected {JSON_NAMES[kind]}")
    return value


def _text(found: Any, name: str) -> str:
    text: str = _get(found, name, str)
    return text


def _optional(found: dict[str, Any], name: str) -> str | None:
    return None if found.get(name) is None else _text(found, name)


def _number(found: dict[str, Any], name: str, low: float, high: float) -> float:
    value = found.get(name)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= min(high, MAX_NUMBER):  # type: ignore[operator]
        between = f"from {low:g} to {high:g}" if math.isfinite(high) else f"from {low:g} up"
        shown = clean(repr(value), 60)
        raise ResqueError(f"its {name} is {shown}; expected a number {between}")
    return value  # type: ignore[return-value]


def _pair(found: dict[str, Any], name: str) -> list[float] | None:
    """Return an interval; None where it has no ends."""
    ends = _get(found, name, list)
    if len(ends) == 2 and None in ends:
        return None
    if len(ends) != 2:
        raise ResqueError(f"its {name} has {len(ends)} ends; expected two")
    return [float(_number({name: end}, name, 0, math.inf)) for end in ends]


def _both(values: list[Any]) -> list[float] | None:
    if None in values:
        return None
    return [_number({"accuracy": x}, "accuracy", 0, 1) for x in values]
