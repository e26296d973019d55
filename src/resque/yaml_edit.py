"""Edits a YAML text where it is to change, and leaves every other character as it is."""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from resque.errors import ResqueError

ALIAS = "alias"  # the tag of a node that stands for another
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./]+)*")
# What some reader of YAML takes for no text.
NOT_TEXT = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True)
class Edit:
    """Characters to put in the place of others.

    Attributes:
        start: index of the first that goes.
        stop: index after the last that goes.
        text: what comes instead.
    """

    start: int
    stop: int
    text: str


@dataclass
class YamlText:
    """A YAML text and where its parts are. Its methods tell edits, and change nothing.

    Attributes:
        text: it ends with a line break.
        line_break: that new lines get.
        root: its mapping; None where it holds nothing.
    """

    text: str
    line_break: str
    root: yaml.MappingNode | None
    _dashes: list[int] = field(default_factory=list, repr=False)
    _shared: dict[int, str] = field(default_factory=dict, repr=False)  # anchors, by id of the node

    def add_keys(self, mapping: yaml.MappingNode | None, new: dict[str, Any]) -> Edit:
        """Give a mapping more keys, at its end; None for the root of an empty text."""
        if mapping is None:
            return self._lines(len(self.text), new, 0)
        if mapping.flow_style:
            return self._into_flow(mapping, [v for _, v in mapping.value], flow(new)[1:-1])
        column = mapping.value[0][0].start_mark.column
        at = len(self.text) if mapping is self.root else self._line_after(mapping)
        return self._lines(at, new, column)

    def set_value(self, mapping: yaml.MappingNode, key: str, value: Any) -> Edit:
        """Give a key of a mapping another value.

        Raises:
            ResqueError: where its value is an alias.
        """
        old = next(v for k, v in mapping.value if k.value == key)
        self.refuse_alias(old, key)
        if getattr(old, "flow_style", True):
            return Edit(old.start_mark.index, old.end_mark.index, flow(value))
        start, column = old.start_mark.index, old.start_mark.column
        lines = block(value, column, self.line_break)
        return Edit(start, self._line_after(old), lines[column:])

    def fill(self, mapping: yaml.MappingNode, key: str, value: Any) -> list[Edit]:
        """Give a key that holds nothing, `key:` or `key: []`, a value; a comment beside it stays.

        Raises:
            ResqueError: where it holds an alias.
        """
        name, old = next((k, v) for k, v in mapping.value if k.value == key)
        self.refuse_alias(old, key)
        if mapping.flow_style:
            return [self.set_value(mapping, key, value)]
        away = Edit(old.start_mark.index, old.end_mark.index, "")
        column = name.start_mark.column + (2 if isinstance(value, dict) else 0)
        return [away, self._lines(self._line_after(old), value, column)]

    def append(self, sequence: yaml.SequenceNode, items: Sequence[Any]) -> Edit:
        """Give a sequence more items, at its end."""
        if sequence.flow_style:
            text = ", ".join(map(flow, items))
            return self._into_flow(sequence, sequence.value, text)
        column = self._column_at(self._dash(sequence.value[0]))
        return self._lines(self._line_after(sequence), list(items), column)

    def replace_item(self, sequence: yaml.SequenceNode, i: int, value: Any) -> Edit:
        """Put another value in the place of an item."""
        item = sequence.value[i]
        if sequence.flow_style:
            return Edit(item.start_mark.index, item.end_mark.index, flow(value))
        dash = self._dash(item)
        lines = block([value], self._column_at(dash), self.line_break)
        return Edit(dash, self._line_after(item), lines.lstrip(" "))

    def wrap(self, scalar: yaml.ScalarNode, items: Sequence[Any]) -> list[Edit]:
        """Make a scalar on one line the first item of a list."""
        rest = "".join(f", {flow(item)}" for item in items)
        return [
            Edit(scalar.start_mark.index, scalar.start_mark.index, "["),
            Edit(scalar.end_mark.index, scalar.end_mark.index, f"{rest}]"),
        ]

    def refuse_alias(self, node: yaml.Node, what: str) -> None:
        """Raise ResqueError where a node is an alias or has one: an edit changes another place."""
        if node.tag == ALIAS:
            raise ResqueError(
                f"its {what} is an alias, *{node.value} (line {node.start_mark.line + 1} of the "
                "card): write out what it stands for, and try again"
            )
        if id(node) in self._shared:
            anchor = self._shared[id(node)]
            raise ResqueError(
                f"its {what} (line {node.start_mark.line + 1} of the card) is used elsewhere as "
                f"*{anchor}: write it out there, and try again"
            )

    def _into_flow(self, node: yaml.Node, inside: list[yaml.Node], text: str) -> Edit:
        if inside:
            at = inside[-1].end_mark.index
            return Edit(at, at, f", {text}")
        at = node.end_mark.index - 1
        return Edit(at, at, text)

    def _lines(self, at: int, value: Any, column: int) -> Edit:
        missing = "" if at == 0 or self.text[at - 1] in "\r\n" else self.line_break
        return Edit(at, at, missing + block(value, column, self.line_break))

    def _line_after(self, node: yaml.Node) -> int:
        """Return where a new line may begin after a node: a comment beside its end is before it."""
        while not getattr(node, "flow_style", None) and isinstance(node.value, list) and node.value:
            last = node.value[-1]
            node = last[1] if isinstance(last, tuple) else last
        at: int = node.end_mark.index
        if getattr(node, "style", None) in ("|", ">"):
            return at
        found = re.compile(r"\r\n|\n|\r|$").search(self.text, at)
        return found.end() if found else len(self.text)

    def _column_at(self, index: int) -> int:
        return index - max(self.text.rfind("\n", 0, index), self.text.rfind("\r", 0, index)) - 1

    def _dash(self, item: yaml.Node) -> int:
        return self._dashes[bisect.bisect_left(self._dashes, item.start_mark.index) - 1]


