"""What a visitor brought: a folder for each, that no address leads to, removed when they leave."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import gradio as gr

YOUR_FILES = "Your files"  # the choice of what a visitor brought
PUBLIC_NAME = "your-files"  # what a visitor's own data is called in commands and reports


@dataclass
class Visitors:
    """Private folders of visitors, by gradio's session.

    Attributes:
        cache: folder where datasets keeps what it reads, in a folder of the same name.
    """

    cache: Path
    _root: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="resque-visitors-")))
    _folders: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def with_own_cache(cls) -> Visitors:
        """Make datasets of this process and its children keep what it reads in a new folder."""
        cache = Path(tempfile.mkdtemp(prefix="resque-datasets-"))
        os.environ["HF_DATASETS_CACHE"] = str(cache)
        return cls(cache)

    def fresh_folder(self, visitor: str) -> Path:
        """Return an empty folder in place of the visitor's last one."""
        self.forget(visitor)
        self._folders[visitor] = Path(tempfile.mkdtemp(dir=self._root))
        return self._folders[visitor]

    def path(self, visitor: str) -> str:
        """Return the visitor's folder, or an empty text."""
        return str(self._folders.get(visitor, ""))

    def public(self, visitor: str, text: str) -> str:
        """Return a text in which the visitor's folder has its public name."""
        path = self.path(visitor)
        return text.replace(path, PUBLIC_NAME) if path else text

    def forget(self, visitor: str) -> None:
        """Remove what a visitor brought."""
        folder = self._folders.pop(visitor, None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(self.cache / folder.name, ignore_errors=True)

    def leave(self, request: gr.Request) -> None:
        """Remove what the visitor of a session brought."""
        self.forget(str(request.session_hash))

    def close(self) -> None:
        """Remove what all visitors brought."""
        self._folders.clear()
        for folder in (self._root, self.cache):
            shutil.rmtree(folder, ignore_errors=True)
