"""New tasks out of known data."""

from __future__ import annotations

from types import SimpleNamespace

import datasets
import pytest

from resque.relabeling import relabel
from resque.study_measurement import change_labels

COLORS = datasets.Dataset.from_dict(
    {"name": ["a", "b", "c", "d"], "kind": [0, 1, 2, 1], "size": [1, 2, 3, 4]},
    features=datasets.Features(
        {
            "name": datasets.Value("string"),
            "kind": datasets.ClassLabel(names=["red", "blue", "green"]),
            "size": datasets.Value("int64"),
        }
    ),
)


def test_classes_are_merged_renamed_and_left_out():
    rows, kept = relabel(COLORS, "kind", {"cold": ["green", "blue"], "warm": ["red"]})
    assert rows.column_names == ["name", "kind", "size"]
    assert rows.features["kind"].names == ["cold", "warm"]
    assert rows["kind"][:] == [1, 0, 0, 0]
    some, kept = relabel(COLORS, "kind", {"blue": ["blue"], "green": ["green"]})
    assert (some["name"][:], some["kind"][:], kept.tolist()) == (
        ["b", "c", "d"],
        [0, 1, 0],
        [1, 2, 3],
    )


@pytest.mark.parametrize(("column", "labels"), [("size", ["2", "4"]), ("name", ["b", "d"])])
def test_labels_without_names_are_taken_as_they_are_written(column, labels):
    rows, kept = relabel(COLORS, column, {"one": labels[:1], "two": labels[1:]})
    assert (rows[column][:], kept.tolist()) == ([0, 1], [1, 3])


@pytest.mark.parametrize("missing", [-1, None])
def test_rows_without_a_label_are_left_out(missing):
    columns = {
        "name": list("abcdefg"),
        "kind": [0, 1, missing, 1, missing, missing, 0],
        "size": [0] * 7,
    }
    rows = datasets.Dataset.from_dict(columns, features=COLORS.features)
    new, kept = relabel(rows, "kind", {"cold": ["blue"], "warm": ["red"]})
    assert (new["kind"][:], kept.tolist()) == ([1, 0, 0, 1], [0, 1, 3, 6])
    cell = SimpleNamespace(classes=None, class_prior=0.5, seed=0)
    some, kept = change_labels(rows, "kind", cell)
    assert sorted(some["kind"][:]) in ([0, 0, 1], [0, 1, 1])  # two classes, one half as frequent
    assert some["name"][:] == [rows["name"][i] for i in kept.tolist()]


def test_unknown_and_doubled_classes_are_told():
    with pytest.raises(ValueError, match=r"'warm' is made of 'pink'.*it has blue, green, red"):
        relabel(COLORS, "kind", {"warm": ["red", "pink"], "cold": ["blue"]})
    with pytest.raises(ValueError, match="'red' stands in two of the classes a, b"):
        relabel(COLORS, "kind", {"a": ["red"], "b": ["red"]})
