"""Say what a release is of, or why it cannot be made: the tag, the version and the changelog agree.

    python tools/check_release.py v1.2.0 > notes.md

The version's one place is `src/resque/__init__.py`; the notes are the changelog's section.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def release_notes(tag: str, source: str, changelog: str) -> str:
    """Return the changelog's section of a release.

    Args:
        tag: as in "v1.2.0".
        source: text of the package's `__init__.py`.
        changelog: text of the changelog.

    Raises:
        ValueError: where the tag is not the version, or the changelog says nothing of it.
    """
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.M)
    version = found[1] if found else None
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag}, and the version {version}: tag v{version}")
    sections = re.split(r"^## ", changelog, flags=re.M)[1:]
    titled = {title.split()[0]: text for title, _, text in (s.partition("\n") for s in sections)}
    notes = titled.get(str(version), "").strip()
    if not notes:
        raise ValueError(f'CHANGELOG.md has no section "## {version}" with a text')
    if titled.get("Unreleased", "").strip():
        raise ValueError(
            f'CHANGELOG.md still lists changes as Unreleased: move them to "{version}"'
        )
    return notes + "\n"


def main() -> int:
    """Print the notes."""
    if len(sys.argv) != 2:
        print("usage: python tools/check_release.py vX.Y.Z", file=sys.stderr)
        return 2
    try:
        notes = release_notes(
            sys.argv[1],
            (ROOT / "src" / "resque" / "__init__.py").read_text(encoding="utf-8"),
            (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        )
    except ValueError as error:
        print(f"no release: {error}", file=sys.stderr)
        return 1
    print(notes, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
