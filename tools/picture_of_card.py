"""Draw the section that `resque card` wrote on a card, as a picture for the README.

    python tools/picture_of_card.py FOLDER examples/card.png

Needs Chromium on the PATH. The Hub renders cards with a style of its own; this is a plain one.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from markdown_it import MarkdownIt

STYLE = """
body { font: 16px/1.5 "DejaVu Sans", sans-serif; color: #1f2328; margin: 24px; width: 912px; }
table { border-collapse: collapse; font-size: 14px; }
th, td { border: 1px solid #d1d9e0; padding: 6px 11px; text-align: left; }
code { background: #eff1f3; border-radius: 4px; padding: 1px 4px; font-size: 85%; }
pre { background: #f6f8fa; padding: 12px; white-space: pre-wrap; }
pre code { padding: 0; }
img { max-width: 100%; }
"""
SECTION = re.compile(r"<!-- resque:begin.*?-->(.*)<!-- resque:end -->", re.S)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run")


def page(folder: Path) -> str:
    """Return the section as a page that needs no other file."""
    found = SECTION.search((folder / "README.md").read_text(encoding="utf-8"))
    if not found:
        sys.exit(f"{folder}/README.md has no section of resque")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(found[1])

    def inline(match: re.Match[str]) -> str:
        data = base64.b64encode((folder / match[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{data}"'

    body = re.sub(r'src="([^":]+\.png)"', inline, body)
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{body}"


def main() -> None:
    """Write the picture."""
    folder, picture = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no Chromium on the PATH")
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "card.html")
        file.write_text(page(folder), encoding="utf-8")
        size = "--window-size=960," + (sys.argv[3] if len(sys.argv) > 3 else "1400")
        shot = [f"--user-data-dir={place}/browser", f"--screenshot={picture}", size]
        subprocess.run([browser, *FLAGS, *shot, file.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main()
