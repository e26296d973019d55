"""Data sets: where they come from, which columns are read, and rows that cannot be."""

from __future__ import annotations

import io
import json

import datasets
import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from resque.data import iterate, load_data, parse_spec
from resque.errors import ResqueError
from resque.images import as_rgb, decode_image
from resque.rows import BadRow, read_row


def texts(n=10, **columns):
    given = {"text": [f"text {i}" for i in range(n)], "label": [i % 2 for i in range(n)]}
    return datasets.Dataset.from_dict(given | columns)


def rows_of(data):
    return [read_row(data, index, row) for index, row in iterate(data)]


def indices_of(data):
    return [index for index, _ in iterate(data)]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("mnist", ("mnist", None, None, None)),
        ("org/pacs:photo#train", ("org/pacs", None, "photo", "train")),
        ("org/pacs@abc#test[:10%]", ("org/pacs", "abc", None, "test[:10%]")),
        ("a@b:c#d", ("a", "b", "c", "d")),
    ],
)
def test_notation(text, parts):
    spec = parse_spec(text)
    assert (spec.path, spec.revision, spec.config, spec.split) == parts
    assert str(spec) == text


def test_a_folder_with_marks_in_its_name_is_taken_whole(tmp_path):
    folder = tmp_path / "a#b:c@d"
    folder.mkdir()
    spec = parse_spec(f"{folder}#train")
    assert (spec.path, spec.split) == (str(folder), "train")


@pytest.mark.parametrize("text", ["", "#train", "a#"])
def test_bad_notation(text):
    with pytest.raises(ValueError, match="ID_OR_FOLDER"):
        parse_spec(text)


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "disk", "file"])
def test_local_formats(tmp_path, kind):
    table, path = texts(), tmp_path / "data"
    path.mkdir()
    if kind == "disk":
        datasets.DatasetDict(test=table).save_to_disk(path / "saved")
        path = path / "saved"
    elif kind == "file":
        path = path / "rows.jsonl"
        table.to_json(path)
    else:
        getattr(table, f"to_{kind}")(path / f"test.{kind}")
    found = rows_of(load_data(str(path), modality="text"))
    assert [(row.index, row.inputs, row.label) for row in found] == [
        (i, f"text {i}", i % 2) for i in range(10)
    ]


def test_image_folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.new("L", (4, 4), 9).save(tmp_path / "train" / name / "0.png")
    data = load_data(str(tmp_path), modality="image")
    assert data.columns.label_names == ("cat", "dog")
    assert {(row.inputs.mode, row.label) for row in rows_of(data)} == {("RGB", 0), ("RGB", 1)}


def test_default_split_and_slices():
    both = datasets.DatasetDict(train=texts(20), test=texts(10))
    assert load_data(both, modality="text").spec.split == "test"
    assert load_data(datasets.DatasetDict(other=texts(3)), modality="text").n_rows == 3


@pytest.mark.parametrize("streaming", [False, True])
def test_slices_keep_the_positions_in_the_split(tmp_path, streaming):
    texts(10).to_parquet(tmp_path / "train.parquet")
    data = load_data(f"{tmp_path}#train[3:6]", modality="text", streaming=streaming)
    assert [row.inputs for row in rows_of(data)] == ["text 3", "text 4", "text 5"]
    assert indices_of(data) == [3, 4, 5]
    if not streaming:
        assert load_data(f"{tmp_path}#train[50%:]", modality="text").n_rows == 5


def test_the_one_split_that_was_saved_is_taken_by_its_name_alone(tmp_path):
    named = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, split="train")
    named.save_to_disk(tmp_path / "named")
    texts(10).save_to_disk(tmp_path / "unnamed")
    assert load_data(f"{tmp_path / 'named'}#train", modality="text").n_rows == 2
    assert indices_of(load_data(f"{tmp_path / 'named'}#train[1:]", modality="text")) == [1]
    with pytest.raises(ResqueError, match="no split 'test'; it has train"):
        load_data(f"{tmp_path / 'named'}#test", modality="text")
    with pytest.raises(ResqueError, match="one split only; leave out #test"):
        load_data(f"{tmp_path / 'unnamed'}#test", modality="text")
    assert load_data(tmp_path / "unnamed", modality="text").n_rows == 10


