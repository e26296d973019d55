"""Write the JSON schemas of cost records and of a ledger's entries from their dataclasses.

Needs pydantic, which codecarbon brings. Descriptions are the dataclasses' docstrings.

    python tools/make_schema.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from resque import ledger, records

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "resque"


def describe(name: str, schema: dict[str, Any]) -> None:
    """Add the descriptions of a dataclass and its fields to its schema."""
    kind = getattr(records, name, None) or getattr(ledger, name)
    text = kind.__doc__
    first, _, listed = text.partition("Attributes:\n")
    schema["description"] = " ".join(first.split())
    schema["additionalProperties"] = False
    schema["required"] = list(schema["properties"])
    for found in re.finditer(r"^        (\w+): (.+(?:\n {12}.+)*)", listed, re.M):
        schema["properties"][found[1]]["description"] = " ".join(found[2].split())


def write(kind: type[Any], file: str) -> None:
    """Write the schema of a dataclass."""
    schema = TypeAdapter(kind).json_schema()
    for name, part in schema["$defs"].items():
        describe(name, part)
    describe(kind.__name__, schema)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    text = json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
    (PACKAGE / file).write_text(text, encoding="utf-8")


def main() -> None:
    """Write the files."""
    write(records.CostRecord, "cost_record.schema.json")
    write(ledger.Entry, "ledger_entry.schema.json")


if __name__ == "__main__":
    main()
