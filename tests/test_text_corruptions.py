"""Corruptions of texts: the share they say, letters or words alone, in any script."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resque.shifts import KINDS, Corruption

NAMES = [name for name, kind in KINDS.items() if kind.modality == "text"]
LETTERS = [name for name in NAMES if name != "words_dropped"]
LONG = "the quick brown fox Jumps over a LAZY dog and sleeps " * 60
MIXED = "Zoë: 3 naïve cafés, Straße 12! Привет, мир; 你好。 नमस्ते e\u0301te\u0301 👩‍🚀 #tag"
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def corrupt(name, level, text, index=0):
    return Corruption(name, level)(text, index)


def kept_apart(text):
    """Return what is no letter, and no mark on one."""
    return [c for c in text if not c.isalpha() and unicodedata.category(c)[0] != "M"]


@pytest.mark.parametrize("name", LETTERS)
@pytest.mark.parametrize("level", [0.3, 1.0])
def test_only_letters_are_touched(name, level):
    for index in range(20):
        noisy = corrupt(name, level, MIXED, index)
        assert kept_apart(noisy) == kept_apart(MIXED)
        assert noisy.encode()
        if name != "letters_dropped":
            words = [unicodedata.normalize("NFC", text).split() for text in (noisy, MIXED)]
            assert len(words[0]) == len(words[1])


def test_a_letter_keeps_its_marks():
    assert corrupt("letters_swapped", 1.0, "e\u0301a") == "ae\u0301"
    ends = {corrupt("letters_dropped", 1.0, "e\u0301a", i) for i in range(20)}
    assert ends == {"e\u0301", "a"}
    assert len(corrupt("letters_replaced", 1.0, "e\u0301a")) == 2


@pytest.mark.parametrize("name", NAMES)
@given(text=st.text(max_size=30), level=st.floats(0, 1), index=st.integers(0, 9))
def test_any_text_keeps_something(name, text, level, index):
    noisy = corrupt(name, level, text, index)
    assert bool(noisy) == bool(text)
    assert bool(noisy.strip()) == bool(text.strip())
    assert noisy == corrupt(name, level, text, index)
    if level == 0:
        assert noisy == text
    if name in ("letters_swapped", "words_dropped"):
        assert not Counter(noisy) - Counter(text)
    elif name == "letters_dropped":
        assert len(noisy) <= len(text)


@pytest.mark.parametrize("level", [0.1, 0.4])
def test_replaced_letters_are_others_of_the_same_case(level):
    noisy = corrupt("letters_replaced", level, LONG)
    assert len(noisy) == len(LONG)
    changed = [(a, b) for a, b in zip(LONG, noisy, strict=True) if a != b]
    n = sum(map(str.isalpha, LONG))
    assert len(changed) / n == pytest.approx(level, abs=0.03)
    assert all(a.isupper() == b.isupper() and b.isascii() and b.isalpha() for a, b in changed)
    assert len({b.lower() for _, b in changed}) == 26
    whole = corrupt("letters_replaced", 1.0, LONG)
    assert all((a != b) == a.isalpha() for a, b in zip(LONG, whole, strict=True))


@pytest.mark.parametrize("level", [0.1, 0.4])
def test_typos_hit_neighbouring_keys(level):
    at = {
        key: (x + (0, 0.25, 0.75)[y], y) for y, row in enumerate(ROWS) for x, key in enumerate(row)
    }
    noisy = corrupt("keyboard_typos", level, LONG)
    changed = [(a, b) for a, b in zip(LONG, noisy, strict=True) if a != b]
    assert len(changed) / sum(map(str.isalpha, LONG)) == pytest.approx(level, abs=0.03)
    for a, b in changed:
        (x1, y1), (x2, y2) = at[a.lower()], at[b.lower()]
        assert a.isupper() == b.isupper()
        assert 0 < (x1 - x2) ** 2 + (y1 - y2) ** 2 < 2
    assert set(corrupt("keyboard_typos", 1.0, "s" * 200)) == set("awedxz")
    assert corrupt("keyboard_typos", 1.0, "Привет é 123") == "Привет é 123"


@pytest.mark.parametrize("level", [0.1, 0.4])
def test_dropped_letters(level):
    noisy = corrupt("letters_dropped", level, LONG)
    n = sum(map(str.isalpha, LONG))
    assert (len(LONG) - len(noisy)) / n == pytest.approx(level, abs=0.03)
    rest = iter(LONG)
    assert all(letter in rest for letter in noisy)  # in the same order
    ends = {corrupt("letters_dropped", 1.0, "ab c!", i) for i in range(30)}
    assert ends == {"a !", "b !", " c!"}  # one stays, any of them


@pytest.mark.parametrize("level", [0.1, 0.4, 1.0])
def test_swapped_letters_are_neighbours_in_a_word(level):
    word = "abcdefghijklmnopqrstuvwxyz" * 80
    noisy = corrupt("letters_swapped", level, word)
    moved = [a != b for a, b in zip(word, noisy, strict=True)]
    assert sum(moved) / len(word) == pytest.approx(level, abs=0.04)
    i = 0
    while i < len(word):  # moved letters come as pairs
        if moved[i]:
            assert noisy[i : i + 2] == word[i + 1] + word[i]
            i += 1
        i += 1
    assert corrupt("letters_swapped", 1.0, "a bc d-e fgh") == "a cb d-e gfh"


def test_dropped_words_leave_a_tidy_text():
    noisy = corrupt("words_dropped", 0.4, LONG)
    assert len(noisy.split()) / len(LONG.split()) == pytest.approx(0.6, abs=0.05)
    rest = iter(LONG.split())
    assert all(word in rest for word in noisy.split())
    assert not re.search("  ", noisy)
    ends = {corrupt("words_dropped", 1.0, " one\ttwo\n three\n", i) for i in range(30)}
    assert ends == {" one\n", "two\n", "three\n"}
    halves = {corrupt("words_dropped", 0.5, "a  b c", i) for i in range(60)}
    assert halves == {"a  b c", "b c", "a c", "a  b", "a", "b", "c"}
    assert corrupt("words_dropped", 1.0, "你好世界") == "你好世界"  # one word


@pytest.mark.parametrize("name", NAMES)
def test_pairs_are_corrupted_on_both_sides(name):
    pair = ("the quick brown fox jumps", "over the lazy dog it sleeps")
    noisy = corrupt(name, 0.9, pair)
    assert isinstance(noisy, tuple)
    assert len(noisy) == 2
    assert all(a != b for a, b in zip(pair, noisy, strict=True))
    assert noisy[0] == corrupt(name, 0.9, pair[0])
    twins = corrupt("letters_replaced", 0.5, (LONG, LONG))
    assert twins[0] != twins[1]  # with draws of their own
    assert corrupt(name, 0.9, ("", "a b c"))[0] == ""