def test_streams_and_processes_and_shards_take_each_row_once():
    for table in (texts(11), texts(11).to_iterable_dataset()):
        found = []
        for i in (1, 2, 3):
            data = load_data(table, modality="text", shard=(i, 3))
            found += [index for rank in (0, 1) for index, _ in iterate(data, 2, rank, 2)]
        assert sorted(found) == list(range(11))


def test_samples_are_drawn_by_seed():
    first = indices_of(load_data(texts(100), modality="text", max_samples=10))
    assert first == indices_of(load_data(texts(100), modality="text", max_samples=10))
    assert first != indices_of(load_data(texts(100), modality="text", max_samples=10, seed=1))
    assert len(set(first)) == 10
    stream = load_data(texts(100).to_iterable_dataset(), modality="text", max_samples=10)
    assert len({row.inputs for row in rows_of(stream)}) == 10


def test_pairs_of_texts():
    table = datasets.Dataset.from_dict({"premise": ["a"], "hypothesis": ["b"], "label": [1]})
    assert rows_of(load_data(table, modality="text"))[0].inputs == ("a", "b")


def test_missing_labels():
    names = datasets.ClassLabel(names=["no", "yes"])
    table = texts(3, label=[0, -1, 1]).cast_column("label", names)
    assert [row.label for row in rows_of(load_data(table, modality="text"))] == [0, None, 1]
    words = texts(2, label=["no", None])
    assert [row.label for row in rows_of(load_data(words, modality="text"))] == ["no", None]


@pytest.mark.parametrize(
    ("columns", "options", "error", "words"),
    [
        ({"text2": ["a"] * 10}, {"input_columns": ["nope"]}, ValueError, "'text', 'label'"),
        ({}, {"label_column": "nope"}, ValueError, "'text', 'label'"),
        ({"label": [0.5] * 10}, {}, TypeError, "--labels predicted"),
        ({}, {"modality": "image"}, ValueError, "--input-column"),
        ({}, {"max_samples": 0}, ValueError, "at least 1"),
        ({}, {"shard": (4, 3)}, ValueError, "4/3"),
    ],
)
def test_bad_columns_and_options(columns, options, error, words):
    with pytest.raises(error, match=words):
        load_data(texts(**columns), **({"modality": "text"} | options))


def test_two_label_columns_are_asked_about():
    names = datasets.ClassLabel(names=["a", "b"])
    table = datasets.Dataset.from_dict({"text": ["x"], "coarse_label": [0], "fine_label": [1]})
    for name in ("coarse_label", "fine_label"):
        table = table.cast_column(name, names)
    with pytest.raises(ValueError, match=r"'coarse_label', 'fine_label'.*--label-column"):
        load_data(table, modality="text")
    assert load_data(table, modality="text", labels="optional").columns.label is None
    chosen = load_data(table, modality="text", label_column="fine_label")
    assert rows_of(chosen)[0].label == 1


def test_two_text_columns_are_asked_about():
    table = texts().remove_columns("text")
    table = table.add_column("first", ["a"] * 10).add_column("second", ["b"] * 10)
    with pytest.raises(ValueError, match=r"'first', 'second'.*--input-column"):
        load_data(table, modality="text")


def test_what_is_not_there_is_named_with_what_is(tmp_path):
    texts().to_parquet(tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="no split 'nope'; it has train"):
        load_data(f"{tmp_path}#nope", modality="text")
    with pytest.raises(ValueError, match="no folder"):
        load_data(str(tmp_path / "nope"), modality="text")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no data files"):
        load_data(str(tmp_path / "empty"), modality="text")
    with pytest.raises(ValueError, match="no rows"):
        load_data(texts().select([]), modality="text")
    with pytest.raises(TypeError, match="expected an id"):
        load_data(3, modality="text")


