"""Let the documentation's pages link to files of the repository: these go with the site.

A hook of MkDocs (see mkdocs.yml). A page under docs/ names a file outside of docs/ by its relative
path, which GitHub follows. The site gets a copy of it under files/, and the page links there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
HOME = "files"
LINK = re.compile(r"(\]\(|(?:src|srcset|href)=\")((?:\.\./)+[^)#\"\s]+)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links to files outside of docs/ to their copies, which are added to the site."""
    folder = Path(page.file.abs_src_path).parent
    docs = Path(config.docs_dir)

    def copied(found: re.Match[str]) -> str:
        target = (folder / found[2]).resolve()
        if target.is_relative_to(docs):
            return found[0]
        if not (target.is_file() and target.is_relative_to(ROOT)):
            raise PluginError(f"{page.file.src_uri}: there is no file {found[2]}")
        if target.name == "report.md" and target.with_suffix(".html").is_file():
            target = target.with_suffix(".html")  # the same report, for browsers
        uri = f"{HOME}/{target.relative_to(ROOT).as_posix()}"
        if target.suffix in (".md", ".py", ".yaml", ".sh", ".jsonl"):
            uri += ".txt"  # browsers show text, and MkDocs takes no .md for a page
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(target)))
        return found[1] + os.path.relpath(docs / uri, folder)

    return LINK.sub(copied, markdown)
