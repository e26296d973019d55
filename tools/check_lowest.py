"""Fail where constraints/lowest.txt and pyproject.toml's lower bounds disagree."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TABLES = re.compile(
    r"^dependencies = \[.*?^\]|^\[project\.optional-dependencies\].*?(?=^\[)", re.M | re.S
)
BOUND = re.compile(r'"([A-Za-z0-9._-]+)>=([^",;<]+)[^"]*"')
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.M)


def lower_bounds(pyproject: str) -> set[tuple[str, str]]:
    """Return (name, version) of each `name>=version` in the dependencies and extras.

    Plain text search: tomllib is not in Python 3.10's standard library.
    """
    return {pair for table in TABLES.findall(pyproject) for pair in BOUND.findall(table)}


def main() -> int:
    """Print each disagreement; return 1 where there is one, else 0."""
    bounds = lower_bounds((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pins = set(PIN.findall((ROOT / "constraints" / "lowest.txt").read_text(encoding="utf-8")))
    if not bounds:
        print("pyproject.toml: no lower bound found", file=sys.stderr)
        return 1
    for name, version in sorted(bounds - pins):
        print(f"constraints/lowest.txt lacks {name}=={version}", file=sys.stderr)
    for name, version in sorted(pins - bounds):
        print(f"pyproject.toml has no {name}>={version}", file=sys.stderr)
    return int(bounds != pins)


if __name__ == "__main__":
    sys.exit(main())
