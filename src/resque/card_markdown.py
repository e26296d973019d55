"""The section of a card's body: its place between two markers, and its text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from resque.card_facts import FORECAST, Fact
from resque.errors import ResqueError
from resque.public_text import clean
from resque.rendering import render

BEGIN, END = "<!-- resque:begin -->", "<!-- resque:end -->"
NAME_LENGTH = 80  # characters of a name in a table
SIGNIFICANT = 0.05  # p-value below which a shift is told from noise
BARS = 30  # characters of the longest bar
MAX_BARS = 40


def put_section(body: str, section: str, line_break: str, first_line: int = 1) -> str:
    r"""Return a body with a section between its markers, at its end where it has no markers.

    Args:
        body: Markdown without front matter.
        section: lines that end with "\n".
        line_break: that the section gets.
        first_line: number of the body's first line, for the text of errors.

    Raises:
        ResqueError: where a marker is missing or comes twice, or a code block is never closed.
    """
    section = section.replace("\n", line_break)
    found = _markers(body, first_line)
    if found:
        start, stop = found
        return f"{body[:start]}{section}{body[stop:]}"
    before = body if not body or body.endswith(("\n", "\r")) else body + line_break
    if before and not before.endswith((f"{line_break}{line_break}", "\n\n", "\r\n\r\n")):
        before += line_break
    opened = f"{before}{BEGIN}{line_break}"
    changed = f"{opened}{section}{END}{line_break}"
    if not _stands_alone(changed, len(opened)):
        raise ResqueError(
            "its last code block or HTML comment is never closed, so that a section after it would "
            "be part of it: close it, and try again"
        )
    return changed


def _stands_alone(body: str, start: int) -> bool:
    """Whether a section that was added is found again where it begins."""
    try:
        found = _markers(body, 1)
    except ResqueError:
        return False
    return found is not None and found[0] == start


def _markers(body: str, first_line: int) -> tuple[int, int] | None:
    """Return where the text between the markers begins and ends; None without markers."""
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", body)
    places: dict[str, list[int]] = {BEGIN: [], END: []}
    for i in sorted(_comment_lines(body)):
        if i < len(lines) and lines[i].strip() in places:
            places[lines[i].strip()].append(i)
    begins, ends = places[BEGIN], places[END]
    if not begins and not ends:
        return None
    if len(begins) == len(ends) == 1 and begins[0] < ends[0]:
        return len("".join(lines[: begins[0] + 1])), len("".join(lines[: ends[0]]))
    at = [f"{mark} on line {i + first_line}" for mark, found in places.items() for i in found]
    raise ResqueError(
        f"its markers are not one begin and one end after it: {', '.join(at)}. Delete what is too "
        "much, or put back what is missing, and try again"
    )


def _comment_lines(body: str) -> set[int]:
    """Return the lines of HTML blocks: what stands in code is no marker."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").parse(body)
    return {i for t in tokens if t.type == "html_block" and t.map for i in range(*t.map)}


def section_of(facts: Sequence[Fact], figure: str | None = None) -> str:
    """Write the section that tells facts.

    Args:
        facts: of the front matter, in its order.
        figure: path in the repository of the figure that shows them; None for bars of text.
    """
    indices = [fact for fact in facts if fact.is_index]
    costs = sorted((fact for fact in facts if not fact.is_index), key=_kind, reverse=True)
    first = list({fact.shift: fact for fact in reversed(indices)}.values())[::-1]
    commands = dict.fromkeys(str(f.args["command"]) for f in facts if f.args.get("command"))
    text = "\n".join(commands)
    return render(
        "card_section.md.jinja",
        {
            "indices": [_index_cells(fact, costs, fact in first) for fact in indices],
            "costs": [_cost_cells(fact) for fact in costs],
            "worst": [line for fact in first if (line := _worst(fact))],
            "figure": figure,
            "bars": _bars(indices) if indices and figure is None else None,
            "commands": text,
            "fence": _fence(text),
            "forecasts": any(fact.args.get("kind") == FORECAST for fact in costs),
            "estimated": any(fact.args.get("energy") == "estimated" for fact in costs),
            "tasks": any(fact.metric == "resque_task" for fact in indices),
            "models": _revisions(facts),
        },
    )


def code(text: Any, length: int = NAME_LENGTH) -> str:
    r"""Return text as code in a cell of a table: nothing in it is Markdown, HTML or a formula.

    >>> code("a|<b>`*c*")
    '``a\\|<b>`*c*``'
    """
    line = clean(text, length) or "?"
    longest = max(map(len, re.findall("`+", line)), default=0)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    ticks = "`" * (longest + 1)
    inside = line.replace("|", "\\|")
    return f"{ticks}{pad}{inside}{pad}{ticks}"


def _fence(text: str) -> str:
    return "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))


def shift_name(fact: Fact) -> str:
    """Return what a fact is of, in plain text.

    >>> from resque.card_facts import Place
    >>> shift_name(Fact("resque_dist", 0.1, Place("org/d", split="test"), {"corruption": "blur:1"}))
    'blur:1 on org/d#test'
    """
    return " ".join(word for word, _ in _shift_words(fact))


def _shift(fact: Fact) -> str:
    return " ".join(code(word) if is_name else word for word, is_name in _shift_words(fact))


