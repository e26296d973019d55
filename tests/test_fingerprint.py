"""Fingerprints: they add in any order, and a file is whole, ours and unaltered, or refused."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from made_fingerprints import HEADER, made
from resque import Fingerprint, resque_dist
from resque.files import write_whole
from resque.fingerprint_file import FILE_NAME, pack
from resque.fingerprint_header import Source
from resque.sums import ClassSums


def arrays(fp, layer="a"):
    labels = sorted(fp.sums[layer].labels)
    return fp.sums[layer].select(labels)


@given(st.permutations(range(30)), st.integers(1, 29))
@settings(max_examples=30)
def test_any_split_in_any_order_adds_to_the_same(order, cut):
    whole = made(list(range(30)))
    for total in (
        made(order[:cut]) + made(order[cut:], source="e"),
        made(order[cut:], source="e") + made(order[:cut]),
    ):
        assert (arrays(total)[0] == arrays(whole)[0]).all()
        assert arrays(total)[1] == pytest.approx(arrays(whole)[1], rel=1e-12, abs=1e-12)
        assert total.header.counts.samples == 30


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "other"),
        ("model_revision", "abc"),
        ("weights", "other"),
        ("preprocessing", "other"),
        ("labels", "predicted"),
        ("dtype", "bfloat16"),
        ("corruption", "blur:1"),
        ("pooling", ("cls", "cls")),
    ],
)
def test_what_differs_is_named(name, value):
    with pytest.raises(ValueError, match=name.replace("_", " ")):
        made([1, 2]) + made([3, 4], source="e", **{name: value})


def test_the_same_data_is_not_added_twice():
    with pytest.raises(ValueError, match="twice"):
        made([1, 2]) + made([1, 2])
    unnamed = made([3, 4], source="<Dataset>")  # whether it is the same data is not known
    assert (unnamed + unnamed).header.counts.samples == 4
    with pytest.raises(ValueError, match="hold d#1-2: its samples would count twice"):
        (unnamed + made([1, 2])) + (unnamed + made([1, 2]))


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ([{}, {"shard": "2/3"}], True),
        ([{"shard": "1/2"}, {"shard": "2/2"}], False),
        ([{"shard": "1/2"}, {"shard": "3/4"}], True),
        ([{"shard": "1/2"}, {"shard": "2/4"}], False),
        ([{"shard": "1/2"}, {"shard": "2/3"}], True),
        ([{}, {"max_samples": 9}], True),
        ([{"max_samples": 9, "shard": "1/2"}, {"max_samples": 9, "shard": "2/2"}], False),
        ([{}, {"split": "test"}], False),
        ([{}, {"shard": "0/0"}], True),
        ([{"dataset": "<Dataset>"}] * 2, False),
    ],
)
def test_parts_that_share_rows_are_not_added(changes, shared):
    a, b = (Source(**{"dataset": "d", "split": "train"} | x) for x in changes)
    assert a.shares_rows(b) == b.shares_rows(a) == shared


def test_saved_and_loaded(tmp_path):
    fp = made(list(range(20)), class_names=("x", "y", "z"))
    path = fp.save_pretrained(tmp_path / "new" / "folder")
    assert path.name == FILE_NAME
    assert [p.name for p in path.parent.iterdir()] == [FILE_NAME]
    for source in (path, path.parent, str(path.parent)):
        again = Fingerprint.from_pretrained(source)
        assert again.header == fp.header
        for layer in HEADER.layers:
            assert (arrays(again, layer)[1] == arrays(fp, layer)[1]).all()
    with safe_open(str(path), "numpy") as file:
        header = json.loads(file.metadata()["resque"])
    assert header["format_version"] == 1
    assert header["layers"] == ["a", "b"]


def test_the_index_is_that_of_the_arrays():
    rng = np.random.default_rng(0)
    x, z = rng.normal(1, 1, (100, 5)), rng.normal(1, 1, (100, 5))
    y = np.arange(100) % 3
    a, b = (made(list(range(100)), seed=s) for s in (0, 1))
    x, z = (np.random.default_rng(s).normal(1, 1, (100, 5)) for s in (0, 1))
    score, expected = a.resque_dist(b), resque_dist(x, y, z, y)
    assert score.value == pytest.approx(expected.value, abs=1e-12)
    assert score.noise_floor == pytest.approx(expected.noise_floor, rel=0.2)  # 16 groups, not 64
    assert a.resque_dist(b, "b").value == pytest.approx(score.value, abs=1e-12)


def test_ids_meet_names():
    names = ("x", "y", "z")
    a, b = made(list(range(90)), class_names=names), made(list(range(90)), seed=1)
    assert set(a.resque_dist(b).per_class) == set(names)


def test_other_models_are_not_compared():
    with pytest.raises(ValueError, match="weights"):
        made(list(range(30))).resque_dist(made(list(range(30)), weights="other"))
    with pytest.raises(ValueError, match="no layer 'c'; it has a, b"):
        made(list(range(30))).resque_dist(made(list(range(30))), "c")


def packed(fp):
    tensors, metadata = pack(fp.header, fp.sums)
    return tensors, json.loads(metadata["resque"])


def drop_row(tensors, header):
    tensors["0.sums"] = tensors["0.sums"][:-1]


def put_nan(tensors, header):
    tensors["0.sums"][0, 0, 0] = np.nan


def put_negative(tensors, header):
    tensors["0.counts"][0, 0] = -1


def put_text(tensors, header):
    header["classes"]["a"][0] = None


def put_newer(tensors, header):
    header["format_version"] = 99


def drop_field(tensors, header):
    del header["model"]


def drop_tensor(tensors, header):
    del tensors["1.counts"]


def put_float32(tensors, header):
    tensors["0.sums"] = tensors["0.sums"].astype(np.float32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_row, "its header says"),
        (put_nan, "NaN"),
        (put_negative, "negative"),
        (put_text, "no names"),
        (put_newer, "Upgrade resque"),
        (drop_field, "damaged header"),
        (drop_tensor, "damaged header"),
        (put_float32, "float32"),
    ],
)
def test_altered_files_are_refused(tmp_path, change, words):
    tensors, header = packed(made(list(range(30))))
    change(tensors, header)
    path = tmp_path / FILE_NAME
    save_file(tensors, path, metadata={"resque": json.dumps(header)})
    with pytest.raises(ValueError, match=words):
        Fingerprint.from_pretrained(path)


def test_foreign_and_truncated_files_are_refused(tmp_path):
    path = made(list(range(30))).save_pretrained(tmp_path)
    content = path.read_bytes()
    for part in (content[:100], content[:-8], b"", b"not safetensors at all"):
        path.write_bytes(part)
        with pytest.raises(ValueError, match="truncated or not"):
            Fingerprint.from_pretrained(tmp_path)
    save_file({"x": np.zeros(3)}, path)
    with pytest.raises(ValueError, match="not a fingerprint"):
        Fingerprint.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds no"):
        Fingerprint.from_pretrained(tmp_path.parent)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = made(list(range(30))).save_pretrained(tmp_path)
    before = path.read_bytes()

    def fail(target):
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(ValueError, match="No space left"):
        write_whole(path, fail)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_pipe_is_written_to_and_stays(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert write_whole(path, lambda file: file.write_text("whole")) == path
    assert os.read(reader, 99) == b"whole"
    os.close(reader)
    assert path.is_fifo()


def test_a_thousand_classes_stay_under_100_megabytes(tmp_path):
    sums = ClassSums(16)
    sums.add(np.ones((1000, 768)), list(range(1000)), np.arange(1000))
    fp = Fingerprint(replace(HEADER, layers=("a",), pooling=("mean",)), {"a": sums})
    assert fp.save_pretrained(tmp_path).stat().st_size < 100e6