def test_configs_are_listed(tmp_path):
    for name in ("books", "dvd"):
        (tmp_path / name).mkdir()
        texts().to_parquet(tmp_path / name / "train.parquet")
    configs = [{"config_name": n, "data_files": f"{n}/train.parquet"} for n in ("books", "dvd")]
    front = json.dumps({"configs": configs})
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n")
    with pytest.raises(ValueError, match=r"CONFIG from .*books.*dvd"):
        load_data(f"{tmp_path}:nope", modality="text")
    assert load_data(f"{tmp_path}:dvd#train", modality="text").n_rows == 10


def encoded(image, kind="PNG"):
    out = io.BytesIO()
    image.save(out, kind)
    return {"bytes": out.getvalue(), "path": None}


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "CMYK", "I;16", "RGB"])
def test_every_image_becomes_rgb(mode):
    if mode == "I;16":
        image = Image.fromarray(np.full((3, 3), 200 * 256, np.uint16))
    else:
        image = Image.new("L", (3, 3), 255 if mode == "1" else 200).convert(mode)
    found = np.asarray(as_rgb(image))
    assert found.shape == (3, 3, 3)
    expected = 255 if mode == "1" else 200
    assert abs(found.astype(int) - expected).max() <= 2


def test_images_are_upright():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:4] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: turn it clockwise
    buffer = io.BytesIO()
    Image.fromarray(np.rot90(pixels).copy()).save(buffer, "PNG", exif=exif)
    found = decode_image({"bytes": buffer.getvalue(), "path": None})
    np.testing.assert_array_equal(np.asarray(found), pixels)


@pytest.mark.parametrize("value", [-1, 256, 65535])
def test_arrays_of_other_than_8_bits_are_refused(value):
    with pytest.raises(ValueError, match="expected pixels of 0 to 255"):
        decode_image([[0, value], [0, 0]])


def test_a_bad_image_is_named_by_its_row():
    good = encoded(Image.new("RGB", (2, 2)))
    table = datasets.Dataset.from_list(
        [{"image": good, "label": 0}, {"image": {"bytes": b"no image", "path": None}, "label": 1}],
        features=datasets.Features(image=datasets.Image(), label=datasets.Value("int64")),
    )
    data = load_data(table, modality="image")
    (_, first), (index, second) = iterate(data)
    assert read_row(data, 0, first).inputs.size == (2, 2)
    with pytest.raises(BadRow, match="row 1 "):
        read_row(data, index, second)


def test_sound_is_decoded_and_resampled():
    wave = np.sin(np.arange(16000) / 16000 * 2 * np.pi * 50)
    out = io.BytesIO()
    wavfile.write(out, 16000, np.stack([wave * 32767] * 2, axis=1).astype(np.int16))
    table = datasets.Dataset.from_list([{"audio": {"bytes": out.getvalue(), "path": None}}])
    table = table.cast_column("audio", datasets.Audio())
    data = load_data(table, modality="audio")
    index, row = next(iter(iterate(data)))
    assert read_row(data, index, row).inputs == pytest.approx(wave, abs=1e-3)
    half = read_row(data, index, row, sampling_rate=8000).inputs
    assert half.dtype == np.float32
    assert half[100:-100] == pytest.approx(wave[::2][100:-100], abs=0.01)


@pytest.mark.parametrize(
    ("dtype", "greatest", "silence"), [(np.uint8, 127, 128), (np.int16, 32767, 0)]
)
def test_sound_of_every_width_has_its_full_amplitude(dtype, greatest, silence):
    wave = np.sin(np.arange(400) / 10)
    out = io.BytesIO()
    wavfile.write(out, 16000, np.rint(wave * greatest + silence).astype(dtype))
    table = datasets.Dataset.from_list([{"audio": {"bytes": out.getvalue(), "path": None}}])
    data = load_data(table.cast_column("audio", datasets.Audio()), modality="audio")
    index, row = next(iter(iterate(data)))
    assert read_row(data, index, row).inputs == pytest.approx(wave, abs=0.01)


def test_a_file_that_cannot_be_read_is_told_with_its_cause(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\na,0\nb,1,2,3\n")
    with pytest.raises(ResqueError, match=r"cannot be loaded or written: .*line 3"):
        load_data(str(tmp_path), modality="text")
