"""Write src/resque/cost_record.schema.json from the dataclasses of `resque.records`.

Needs pydantic, which codecarbon brings. Descriptions are the dataclasses' docstrings.

    python tools/make_schema.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from resque import records

TARGET = Path(__file__).resolve().parents[1] / "src" / "resque" / "cost_record.schema.json"


def describe(name: str, schema: dict[str, Any]) -> None:
    """Add the descriptions of a dataclass and its fields to its schema."""
    text = getattr(records, name).__doc__
    first, _, listed = text.partition("Attributes:\n")
    schema["description"] = " ".join(first.split())
    schema["additionalProperties"] = False
    schema["required"] = list(schema["properties"])
    for found in re.finditer(r"^        (\w+): (.+(?:\n {12}.+)*)", listed, re.M):
        schema["properties"][found[1]]["description"] = " ".join(found[2].split())


def main() -> None:
    """Write the file."""
    schema = TypeAdapter(records.CostRecord).json_schema()
    for name, part in schema["$defs"].items():
        describe(name, part)
    describe("CostRecord", schema)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    TARGET.write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
