"""`resque cache`: what `resque rank` keeps of models that it measured."""

from __future__ import annotations

from typing import Annotated

import typer

from resque.cli import options as o

EXAMPLES = "Example: `resque cache --clear`"


def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Drop all of it.")] = False,
    as_json: o.Json = False,
) -> None:
    """Show, or clear, what `resque rank` keeps so that an interrupted ranking goes on."""
    o.prepare(as_json)
    from resque import rank_cache

    found = rank_cache.clear() if clear else rank_cache.contents()
    if as_json:
        o.show_json(found.to_dict() | {"cleared": clear})
        return
    done = "cleared: " if clear else ""
    limit = rank_cache.LIMIT / 1e6
    print(f"{done}{found.entries} results, {found.bytes / 1e6:.1f} MB of at most {limit:.0f} MB")
    print(found.folder)
