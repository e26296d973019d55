"""Batches of texts: sorted by tokens, the same for any number of processes, small on a CPU."""

from __future__ import annotations

import pytest

from resque.batches import WINDOW, WINDOWS_EACH, Batches, Encoder
from resque.data import load_data
from test_representations import text_table, tokenizer  # noqa: F401


def batches_of(tokenizer, n, size, world=1, **options):  # noqa: F811
    data = load_data(text_table(n), modality="text")
    encoder = Encoder("text", tokenizer, 3, 12, None, "input_ids")
    ranks = [Batches(data, encoder, size, rank=i, world=world, **options) for i in range(world)]
    return [[batch for batch in one if batch.inputs] for one in ranks]


@pytest.mark.parametrize("windows", [1, 2 * WINDOWS_EACH + 1])
@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_batches_of_one(tokenizer, windows, world):  # noqa: F811
    n = 2 * WINDOW * windows - 5
    (one,) = batches_of(tokenizer, n, 2)
    many = batches_of(tokenizer, n, 2, world)
    wanted = sorted(tuple(batch.indices) for batch in one)
    assert sorted(tuple(batch.indices) for part in many for batch in part) == wanted
    assert sorted(i for batch in wanted for i in batch) == list(range(n))
    assert all(part for part in many)


def test_texts_of_a_window_come_with_those_of_as_many_tokens_the_longest_first(tokenizer):  # noqa: F811
    (found,) = batches_of(tokenizer, 4 * WINDOW, 4)
    lengths = [batch.inputs["attention_mask"].sum(dim=1).tolist() for batch in found]
    flat = [x for part in lengths for x in part]
    assert flat == sorted(flat, reverse=True)
    padded = sum(batch.inputs["input_ids"].numel() for batch in found)
    assert padded < 1.05 * sum(flat)


def test_long_texts_come_in_fewer_rows(tokenizer):  # noqa: F811
    (found,) = batches_of(tokenizer, 100, 8, tokens_each=6)
    assert sorted(i for batch in found for i in batch.indices) == list(range(100))
    sizes = [batch.inputs["input_ids"].shape for batch in found]
    assert all(rows * tokens <= 48 for rows, tokens in sizes)
    assert max(rows for rows, _ in sizes) == 8
    (found,) = batches_of(tokenizer, 10, 1, tokens_each=1)  # one row at least
    assert len(found) == 10
