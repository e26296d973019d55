"""The code blocks of the documentation: how they are found, and run as they stand.

The blocks of a page run in its order, in one folder and one Python namespace, beside what
`resque demo` leaves behind and with a local Hub. An HTML comment before a block marks it:

    <!-- slow: WHY -->       in the slow tests
    <!-- not run: WHY -->    in none; test_documentation.py says what may have this
    <!-- file: NAME -->      written to a file of this name, and not run

A block of text after one that runs is what that prints, but for numbers; … stands for anything.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
MARKER = re.compile(r"<!-- (slow|not run|file): (.+?) -->\s*$", re.S)
NUMBER = re.compile(r"[-−±]?\d[\d.,]*(?:e[-+]?\d+)?")
FRAME = re.compile(r"[\u2500-\u257f\s]+")
COMMENT = re.compile(r"(?:^|\s)#\s.*$")
RUN = ("bash", "python")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, what it holds, how it is marked, what it shall print."""

    page: str
    line: int
    language: str
    code: str
    marker: str = ""
    reason: str = ""
    shown: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language in RUN and self.marker in ("", "slow")


def pages() -> list[str]:
    """Return the documentation's pages, by their paths in the repository."""
    found = [ROOT / "README.md", ROOT / "metrics" / "resque" / "README.md"]
    found += sorted((ROOT / "docs").rglob("*.md"))
    return [path.relative_to(ROOT).as_posix() for path in found]


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page in their order."""
    found: list[Block] = []
    marker, after = ("", ""), False
    for token in MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8")):
        if token.type == "fence":
            language, line = token.info.strip(), (token.map or [0])[0] + 1
            if language == "text" and after and found[-1].runs:
                found[-1] = Block(**{**vars(found[-1]), "shown": token.content})
            else:
                found.append(Block(page, line, language, token.content, *marker))
        comment = MARKER.search(token.content) if token.type == "html_block" else None
        marker = (comment[1], comment[2]) if comment else ("", "")
        after = token.type == "fence"
    return found


@dataclass
class Page:
    """Runs a page's blocks in a folder."""

    name: str
    folder: Path
    environment: dict[str, str]
    repositories: dict[str, Any] = field(default_factory=dict)
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    errors: dict[int, BaseException | None] = field(default_factory=dict)

    def run(self, block: Block) -> None:
        """Run a block, after those before it that have not run; slow ones only before slow ones."""
        for earlier in blocks_of(self.name):
            wanted = earlier.line == block.line or earlier.marker != "slow" or block.marker
            if earlier.line <= block.line and earlier.line not in self.errors and wanted:
                self.errors[earlier.line] = self._try(earlier)
            error = self.errors.get(earlier.line)
            if earlier.line == block.line and error:
                raise error
            if earlier.line < block.line and error:
                raise AssertionError(f"{earlier}, which comes before, failed") from error

    def _try(self, block: Block) -> BaseException | None:
        try:
            if block.marker == "file":
                (self.folder / block.reason).write_text(block.code, encoding="utf-8")
            elif block.runs:
                printed = self._bash(block) if block.language == "bash" else self._python(block)
                compare(block.shown, printed)
        except BaseException as error:  # SystemExit too
            return error
        return None

    def _python(self, block: Block) -> str:
        code = compile("\n" * block.line + block.code, str(ROOT / block.page), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, self.names)
        return out.getvalue()

    def _bash(self, block: Block) -> str:
        return "".join(self._command(line) for line in commands(block.code))

    def _command(self, line: str) -> str:
        """Run a command: `resque` in this process, which spares its start, others in bash."""
        words = shlex.split(line)
        target = None
        if words[-2:-1] == [">"]:
            target, words = words[-1], words[:-2]
        plain = words[0] == "resque" and not any(mark in line for mark in "|&;<$*{")
        printed = run_here(words[1:]) if plain else self._shell(line)
        if target and plain:
            (self.folder / target).write_text(printed, encoding="utf-8")
        return printed

    def _shell(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


def run_here(arguments: list[str]) -> str:
    """Run a command of resque in this process; return what it prints."""
    from resque import cli

    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        code = cli.run(arguments)
    assert code == 0, f"resque {shlex.join(arguments)}: {code}\n{out.getvalue()}{err.getvalue()}"
    return out.getvalue()


def commands(code: str) -> list[str]:
    """Return the commands of a block of bash: continued lines as one, without comments."""
    lines = [COMMENT.sub("", line) for line in code.replace("\\\n", " ").splitlines()]
    return [line.strip() for line in lines if line.strip()]


def compare(shown: str, printed: str) -> None:
    """Fail where a page shows another text than was printed; numbers may differ."""
    if not shown:
        return
    wanted = ".*?".join(re.escape(plain(part)) for part in shown.split("…"))
    assert re.search(wanted, plain(printed), re.S), f"the page shows\n{shown}\nnot\n{printed}"


def plain(text: str) -> str:
    """Return a text without its numbers, its frames and its white space."""
    return FRAME.sub("", NUMBER.sub("#", text))


def environment_of(hub: Any, home: Path, token: str) -> dict[str, str]:
    """Return the environment of the processes that bash starts."""
    import sys

    bin_folder = str(Path(sys.executable).parent)
    found: dict[str, str] = hub.environment(home, token)
    return found | {
        "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]]),
        "HF_EVALUATE_OFFLINE": "1",
        "ACCELERATE_USE_CPU": "true",
    }
