"""A study's configuration: YAML, checked against a schema, to the cells of its grid."""

from __future__ import annotations

import importlib.util
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resque.errors import ResqueError, UsageError, near
from resque.ledger import Cell
from resque.retrain_options import RetrainOptions, make_retrain_options
from resque.shifts import parse_corruption

SCHEMA_FILE = "study.schema.json"
EXTRA = ("codecarbon", "jsonschema", "matplotlib")
# What the study itself decides, or what would make one cell's cost another's.
NOT_OPTIONS = frozenset({
    "target_accuracy", "target_recovery", "original", "strategy", "corruption", "eval_split",
    "label_column", "measure", "probe_steps", "seed", "report_to", "token", "progress",
    "patience", "device",
})  # fmt: skip


@dataclass(frozen=True)
class Study:
    """A study.

    Attributes:
        name: of the study.
        text: the configuration as it was read.
        cells: of the grid, those that share a measurement beside each other.
        lines: for each cell, by its key, the line of each key of the configuration that it is of.
    """

    name: str
    text: str
    cells: tuple[Cell, ...]
    lines: dict[str, dict[str, int]]


def read_study(path: str | Path) -> Study:
    """Read a study's configuration.

    Raises:
        UsageError: where it is no YAML or does not fit the schema; names the lines.
        ResqueError: where it cannot be read.
        ImportError: without what the extra `study` brings.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResqueError(f"cannot read the study {file}: {error}") from error
    return parse_study(text, str(file))


def parse_study(text: str, where: str = "study") -> Study:
    """Read a study's configuration from its text; see `read_study`."""
    _require_extra()
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"{where} is no YAML: {error}") from error
    problems = [*_duplicates(node)] + ([] if node is None else [*_check(found, node)])
    if node is None:
        problems = ["line 1: it is empty; see examples/studies for what a study looks like"]
    if problems:
        raise UsageError(f"{where} is no study:\n" + "\n".join(f"  {x}" for x in problems))
    cells: dict[str, Cell] = {}
    lines: dict[str, dict[str, int]] = {}
    for cell, where_from in _cells(found, node):  # once, as of a severity and its level
        cells.setdefault(cell.key, cell)
        lines.setdefault(cell.key, where_from)
    return Study(found["name"], text, tuple(cells.values()), lines)