def parse(text: str, line_break: str, first_line: int = 1) -> YamlText:
    """Find the parts of a YAML text whose root is a mapping, or that holds nothing.

    Args:
        text: ends with a line break.
        line_break: for new lines.
        first_line: number of its first line, for the text of errors.

    Raises:
        yaml.MarkedYAMLError: where it is no YAML.
        ResqueError: where it is none of these, or nested too deeply.
    """
    loader = _Loader(text, first_line)
    try:
        root = loader.get_single_node()
    except RecursionError:
        raise ResqueError("it is nested too deeply") from None
    finally:
        loader.dispose()
    if isinstance(root, yaml.ScalarNode) and root.tag == "tag:yaml.org,2002:null":
        root = None
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ResqueError("it is no mapping of keys to values")
    return YamlText(text, line_break, root, loader.dashes, loader.shared)


def value_of(mapping: yaml.Node | None, key: str) -> yaml.Node | None:
    """Return the value of a key; None where there is no mapping, or no such key in it.

    Raises:
        ResqueError: where the key comes twice.
    """
    if not isinstance(mapping, yaml.MappingNode):
        return None
    found = [(k, v) for k, v in mapping.value if k.value == key]
    if len(found) > 1:
        lines = " and ".join(str(k.start_mark.line + 1) for k, _ in found[:2])
        raise ResqueError(f"{key} comes twice (lines {lines} of the card): keep one of them")
    return found[0][1] if found else None


def is_empty(node: yaml.Node) -> bool:
    """Whether a node is null, `[]` or `{}`."""
    return bool(node.tag == "tag:yaml.org,2002:null" or node.value == [])


def plain_value(node: yaml.Node) -> Any:
    """Return what a node without aliases says, in Python's types.

    Raises:
        yaml.MarkedYAMLError: where it holds an alias, or is of a type of its own.
    """
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    finally:
        loader.dispose()


def outline(node: yaml.Node | None) -> Any:
    """Return tags and values of a node, to compare two; aliases stay what they are."""
    if node is None:
        return None
    if isinstance(node, yaml.MappingNode):
        return node.tag, [(outline(k), outline(v)) for k, v in node.value]
    if isinstance(node, yaml.SequenceNode):
        return node.tag, [outline(item) for item in node.value]
    return node.tag, node.value


def apply(text: str, edits: Sequence[Edit]) -> str:
    """Make edits that do not overlap; those at one place come in the order given."""
    for edit in sorted(edits, key=lambda e: (e.start, e.stop))[::-1]:
        text = text[: edit.start] + edit.text + text[edit.stop :]
    return text


def block(value: Any, column: int, line_break: str) -> str:
    r"""Write a value as lines of YAML.

    >>> print(block({"tags": ["resque", "1"]}, 2, "\n"), end="")
      tags:
      - resque
      - "1"
    """
    return "".join(f"{' ' * column}{line}{line_break}" for line in _block_lines(value))


def _block_lines(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            lines = list(_block_lines(item))
            yield f"- {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, list) and any(isinstance(x, str | dict) for x in item):
                yield f"{_scalar(key)}:"
                yield from _block_lines(item)
            elif isinstance(item, dict):
                yield f"{_scalar(key)}:"
                yield from (f"  {line}" for line in _block_lines(item))
            else:
                yield f"{_scalar(key)}: {flow(item)}"
    else:
        yield _scalar(value)


def flow(value: Any) -> str:
    """Write a value on one line.

    >>> flow({"interval": [0.1, 1e-05], "name": "a: b"})
    '{interval: [0.1, 1.0e-05], name: "a: b"}'
    """
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(k)}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """Write text without quotes only where every version of YAML reads it as that text."""
    if isinstance(value, str):
        plain = PLAIN.fullmatch(value) and value.lower() not in NOT_TEXT
        return value if plain else json.dumps(value, ensure_ascii=False)
    text = json.dumps(value, allow_nan=False)
    return re.sub(r"^(-?\d+)e", r"\1.0e", text)  # 1e-05 is text for YAML 1.1


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Composes nodes with their places; an alias is a node of its own."""

    def __init__(self, text: str, first_line: int) -> None:
        super().__init__(text)
        self.line = first_line - 1  # marks count from there
        self.dashes: list[int] = []
        self.shared: dict[int, str] = {}

    def fetch_block_entry(self) -> None:
        self.dashes.append(self.get_mark().index)
        super().fetch_block_entry()

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()
            self.shared[id(self.anchors.get(event.anchor))] = event.anchor
            return yaml.ScalarNode(ALIAS, event.anchor, event.start_mark, event.end_mark)
        return super().compose_node(parent, index)