def _shift_words(fact: Fact) -> list[tuple[str, bool]]:
    """Return words, and whether each is somebody's name of something."""
    args, data = fact.args, str(fact.place)
    column, original, corruption = (
        args.get(name) for name in ("label_column", "original", "corruption")
    )
    if fact.metric == "resque_task":
        words = [("new task", False), (data, True)]
        return [*words, ("classes", False), (str(column), True)] if column else words
    words = [(str(corruption), True), ("on", False)] if corruption else []
    words.append((data, True))
    other = original and original != data and not corruption
    return [*words, ("after", False), (str(original), True)] if other else words


def _index_cells(fact: Fact, costs: Sequence[Fact], first: bool) -> list[str]:
    """Return the cells of an index; its costs stand beside the first layer of its shift."""
    args = fact.args
    same = [cost for cost in costs if first and cost.shift == fact.shift]
    return [
        _shift(fact),
        code(args.get("layer", "?")),
        f"{fact.metric.replace('resque', 'RESQUE')} {float(fact.value):.3f} *measured*",
        _between(args.get("interval"), "{:.3f}"),
        _floor(args),
        " → ".join(f"{x:.1%}" for x in args.get("accuracy", ())) or "–",
        "; ".join(map(_brief, same)) or "–",
    ]


def _floor(args: dict[str, Any]) -> str:
    if "noise_floor" not in args:
        return "–"
    p = args.get("p_value")
    chance = "" if p is None else " (p < 0.0001)" if p < 1e-4 else f" (p = {p:.2g})"
    return f"{args['noise_floor']:.3f}{chance}"


def _brief(cost: Fact) -> str:
    return f"{code(cost.args.get('strategy', '?'))} {_epochs(cost)} *{_kind(cost)}*"


def _cost_cells(fact: Fact) -> list[str]:
    return [
        _shift(fact),
        code(fact.args.get("strategy", "?")),
        _target(fact.args.get("target")),
        f"{_epochs(fact)} *{_kind(fact)}*",
        _amount(fact, "energy_kwh", 1000, "Wh"),
        _amount(fact, "co2eq_g", 1, "g"),
        _notes(fact),
    ]


def _kind(fact: Fact) -> str:
    return FORECAST if fact.args.get("kind") == FORECAST else "measured"


def _epochs(fact: Fact) -> str:
    known = isinstance(fact.value, int | float)
    value = f"{fact.value:.2g}" if known else _bound(fact.value)
    interval = fact.args.get("interval")
    return f"{value} [{_between(interval, '{:.2g}')}]" if interval else value


def _bound(value: Any) -> str:
    found = re.fullmatch(r"> ?(\d+(?:\.\d+)?(?:e[+-]?\d+)?)", str(value))
    return f"more than {found[1]}" if found else "?"


def _between(ends: Any, form: str) -> str:
    return f"{form.format(ends[0])} to {form.format(ends[1])}" if ends else "–"


def _target(target: Any) -> str:
    kind, _, value = str(target or "").partition(":")
    if not re.fullmatch(r"\d+(\.\d+)?", value):
        return "none"
    return f"{value} of the original accuracy" if kind == "recovery" else f"accuracy {value}"


def _amount(fact: Fact, name: str, factor: float, unit: str) -> str:
    args = fact.args
    if name not in args:
        return "–"
    how = FORECAST if _kind(fact) == FORECAST else args.get("energy", "estimated")
    ends = [factor * x for x in args.get(f"{name}_interval", ())]
    between = f" [{_between(ends, '{:.2g}')}]" if ends else ""
    known = "measured" if how == "measured" else FORECAST if how == FORECAST else "estimated"
    return f"{factor * args[name]:.3g}{between} {unit} *{known}*"


def _notes(fact: Fact) -> str:
    args = fact.args
    if _kind(fact) == FORECAST:
        runs = f"from {args['runs']:g} retrainings" if "runs" in args else ""
        level = f"interval {args['level']:.0%}" if "level" in args else ""
        outside = "outside of what they have seen" if args.get("outside") is True else ""
        return ", ".join(filter(None, (level, runs, outside))) or "–"
    runs = args.get("runs", 1)
    count = "one run" if runs == 1 else f"median of {runs:g} runs"
    reached = args.get("reached")
    return count if reached in (None, runs) else f"{count}, {reached:g} reached the target"


def _worst(fact: Fact) -> str:
    """Name the classes that moved most; empty where nothing moved beyond noise."""
    classes = fact.args.get("most_shifted")
    if not classes or fact.args.get("p_value", 1.0) >= SIGNIFICANT:
        return ""
    listed = ", ".join(f"{code(name, 40)} {value:.3f}" for name, value in classes)
    return f"{_shift(fact)}, {code(fact.args.get('layer', '?'))}: {listed}"


def _revisions(facts: Sequence[Fact]) -> str:
    known = dict.fromkeys(f.args.get("model_revision") for f in facts)
    return ", ".join(code(x, 40) for x in known if x)


def _bars(indices: Sequence[Fact]) -> str:
    """Draw the indices as lines of text."""
    shown = indices[:MAX_BARS]
    names = [clean(shift_name(fact), 40).replace("`", "'") for fact in shown]
    width, top = max(map(len, names)), max(*(float(f.value) for f in shown), 1e-9)
    lines = []
    for name, fact in zip(names, shown, strict=True):
        value = float(fact.value)
        bar = "█" * round(BARS * value / top)
        lines.append(f"{name:<{width}}  {value:.3f}  {bar}".rstrip())
    return "\n".join(lines)
