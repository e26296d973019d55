"""What both tabs ask of the workers for a visitor: names looked up, files read."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

import jobs
import pages
from cases import DATA, MODELS
from hub_names import check_names
from limits import MAX_UPLOAD_BYTES
from upload_rows import counted
from visitors import YOUR_FILES, Visitors
from workers import Refusal, Stopped, Turn, Workers

BUNDLED = (*MODELS, DATA)
FOLDER_MARK = "--in--"  # page.html writes it into the names of a folder's files


@dataclass
class Desk:
    """Where a visitor's wishes come in.

    Attributes:
        workers: run models, and read files.
        visitors: keep what visitors bring.
    """

    workers: Workers
    visitors: Visitors

    def stop(self, request: gr.Request) -> None:
        """End what a visitor has underway; it tells that by itself."""
        if turn := self.workers.turns.get(str(request.session_hash)):
            turn.stop()

    async def checked(
        self, turn: Turn, visitor: str, models: Sequence[str], data: Sequence[str]
    ) -> AsyncIterator[str]:
        """Look up on the Hub what is not ours or the visitor's; yield what it is at.

        Raises:
            Refusal: for what this page does not run.
            Stopped: where the visitor stopped it.
        """
        ours = (*BUNDLED, self.visitors.path(visitor))
        asked = tuple(x for x in models if x not in ours), tuple(x for x in data if x not in ours)
        if not any(asked):
            return
        run = turn.start(check_names, *asked)
        async for text in run.progress("Looking at the Hub"):
            yield text
        run.result()

    async def take(self, paths: Any, request: gr.Request) -> AsyncIterator[tuple[Any, str]]:
        """Read a visitor's file, or the files of a folder; yield (choice of data, status).

        What gradio stored is removed in any case: it would be there for whoever knows its name.
        """
        visitor = str(request.session_hash)
        files = [Path(x) for x in (paths if isinstance(paths, list) else [paths])]
        try:
            named = [(x.name.replace(FOLDER_MARK, "/", 1), x) for x in files]
            if sum(x.stat().st_size for x in files) > MAX_UPLOAD_BYTES:
                raise Refusal(f"These are more than {MAX_UPLOAD_BYTES / 1e6:.0f} MB.")
            with self.workers.turn(visitor) as turn:
                async for found in self._read(turn, visitor, named):
                    yield found
        except Refusal as error:
            yield gr.skip(), pages.refusal(str(error))
        except Stopped as stop:
            yield gr.skip(), status(str(stop))
        finally:
            for file in files:
                shutil.rmtree(file.parent, ignore_errors=True)

    async def _read(
        self, turn: Turn, visitor: str, named: list[tuple[str, Path]]
    ) -> AsyncIterator[tuple[Any, str]]:
        run = turn.start(jobs.take, named, self.visitors.fresh_folder(visitor))
        try:
            async for text in run.progress("Reading your files"):
                yield gr.skip(), status(text)
            upload = run.result()
        except (Refusal, Stopped):
            self.visitors.forget(visitor)
            raise
        yield YOUR_FILES, status(_described(upload))


def chosen_tab(request: gr.Request) -> Any:
    """Return the tab that a link names."""
    tab = dict(request.query_params).get("tab")
    return gr.Tabs(selected=tab) if tab else gr.skip()


def _described(upload: Any) -> str:
    number = len(upload.classes)
    classes = counted(number, "class", "classes") if number else "without labels"
    left_out = " ".join(upload.left_out)
    return f"Read {counted(upload.rows, 'sample', 'samples')}, {classes}. {left_out}".rstrip()


def status(text: str) -> str:
    """Return the line that says what is going on; nothing for an empty text."""
    return pages.render("status.html", text=text) if text else ""
