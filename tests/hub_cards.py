"""What the local Hub reads of a card: its tags, and whether its front matter is valid."""

from __future__ import annotations

import re
from typing import Any

import yaml

FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
SDKS = {"gradio", "streamlit", "docker", "static"}


def front_matter(text: str) -> Any:
    """Return the front matter, None where there is none.

    Raises:
        yaml.YAMLError: where it is broken.
    """
    found = FRONT_MATTER.match(text)
    return yaml.safe_load(found[1]) if found else None


def card_tags(card: bytes) -> list[str]:
    """Return the tags of a card with its library and task, none where its YAML is broken."""
    try:
        found = front_matter(card.decode(errors="replace"))
    except yaml.YAMLError:
        return []
    if not isinstance(found, dict):
        return []
    tags = found.get("tags") if isinstance(found.get("tags"), list) else []
    named = (found.get(name) for name in ("library_name", "pipeline_tag"))
    return [str(tag) for tag in (*tags, *named) if tag]


def card_problems(text: str, kind: str) -> tuple[list[str], list[str]]:
    """Return the errors and warnings of a card.

    Args:
        text: the card.
        kind: "model", "dataset" or "space".
    """
    try:
        found = front_matter(text)
    except yaml.YAMLError as error:
        return [f"YAML Metadata Error: {error}"], []
    if found is None:
        return [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(found, dict):
        return ["YAML Metadata Error: the front matter is no mapping"], []
    return _field_problems(found, kind), []


def _field_problems(found: dict[str, Any], kind: str) -> list[str]:
    from huggingface_hub import ModelCardData

    errors = []
    for name in ("tags", "datasets", "metrics"):
        value = found.get(name)
        if value is not None and not isinstance(value, str | list):
            errors.append(f'"{name}" must be a string or an array')
        if isinstance(value, list) and not all(isinstance(x, str) for x in value):
            errors.append(f'"{name}" must hold strings alone')
    if isinstance(found.get("license"), dict):
        errors.append('"license" must be a string')
    if kind == "space":
        errors += [f'"sdk" must be one of {sorted(SDKS)}'] * (found.get("sdk") not in SDKS)
        for name in ("colorFrom", "colorTo"):
            if found.get(name, "red") not in COLOURS:
                errors.append(f'"{name}" must be one of {sorted(COLOURS)}')
    if "model-index" in found:
        try:
            ModelCardData(**{"model_name": None, **found})
        except (ValueError, TypeError, KeyError) as error:
            errors.append(f'"model-index" is invalid: {error!r}')
        errors += _value_problems(found["model-index"])
    return errors + _emission_problems(found.get("co2_eq_emissions"))


def _value_problems(index: Any) -> list[str]:
    """The Hub takes numbers and strings as a metric's value."""
    errors = []
    for model in index if isinstance(index, list) else []:
        for result in (model.get("results") or []) if isinstance(model, dict) else []:
            for metric in result.get("metrics") or []:
                if not isinstance(metric.get("value"), int | float | str | dict | list):
                    errors.append('"model-index": a metric has no value')
    return errors


def _emission_problems(found: Any) -> list[str]:
    value = found.get("emissions") if isinstance(found, dict) else found
    if found is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        return ['"co2_eq_emissions" must have a number of grams']
    return []
