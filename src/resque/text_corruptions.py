"""Corruptions of texts: a string in, a string out; only letters or whole words are touched.

A letter is a character that is alphabetic in Unicode, with the combining marks that follow it.
A word is what stands between white space.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Callable
from typing import Any

import numpy as np

KEY_ROWS = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))  # US, with their shift


def corrupt_text(
    text: Any,
    apply: Callable[[str, float, np.random.Generator], str],
    level: float,
    rng: np.random.Generator,
) -> Any:
    """Return the corrupted text; of a pair, both. A text that is not empty never becomes so.

    Args:
        text: a string, or a tuple of strings.
        apply: one of this module's corruptions.
        level: share of letters or words, in [0, 1].
        rng: what it draws from.
    """
    if isinstance(text, tuple):
        return tuple(apply(part, level, rng) for part in text)
    return apply(text, level, rng)


def letters_replaced(text: str, level: float, rng: np.random.Generator) -> str:
    """Replace each letter, with probability `level`, by another of a to z in the same case."""
    parts = _characters(text)
    for i in _chosen(_letters_of(parts), level, rng):
        parts[i] = _draw(string.ascii_lowercase.replace(parts[i].lower(), ""), parts[i], rng)
    return "".join(parts)


def keyboard_typos(text: str, level: float, rng: np.random.Generator) -> str:
    """Replace each of a to z, with probability `level`, by a neighbour on a US keyboard."""
    parts = _characters(text)
    keys = [i for i, part in enumerate(parts) if part.lower() in NEIGHBOURS]
    for i in _chosen(keys, level, rng):
        parts[i] = _draw(NEIGHBOURS[parts[i].lower()], parts[i], rng)
    return "".join(parts)


def letters_dropped(text: str, level: float, rng: np.random.Generator) -> str:
    """Leave each letter out with probability `level`, but for one at least."""
    parts = _characters(text)
    for i in _but_one(_letters_of(parts), level, rng):
        parts[i] = ""
    return "".join(parts)


def letters_swapped(text: str, level: float, rng: np.random.Generator) -> str:
    """Let letters and the next one in the word change places, each letter at most once.

    Of a long word, the share `level` of the letters move: from left to right, a letter that
    did not move swaps with probability `level` / (2 − `level`).
    """
    parts = _characters(text)
    letters = set(_letters_of(parts))
    draws = rng.random(len(parts))
    i = 0
    while i < len(parts) - 1:
        swap = i in letters and i + 1 in letters and draws[i] < level / (2 - level)
        if swap:
            parts[i], parts[i + 1] = parts[i + 1], parts[i]
        i += 2 if swap else 1
    return "".join(parts)


def words_dropped(text: str, level: float, rng: np.random.Generator) -> str:
    """Leave each word out, and the white space before it, with probability `level`; keep one."""
    words = re.findall(r"\s*\S+", text)
    gone = set(_but_one(list(range(len(words))), level, rng))
    kept = [word for i, word in enumerate(words) if i not in gone]
    rest = text[sum(map(len, words)) :]
    if 0 in gone:
        kept[0] = kept[0].lstrip()
    return "".join([*kept, rest])


def _characters(text: str) -> list[str]:
    """Split into characters, each with the combining marks that follow it."""
    parts: list[str] = []
    for character in text:
        if parts and not character.isascii() and unicodedata.category(character)[0] == "M":
            parts[-1] += character
        else:
            parts.append(character)
    return parts


def _letters_of(parts: list[str]) -> list[int]:
    return [i for i, part in enumerate(parts) if part[0].isalpha()]


def _chosen(positions: list[int], level: float, rng: np.random.Generator) -> list[int]:
    hit = rng.random(len(positions)) < level
    return [i for i, yes in zip(positions, hit.tolist(), strict=True) if yes]


def _but_one(positions: list[int], level: float, rng: np.random.Generator) -> list[int]:
    """Choose as `_chosen` does, but spare one at random where all would be chosen."""
    chosen = _chosen(positions, level, rng)
    if positions and len(chosen) == len(positions):
        chosen.pop(int(rng.integers(len(chosen))))
    return chosen


def _draw(letters: str, before: str, rng: np.random.Generator) -> str:
    letter = letters[int(rng.integers(len(letters)))]
    return letter.upper() if before[0].isupper() else letter


def _neighbours() -> dict[str, str]:
    """Return the letters beside, above and below each key: less than a key's width aside."""
    at = {
        key: (i + shift, row)
        for row, (keys, shift) in enumerate(KEY_ROWS)
        for i, key in enumerate(keys)
    }
    return {
        key: "".join(
            other
            for other, (x2, y2) in at.items()
            if (y1 == y2 and abs(x1 - x2) == 1) or (abs(y1 - y2) == 1 and abs(x1 - x2) < 1)
        )
        for key, (x1, y1) in at.items()
    }


NEIGHBOURS = _neighbours()
