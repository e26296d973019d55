"""HTML of answers: templates filled with reports, every text of which is escaped."""

from __future__ import annotations

import base64
import math
import re
import urllib.parse
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

FOLDER = Path(__file__).resolve().parent
STEPS = ((1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))


def render(name: str, **facts: Any) -> str:
    """Return the template of that name, filled."""
    return _environment().get_template(name).render(**facts)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "index": index,
        "number": number,
        "percent": percent,
        "place": place,
        "download": download,
        "flags": flags,
    }
    return made


def index(value: float) -> str:
    """Return an index with the digits that its error leaves.

    >>> index(0.05349), index(0.00246)
    ('0.053', '0.0025')
    """
    return f"{value:.3f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"


def number(value: float, digits: int = 2) -> str:
    """Return a number with so many significant digits, without an exponent where it is readable.

    >>> number(1234.5), number(0.0049), number(3.0), number(1e-9)
    ('1,234', '0.0049', '3', '1e-09')
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "∞"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def percent(value: float) -> str:
    """Return a share as a percentage.

    >>> percent(0.9734)
    '97.3 %'
    """
    return f"{100 * value:.1f} %"


def place(value: float) -> str:
    """Return where a share of the scale from 0 to 1 lies, for CSS.

    >>> place(0.0534)
    '5.34%'
    """
    return f"{100 * min(max(value, 0.0), 1.0):.4g}%"


def amount(found: dict[str, Any], unit: str, factor: float = 1.0) -> tuple[str, str]:
    """Return a forecast amount and its interval, in a unit whose prefix fits both.

    >>> amount({"value": 4.1e-05, "interval": [0, 6e-04]}, "Wh", 1000)
    ('0.041 Wh', '0 to 0.6')
    """
    numbers = [factor * x for x in (found["value"], *found["interval"])]
    steps = STEPS if unit else ((1.0, ""),)
    step, prefix = next((x for x in steps if numbers[2] >= 0.1 * x[0]), steps[-1])
    value, low, high = (number(x / step) for x in numbers)
    return f"{value} {prefix}{unit}".rstrip(), f"{low} to {high}"


def download(text: str) -> str:
    """Return a `data:` address of a JSON document: a download without a file on the server."""
    return "data:application/json;base64," + base64.b64encode(text.encode()).decode()


def flags(text: str) -> list[str]:
    """Return a command in parts, so that its flags, which start with dashes, stand alone.

    >>> flags("ls --all here")
    ['ls ', '--all', ' here']
    """
    return re.split(r"(--[\w-]+)", text)


def refusal(sentence: str) -> str:
    """Return the block that says why there is no answer."""
    return render("refusal.html", sentence=sentence)


def link(tab: str, **state: Any) -> str:
    """Return the query of a link that restores a state."""
    given = {name: value for name, value in state.items() if value not in ("", None)}
    return "?" + urllib.parse.urlencode({"tab": tab, **given})
