"""Makes strings fit to be published: on one line, no control characters, paths or tokens."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

LENGTH = 200  # characters of a name
HIDDEN = ("Cc", "Cn", "Co")  # Unicode categories: control, unassigned, private
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
# Marks that turn the direction of text, so that it reads otherwise than it is.
DIRECTIONS = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{8,}")
ROOTED = r"~?/|[A-Za-z]:[\\/]|\\\\"  # how a path from the root or the home begins
# Two parts or more: "/" alone, "a/b" and "https://…" are none.
PATH = re.compile(rf"(?<![\w.:/~\\-])(?:{ROOTED})(?:[^\s/\\'\"`,;:#]+[/\\])+[^\s/\\'\"`,;:#@]*")
# A folder, which may hold an @ above its last part, or an id; and the rest.
SPEC = re.compile(rf"((?:{ROOTED}|\.)(?:.*[/\\])?[^@:#/\\]*|[^@:#]*)(.*)", re.S)
SPECS = ("model", "dataset", "shifted")  # of a report: specifications of a model or of data


def clean(text: Any, length: int = LENGTH) -> str:
    r"""Return text on one line without control characters, its middle left out where it is long.

    >>> clean("a\x1b[31mb\n c")
    'ab c'
    """
    line = ESCAPES.sub("", str(text)[: 20 * length])
    line = "".join(" " if c.isspace() else c for c in line if c not in DIRECTIONS)
    line = "".join(_shown(c) for c in line)
    line = " ".join(line.split())
    if len(line) <= length:
        return line
    half = length // 2
    return f"{line[: half - 1]}…{line[-half:]}"


def _shown(character: str) -> str:
    category = unicodedata.category(character)
    return "" if category in HIDDEN else "\ufffd" if category == "Cs" else character


def public_name(name: str) -> str:
    """Return an id on the Hub as it is, and the last part of a folder's path.

    >>> public_name("/home/ann/digits"), public_name("org/digits")
    ('digits', 'org/digits')
    """
    rooted = re.match(ROOTED, name)
    if not (rooted or name.startswith(".") or name.count("/") > 1 or Path(name).exists()):
        return name
    return (PureWindowsPath(name) if "\\" in name else PurePosixPath(name)).name or "folder"


def public_command(command: str) -> str:
    """Return a command line with its folders cut to their last part.

    >>> public_command("resque estimate --model '/home/ann lee/m' --task 'org/d#train'")
    "resque estimate --model m --task 'org/d#train'"
    >>> public_command("resque estimate --model ../ann/m --task 'ann/lee/d#train'")
    "resque estimate --model m --task 'd#train'"
    """
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    return shlex.join(map(_public_word, words))


def _public_word(word: str) -> str:
    flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    return f"{flag}{equals}{public_spec(value)}"


def public_spec(text: str) -> str:
    """Return a model or data specification with its folder, rooted or not, cut to its last part.

    >>> public_spec("../ann/digits:photo#train"), public_spec("org/digits@refs/pr/1")
    ('digits:photo#train', 'org/digits@refs/pr/1')
    """
    safe = TOKEN.sub("<token>", text)
    return SPEC.sub(lambda m: _public_path(m[1]) + _without_paths(m[2]), safe, count=1)


def _public_path(path: str) -> str:
    return public_name(path) if "/" in path or "\\" in path else path


def _public_text(text: str) -> str:
    """Return text that may begin with a folder, without what is above that, and without paths."""
    found = re.match(rf"(?:{ROOTED})(?:[^:#]*[/\\])?[^@:#]*", text)
    if not found:
        return _without_paths(text)
    return public_name(found[0]) + text[found.end() :]


def _without_paths(text: str) -> str:
    return PATH.sub(lambda m: public_name(m[0]), TOKEN.sub("<token>", text))


def scrub(value: Any, folders: Sequence[str] = ()) -> Any:
    """Return JSON types with paths from the root or home cut to their last part, and no tokens.

    Args:
        value: the JSON types.
        folders: paths that may hold blanks, found anywhere.

    >>> scrub({"notes": ["from /home/ann/digits, as hf_abcdefgh12 may"]})
    {'notes': ['from digits, as <token> may']}
    """
    if isinstance(value, dict):
        return {scrub(k, folders): _scrub_item(k, v, folders) for k, v in value.items()}
    if isinstance(value, list):
        return [scrub(item, folders) for item in value]
    if not isinstance(value, str):
        return value
    for folder in sorted(folders, key=len, reverse=True):
        value = value.replace(folder, public_name(folder))
    return _public_text(value)


def _scrub_item(key: Any, value: Any, folders: Sequence[str]) -> Any:
    if key == "command" and isinstance(value, str):
        return public_command(value)
    if key in SPECS and isinstance(value, str):
        return public_spec(value)
    return scrub(value, folders)
