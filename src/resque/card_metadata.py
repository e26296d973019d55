"""The front matter of a card: adds results, emissions and tags, and leaves all else as it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from resque.card_facts import TOOL, Fact, from_metric, to_results
from resque.errors import ResqueError
from resque.yaml_edit import (
    Edit,
    YamlText,
    apply,
    is_empty,
    outline,
    parse,
    plain_value,
    value_of,
)

TAGS = ("resque", "arxiv:2412.15511")
CO2 = "co2_eq_emissions"
MAX_CHARACTERS = 1_000_000
UNUSUAL = (
    "its front matter is written in a way that cannot be edited without touching what is not "
    "resque's; write model-index, tags and co2_eq_emissions as plain block lists and mappings, and "
    "try again"
)
log = logging.getLogger(__name__)


def add_metadata(
    text: str,
    line_break: str,
    facts: Sequence[Fact],
    *,
    name: str,
    emissions: dict[str, Any] | None = None,
    task_type: str = "other",
    first_line: int = 1,
) -> tuple[str, list[Fact]]:
    """Return front matter with these facts, in the place of older ones of the same identity.

    All facts that it then holds come with it, in order.

    Args:
        text: YAML that ends with a line break, without the lines `---`.
        line_break: for new lines.
        facts: to be told.
        name: of the model, for a new `model-index`.
        emissions: `co2_eq_emissions`; None leaves it as it is.
        task_type: of results, where the front matter has no `pipeline_tag`.
        first_line: number of the text's first line in the card, for the text of errors.

    Raises:
        ResqueError: where it is no YAML, or cannot be edited without a change to what is not ours.
    """
    before = _parse(text, line_break, first_line)
    tag = value_of(before.root, "pipeline_tag")
    task = tag.value if isinstance(tag, yaml.ScalarNode) and tag.value else task_type
    new = {fact.identity: fact for fact in facts}
    old = [found for found in _own_metrics(before.root) if found[0].identity in new]
    edits = [
        before.replace_item(metrics, i, to_results([new[fact.identity]], task)[0]["metrics"][0])
        for fact, metrics, i in old
    ]
    known = {fact.identity for fact, _, _ in old}
    added = to_results([fact for fact in facts if fact.identity not in known], task)
    wanted: dict[str, Any] = {"tags": list(TAGS)}
    if added:
        wanted["model-index"] = [{"name": name, "results": added}]
    if emissions is not None:
        wanted[CO2] = emissions
    missing = {key: value for key, value in wanted.items() if value_of(before.root, key) is None}
    for key in [key for key in wanted if key not in missing]:
        edits += _into(before, key, wanted[key])
    if missing:
        edits.append(before.add_keys(before.root, missing))  # behind all others
    changed = apply(text, edits)
    try:
        after = _parse(changed, line_break, first_line)
    except ResqueError:
        raise ResqueError(UNUSUAL) from None
    _check(before, after, facts, emissions)
    return changed, [fact for fact, _, _ in _own_metrics(after.root)]


def _into(front: YamlText, key: str, value: Any) -> list[Edit]:
    """Add to a key that is there; its value may hold nothing."""
    assert front.root is not None  # noqa: S101  (it holds the key)
    node = value_of(front.root, key)
    assert node is not None  # noqa: S101
    if is_empty(node):
        return front.fill(front.root, key, value)
    if key == CO2:
        return _emission_edits(front, front.root, node, value)
    front.refuse_alias(node, key)
    return _tag_edits(front, node) if key == "tags" else _index_edits(front, node, value[0])


def read_facts(text: str) -> list[Fact]:
    """Return the facts that front matter holds, in order.

    Raises:
        ResqueError: where it is no YAML.
    """
    return [fact for fact, _, _ in _own_metrics(_parse(text, "\n", 1).root)]


def _parse(text: str, line_break: str, first_line: int) -> YamlText:
    if len(text) > MAX_CHARACTERS:
        raise ResqueError(f"its front matter has over {MAX_CHARACTERS:,} characters")
    try:
        return parse(text, line_break, first_line)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1} of the card" if mark else ""
        raise ResqueError(f"its front matter is no YAML{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise ResqueError(f"its front matter is no YAML: {reason}") from error
    except ResqueError as error:
        raise ResqueError(f"its front matter cannot be read: {error}") from error


Found = tuple[Fact, yaml.SequenceNode, int]  # a fact, the list that its metric is in, its place


def _own_metrics(root: yaml.Node | None) -> Iterator[Found]:
    for model in _items(value_of(root, "model-index")):
        yield from _own_metrics_of(value_of(model, "results"))


def _own_metrics_of(results: yaml.Node | None) -> Iterator[Found]:
    for result in _items(results):
        metrics = value_of(result, "metrics")
        for i, metric in enumerate(_items(metrics)):
            fact = _fact(value_of(result, "dataset"), metric)
            if fact is not None and isinstance(metrics, yaml.SequenceNode):
                yield fact, metrics, i


def _fact(dataset: yaml.Node | None, metric: yaml.Node) -> Fact | None:
    kind = value_of(metric, "type")
    if dataset is None or kind is None or not isinstance(kind, yaml.ScalarNode):
        return None
    try:
        return from_metric(plain_value(dataset), plain_value(metric))
    except (yaml.YAMLError, ValueError):  # an alias, or a date that is none
        return None


def _index_edits(front: YamlText, index: yaml.Node, added: dict[str, Any]) -> list[Edit]:
    models = _items(index)
    if not models or not all(isinstance(model, yaml.MappingNode) for model in models):
        raise ResqueError("its model-index is no list of models with a name and results")
    name, results = added["name"], added["results"]
    model = next((m for m in models if _is_text(value_of(m, "name"), name)), models[0])
    known = value_of(model, "results")
    if not isinstance(model, yaml.MappingNode) or known is None:
        return [front.add_keys(model, {"results": results})]
    if is_empty(known):
        return front.fill(model, "results", results)
    front.refuse_alias(known, "results in model-index")
    if not isinstance(known, yaml.SequenceNode):
        raise ResqueError("the results in its model-index are no list")
    return [front.append(known, results)]


def _is_text(node: yaml.Node | None, text: str) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.value == text


def _tag_edits(front: YamlText, tags: yaml.Node) -> list[Edit]:
    known = tags.value if isinstance(tags, yaml.SequenceNode) else [tags]
    missing = [tag for tag in TAGS if not any(_is_text(node, tag) for node in known)]
    if not missing:
        return []
    if isinstance(tags, yaml.SequenceNode):
        return [front.append(tags, missing)]
    if isinstance(tags, yaml.ScalarNode) and tags.style not in ("|", ">"):
        return front.wrap(tags, missing)
    raise ResqueError("its tags are no list")


def _emission_edits(
    front: YamlText, root: yaml.MappingNode, old: yaml.Node, emissions: dict[str, Any]
) -> list[Edit]:
    if _is_own_emission(old):
        return [front.set_value(root, CO2, emissions)]
    log.warning(
        "the card has %s of its own (line %d), which stays; delete it there to have the record's",
        CO2,
        next(k for k, _ in root.value if k.value == CO2).start_mark.line + 1,
    )
    return []


def _is_own_emission(node: yaml.Node) -> bool:
    source = value_of(node, "source")
    return isinstance(source, yaml.ScalarNode) and source.value.startswith(f"{TOOL} ")


def _check(
    before: YamlText, after: YamlText, facts: Sequence[Fact], emissions: dict[str, Any] | None
) -> None:
    """Refuse an edit that changed what is not ours, or did not say what it was to say."""
    expected = {fact.identity: fact for fact, _, _ in _own_metrics(before.root)}
    expected |= {fact.identity: fact for fact in facts}
    said = {fact.identity: fact for fact, _, _ in _own_metrics(after.root)}
    tags = value_of(after.root, "tags")
    tagged = {node.value for node in _items(tags) if isinstance(node, yaml.ScalarNode)}
    kept = _foreign(before.root) == _foreign(after.root)
    ours = value_of(after.root, CO2)
    if emissions is not None and ours is not None and _is_own_emission(ours):
        kept = kept and plain_value(ours) == emissions
    if expected != said or not kept or not tagged >= set(TAGS):
        raise ResqueError(UNUSUAL)


def _foreign(root: yaml.MappingNode | None) -> list[Any]:
    """Return what front matter says beside what is ours, to compare."""
    pairs = [] if root is None else root.value
    said = [(outline(key), _foreign_value(key.value, value)) for key, value in pairs]
    return [pair for pair in said if pair[1]]


def _foreign_value(key: Any, value: yaml.Node) -> Any:
    if key == "tags":
        items = value.value if isinstance(value, yaml.SequenceNode) else [value]
        return [x for x in map(outline, items) if x[1] not in TAGS and x[1] != ""]
    if key in (CO2, "model-index") and is_empty(value):
        return None
    if key == CO2 and _is_own_emission(value):
        return None
    if key == "model-index" and isinstance(value, yaml.SequenceNode):
        return [x for x in map(_foreign_model, value.value) if x]
    return outline(value)


def _foreign_model(model: yaml.Node) -> Any:
    if not isinstance(model, yaml.MappingNode):
        return outline(model)
    own = {(id(metrics), i) for _, metrics, i in _own_metrics_of(value_of(model, "results"))}
    found = [(outline(k), outline(v)) for k, v in model.value if k.value not in ("name", "results")]
    for result in _items(value_of(model, "results")):
        metrics = value_of(result, "metrics")
        if not any(place == id(metrics) for place, _ in own):
            found.append(outline(result))
            continue
        rest = [outline(x) for i, x in enumerate(_items(metrics)) if (id(metrics), i) not in own]
        if rest:
            around = [(outline(k), outline(v)) for k, v in result.value if v is not metrics]
            found.append((around, rest))
    return found


def _items(node: yaml.Node | None) -> list[yaml.Node]:
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