def _require_extra() -> None:
    """Say what is missing before hours go into what needs it at its end."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"a study needs {', '.join(missing)}: pip install 'resque[study]'")


def schema() -> dict[str, Any]:
    """Return the JSON schema of a study's configuration."""
    text = Path(__file__).with_name(SCHEMA_FILE).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def _duplicates(node: Any) -> Iterator[str]:
    """Name keys that stand twice in a mapping: YAML would take the last in silence."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen: set[Any] = set()
        for key, value in node.value:
            if key.value in seen:
                yield f"line {key.start_mark.line + 1}: {key.value!r} stands here twice"
            seen.add(key.value)
            yield from _duplicates(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _duplicates(item)


def _check(found: Any, node: Any) -> Iterator[str]:
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema())
    errors = sorted(validator.iter_errors(found), key=lambda e: [str(x) for x in e.absolute_path])
    for error in errors:
        best = jsonschema.exceptions.best_match([error])
        path, key = list(best.absolute_path), _unknown_key(best)
        text = str(best.message)[:300]
        if key is not None:
            known = list(best.schema["properties"])
            text = f"unknown key {key!r}; near it: {', '.join(near(key, known) or known)}"
        place = ".".join(map(str, path))
        yield f"line {_line(node, path, key)}: {place}{': ' if place else ''}{text}"
    if not errors:
        yield from _check_values(found, node)


def _unknown_key(error: Any) -> str | None:
    if error.validator != "additionalProperties" or error.validator_value is not False:
        return None
    return next(str(name) for name in error.instance if name not in error.schema["properties"])


def _line(node: Any, path: Any, key: str | None = None) -> int:
    """Return the line of the value at a path, or of a key in it, from 1."""
    import yaml

    for step in path:
        if isinstance(node, yaml.MappingNode):
            node = next((v for k, v in node.value if k.value == str(step)), node)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
    if key is not None:
        node = next((k for k, _ in node.value if k.value == key), node)
    return int(node.start_mark.line) + 1


def _check_values(found: dict[str, Any], node: Any) -> Iterator[str]:
    """Check what a schema cannot: corruptions, and options of `retrain`."""
    yield from _check_shifts(found, node, [])
    for i, model in enumerate(found["models"]):
        yield from _check_shifts(model, node, ["models", i])
        if "shifts" not in found and "shifts" not in model:
            yield f"line {_line(node, ['models', i])}: neither the study nor this model has shifts"
    known = [name for name in RetrainOptions.__dataclass_fields__ if name not in NOT_OPTIONS]
    for name, values in found.get("retrain", {}).items():
        line = _line(node, ["retrain", name])
        if name not in known:
            like = near(name, known) or known
            yield f"line {line}: retrain has no {name!r} in a study; near it: {', '.join(like)}"
            continue
        for value in _as_list(values):
            try:
                make_retrain_options({name: value})
            except (TypeError, ValueError) as error:
                yield f"line {line}: {error}"


def _check_shifts(owner: dict[str, Any], node: Any, path: list[Any]) -> Iterator[str]:
    for i, shift in enumerate(owner.get("shifts", ())):
        try:
            for _ in _levels(shift):
                pass
        except ValueError as error:
            yield f"line {_line(node, [*path, 'shifts', i])}: {error}"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _levels(shift: dict[str, Any]) -> Iterator[tuple[str | None, float, float | None, str]]:
    """Yield corruption, class prior, level and family of each level of a shift."""
    if "levels" in shift or "severities" in shift:
        name = shift["corruption"]
        texts = [f"{name}:{level}" for level in shift.get("levels", ())]
        texts += [f"{name}:severity={n}" for n in shift.get("severities", ())]
        for text in texts:
            noise = parse_corruption(text)
            yield str(noise), 0.0, noise.level, noise.name
    elif "class_prior" in shift:
        for strength in shift["class_prior"]:
            yield None, float(strength), None, "class_prior"
    else:
        given = shift.get("corruption")
        yield str(parse_corruption(given)) if given else None, 0.0, None, shift["family"]


def _cells(found: dict[str, Any], node: Any) -> Iterator[tuple[Cell, dict[str, int]]]:
    """Yield the cells of the grid with the lines they are of; what shares a pass comes together."""
    for (i, model), seed in itertools.product(enumerate(found["models"]), found.get("seeds", [0])):
        path = ["models", i]
        for owner, where in ((found, []), (model, path)):
            for j, shift in enumerate(owner.get("shifts", ())):
                lines = _lines(node, path, model) | _lines(node, [*where, "shifts", j], shift)
                for cell in _cells_of(found, model, shift, seed):
                    yield cell, lines


def _lines(node: Any, path: list[Any], owner: dict[str, Any]) -> dict[str, int]:
    """Return the line of each key of a model or a shift."""
    return {name: _line(node, path, name) for name in owner}


def _cells_of(
    found: dict[str, Any], model: dict[str, Any], shift: dict[str, Any], seed: int
) -> Iterator[Cell]:
    """Yield the cells of one shift: its levels × strategies × options of `retrain`."""
    options = {name: _as_list(values) for name, values in found.get("retrain", {}).items()}
    owner = shift if "dataset" in shift else model
    if "label_column" in owner:
        options["label_column"] = [owner["label_column"]]
    target = shift.get("target", found["target"])
    classes = {k: tuple(map(str, v)) for k, v in shift.get("classes", {}).items()}
    grid = itertools.product(found.get("strategies", ["full"]), *options.values())
    for (corruption, prior, level, family), (strategy, *values) in itertools.product(
        _levels(shift), grid
    ):
        yield Cell(
            model=model["model"],
            original=model["original"],
            dataset=shift.get("dataset", model["original"]),
            eval_split=shift.get("eval_split", model.get("eval_split")),
            corruption=corruption,
            class_prior=prior,
            family=family,
            level=level,
            strategy=strategy,
            target=":".join(f"{k}:{v:g}" for k, v in target.items()),
            seed=seed,
            options=dict(zip(options, values, strict=True)),
            measurement=found.get("measure", {}),
            classes=classes or None,
        )
