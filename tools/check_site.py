"""Fail where a page of the built documentation would ask another host for something.

    python tools/check_site.py site

Links that a reader may follow are fine; whatever a browser loads by itself is not. The theme's
script can load Mermaid from elsewhere, for pages with such diagrams: there must be none.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

LOADS = {"src", "srcset", "poster", "data", "action"}
STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')\s]+)")


class Loads(HTMLParser):
    """Collects the addresses that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag loads from another host."""
        given = {name: value or "" for name, value in attrs}
        loads = [given[name] for name in LOADS & set(given)]
        rel = set(given.get("rel", "").split())
        if tag == "link" and not rel & {"canonical", "prev", "next"}:
            loads.append(given.get("href", ""))
        if "mermaid" in given.get("class", "").split():
            loads.append("//mermaid")
        self.found += [x for x in loads if re.match(r"\s*(https?:)?//", x)]
        self.found += STYLE.findall(given.get("style", ""))


def main(site: Path) -> int:
    """Print each such address with its page; return 1 where there is one, else 0."""
    pages = sorted(site.rglob("*.html"))
    if not pages:
        sys.exit(f"{site} holds no page")
    bad = []
    for path in pages:
        page = Loads()
        text = path.read_text(encoding="utf-8")
        page.feed(text)
        styles = re.findall(r"<style.*?</style>", text, re.S)
        bad += [(path, x) for x in (*page.found, *STYLE.findall("".join(styles)))]
    for path in site.rglob("*.css"):
        bad += [(path, x) for x in STYLE.findall(path.read_text(encoding="utf-8"))]
    for path, address in bad:
        print(f"{path}: loads {address}", file=sys.stderr)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
