"""Vectors of words: a text's tokens are matched with its words, and averaged over each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from resque.errors import ResqueError
from resque.sums import Ints

WORD_BITS = 16  # of a word's index: its place in the text; the bits above are the text's index
IGNORED = -100  # a word's label that does not count


def join_words(words: Sequence[Any]) -> str:
    """Return a text in which each word is what stands between two spaces.

    Raises:
        ValueError: where a word is no text.

    >>> join_words(["New York", "", "is"])
    'NewYork _ is'
    """
    for word in words:
        if not isinstance(word, str):
            raise ValueError(f"the word is {word!r}")
    return " ".join("".join(word.split()) or "_" for word in words)


def words_of_tokens(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Return the place of each token's word in a text of `join_words`; −1 of special tokens.

    Args:
        text: the text.
        offsets: where each token begins and ends in it; the same place twice for special tokens.

    >>> words_of_tokens("ab c", [(0, 0), (0, 1), (1, 2), (2, 4)])
    [-1, 0, 0, 1]
    """
    ends = np.cumsum([len(word) + 1 for word in text.split(" ")])  # past the space after a word
    last = np.array([end - 1 for _, end in offsets])
    found = np.searchsorted(ends, last, side="right")
    empty = np.array([start == end for start, end in offsets])
    return [int(x) for x in np.where(empty, -1, found)]


def average_words(
    x: Tensor, words: Sequence[Sequence[int]], pads_left: bool
) -> tuple[Tensor, list[tuple[int, int]]]:
    """Average the tokens of each word.

    Args:
        x: (n, T, D) tokens.
        words: for each of n texts, each token's word or −1; as many as it has tokens.
        pads_left: whether padding comes before a text's tokens.

    Returns:
        (W, D) float32 words, and for each (text, word).

    Raises:
        ResqueError: where the layer does not give a vector for each token.
    """
    n, length = len(words), max(map(len, words))
    if x.ndim != 3 or x.shape[1] != length:
        raise ResqueError(
            f"a layer gives shape {tuple(x.shape)} for {length} tokens; words need a vector for "
            "each token: choose another layer"
        )
    place = torch.full((n, length), -1)
    for i, known in enumerate(words):
        start = length - len(known) if pads_left else 0
        place[i, start : start + len(known)] = torch.tensor(known)
    texts, tokens = torch.nonzero(place >= 0, as_tuple=True)
    keys, at = torch.unique(texts << WORD_BITS | place[texts, tokens], return_inverse=True)
    at = at.to(x.device)
    total = torch.zeros(len(keys), x.shape[2], device=x.device)
    total.index_add_(0, at, x[texts.to(x.device), tokens.to(x.device)].float())
    counts = torch.bincount(at, minlength=len(keys)).clamp(min=1)
    pairs = [(key >> WORD_BITS, key & ((1 << WORD_BITS) - 1)) for key in keys.tolist()]
    return total / counts[:, None], pairs


def labelled_words(
    pairs: Sequence[tuple[int, int]], indices: Ints, labels: Sequence[Any]
) -> tuple[list[int], Ints, list[Any]]:
    """Return which words have a label, and of these the indices and the labels.

    Args:
        pairs: (text, word) of W words.
        indices: (n,) texts' indices.
        labels: of each text a label or None for each word.
    """
    known = [labels[text][word] for text, word in pairs]
    kept = [i for i, label in enumerate(known) if label is not None]
    numbers = [int(indices[pairs[i][0]]) << WORD_BITS | pairs[i][1] for i in kept]
    return kept, np.array(numbers, np.int64), [known[i] for i in kept]
