"""What the demo takes of a visitor: files that are read, and files that are refused."""

from __future__ import annotations

import io
import os
import pickle
import stat
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
import zlib
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

import jobs
import limits
import resque
from resque.columns import find_columns
from resque.data import open_data
from resque.images import as_rgb
from uploads import read_upload

RED, BLUE = (200, 10, 10), (10, 10, 200)


def picture(color=RED, size=(4, 4), kind="PNG", mode="RGB", **options) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, color).save(file, kind, **options)
    return file.getvalue()


def pack(files, method=zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, data in files:
            info = zipfile.ZipInfo("x") if isinstance(name, str) else name
            if isinstance(name, str):
                info.filename = name  # as it is, which ZipInfo itself would change
            info.compress_type = method
            archive.writestr(info, data)
    return file.getvalue()


def two_classes():
    return [("cats/1.png", picture(RED)), ("dogs/1.png", picture(BLUE))]


@pytest.fixture
def upload(tmp_path):
    """Upload files, given as name and bytes; what fails must leave nothing."""

    def send(*files):
        given = []
        for i, (name, data) in enumerate(files):
            path = tmp_path / f"given-{i}"
            path.write_bytes(data)
            given.append((name, path))
        folder = tmp_path / "kept"
        before = [path for path in tmp_path.rglob("*") if path.is_file()]
        try:
            found = read_upload(given, folder)
        except ValueError:
            assert [path for path in tmp_path.rglob("*") if path.is_file()] == before
            raise
        assert [path.name for path in folder.iterdir()] == ["test.parquet"]
        return found

    return send


@pytest.fixture
def refused(upload):
    def send(*files) -> str:
        with pytest.raises(ValueError, match=r"\w") as caught:
            upload(*files)
        text = str(caught.value)
        assert text[0].isupper() or text[0] == "'"
        assert text.endswith(".")
        assert "\n" not in text
        assert "\x1b" not in text
        assert "/given-" not in text
        assert len(text) < 700
        return text

    return send


def rows_of(found):
    return datasets.Dataset(parquet.read_table(Path(found.path) / "test.parquet"))


def labelled(found):
    """Return the names of the rows' classes."""
    rows = rows_of(found)
    return [rows.features["label"].int2str(x) for x in rows["label"]]


def colors(found):
    return [np.asarray(x)[0, 0].tolist() for x in rows_of(found)["image"]]


# Images in a zip


@pytest.mark.parametrize("root", ["", "photos/", "a/b/"])
def test_a_zip_of_images_by_class(upload, root):
    extra = [(f"__MACOSX/{root}cats/._1.png", b"x"), (f"{root}.DS_Store", b"x")]
    extra += [(f"{root}cats/Thumbs.db", b"x"), (f"{root}cats/", b"")]
    files = [(root + name, data) for name, data in two_classes()]
    found = upload(("my.zip", pack([*files, *extra])))
    assert (found.modality, found.rows, found.classes) == ("image", 2, ("cats", "dogs"))
    assert found.left_out == ()
    assert (labelled(found), colors(found)) == (["cats", "dogs"], [list(RED), list(BLUE)])
    rows, spec, _ = open_data(found.path)
    columns = find_columns(dict(rows.features), "image")
    assert (spec.split, columns.inputs, columns.label) == ("test", ("image",), "label")


def test_a_folder_upload_is_read_as_a_zip_is(upload):
    found = upload(*two_classes(), ("notes.txt", b"hello"))
    assert labelled(found) == ["cats", "dogs"]
    assert found.left_out == (
        "1 file is no image (PNG, JPEG, WebP, BMP, GIF or TIFF): 'notes.txt'.",
    )


def test_images_in_no_folder_have_no_labels(upload):
    found = upload(("1.png", picture()), ("2.png", picture()))
    assert (found.rows, found.classes) == (2, ())
    assert list(rows_of(found).features) == ["image"]


def test_images_beside_the_classes_are_left_out(upload):
    found = upload(
        ("all.zip", pack([(f"a/{n}", d) for n, d in [*two_classes(), ("0", picture())]]))
    )
    assert labelled(found) == ["cats", "dogs"]
    assert found.left_out == ("1 image lies in no folder of a class: 'a/0'.",)


def test_a_class_of_one_image_is_a_class(upload):
    assert upload(("cats/1.png", picture())).classes == ("cats",)


def test_classes_that_are_numbers_keep_their_ids(upload):
    found = upload(*[(f"{i}/x.png", picture()) for i in (10, 3)])
    assert found.classes == ("3", "10")
    assert rows_of(found)["label"][:] == [10, 3]


def test_bad_images_are_left_out_where_others_are_good(upload, monkeypatch):
    monkeypatch.setattr(limits, "MAX_PIXELS", 100)
    files = [
        *two_classes(),
        ("cats/cut.png", picture(size=(10, 10))[:-30]),
        ("cats/cut.jpg", picture(size=(9, 9), kind="JPEG")[:-200]),
        ("cats/text.png", b"hello"),
        ("cats/<b>\x1b[31m.png", b"hello"),
        ("cats/large.png", picture(size=(101, 1))),
        ("cats/inner.zip", pack(two_classes())),
    ]
    found = upload(("all.zip", pack(files)))
    assert found.rows == 2
    assert found.left_out == (
        "3 files are no images (PNG, JPEG, WebP, BMP, GIF or TIFF): 'cats/text.png', "
        "'cats/<b>.png', 'cats/inner.zip'.",
        "2 images are cut short or damaged: 'cats/cut.jpg', 'cats/cut.png'.",
        "1 image has more than 0.0001 megapixels: 'cats/large.png'.",
    )


def header_of(width, height):
    """Return a PNG of which only the header is there."""
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + size))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + size + crc


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_100_megapixel_image_is_refused_unseen(refused, side):
    text = refused(("cats/huge.png", header_of(side, side) + picture()[33:]))
    assert "1 image has more than 16 megapixels: 'cats/huge.png'" in text


def test_images_are_drawn_by_the_same_seed(upload, monkeypatch):
    monkeypatch.setattr(limits, "MAX_ROWS", 20)
    files = [(f"{'ab'[i % 2]}/{i}.png", picture((i, 0, 0))) for i in range(100)]
    found = upload(("all.zip", pack(files)))
    assert found.rows == 20
    assert found.left_out == (
        "20 of 100 images were drawn at random, as at most 20 images, 1,000 megapixels and 300 MB "
        "as PNG are taken.",
    )
    first = [x[0] for x in colors(found)]
    assert first == sorted(set(first))
    assert labelled(found) == ["ab"[i % 2] for i in first]
    assert first == [x[0] for x in colors(upload(*files))]


@pytest.mark.parametrize(
    ("limit", "most"), [("MAX_TOTAL_PIXELS", 3 * 16), ("MAX_STORED_BYTES", 3 * len(picture()))]
)
def test_no_more_is_decoded_or_kept_than_may_be(upload, monkeypatch, limit, most):
    monkeypatch.setattr(limits, limit, most)
    found = upload(*[(f"{i}.png", picture()) for i in range(8)], ("cut.png", picture()[:-30]))
    assert found.rows in (2, 3)
    assert any(" of 9 images were drawn at random" in text for text in found.left_out)


def test_damaged_images_take_no_row_of_a_good_one(upload, monkeypatch):
    monkeypatch.setattr(limits, "MAX_ROWS", 5)
    cut = [(f"{i}.png", picture()[:-30]) for i in range(20)]
    found = upload(*cut, *[(f"good-{i}.png", picture()) for i in range(5)])
    assert found.rows == 5
    assert "images are cut short or damaged" in found.left_out[0]


def transposed():
    """Return a JPEG, left half red, that its orientation turns so that the upper half is."""
    image = Image.new("RGB", (16, 8), BLUE)
    image.paste(RED, (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "taken at home"
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, quality=95, subsampling=0)
    return file.getvalue()


def kept_image(found):
    [image] = rows_of(found)["image"]
    return image


def test_orientation_is_applied_and_metadata_is_gone(upload):
    found = upload(("x.jpg", transposed()))
    image = kept_image(found)
    assert image.size == (8, 16)
    assert np.abs(np.asarray(image)[2, 4].astype(int) - RED).max() < 30
    assert np.abs(np.asarray(image)[13, 4].astype(int) - BLUE).max() < 30
    assert b"taken at home" not in (Path(found.path) / "test.parquet").read_bytes()


def test_what_a_png_carries_along_is_gone(upload):
    from PIL.PngImagePlugin import PngInfo

    about = PngInfo()
    about.add_text("Comment", "secret")
    data = picture(pnginfo=about, icc_profile=b"secret" * 30, transparency=RED)
    assert set(kept_image(upload(("x", data))).info) == set()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_formats_are_known_by_their_bytes(upload, kind):
    found = upload(("cats/photo.txt", picture(kind=kind)))
    image = kept_image(found)
    assert (image.mode, image.format) == ("RGB", "PNG")
    assert np.abs(np.asarray(image)[0, 0].astype(int) - RED).max() < 12


@pytest.mark.parametrize("kind", ["PPM", "ICO", "TGA", "PDF"])
def test_other_formats_are_not(refused, kind):
    assert "is no image" in refused(("cats/1.png", picture(kind=kind, size=(16, 16))))


MODES = [("1", 1), ("L", 90), ("LA", (90, 0)), ("P", 7), ("RGBA", (9, 8, 7, 0)), ("I;16", 40_000)]
MODES += [("CMYK", (0, 255, 255, 0)), ("I", 40_000)]


@pytest.mark.parametrize(("mode", "value"), MODES)
def test_every_mode_becomes_the_rgb_that_resque_reads(upload, mode, value):
    kind = "TIFF" if mode in ("CMYK", "I") else "PNG"
    data = picture(value, mode=mode, kind=kind)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(as_rgb(image))
    assert (np.asarray(kept_image(upload(("x", data)))) == expected).all()


def test_16_bits_are_not_cut_off_at_255(upload):
    image = kept_image(upload(("x", picture(40_000, mode="I;16"))))
    assert np.asarray(image)[0, 0].tolist() == [156] * 3


def test_cmyk_of_a_camera_is_not_inverted(upload):
    data = picture((0, 255, 255, 0), mode="CMYK", kind="JPEG", size=(16, 16))
    [color] = colors(upload(("x", data)))
    assert np.abs(np.array(color) - (255, 0, 0)).max() < 12


def test_an_image_of_floats_is_left_out(refused):
    text = refused(("x.tif", picture(0.5, mode="F", kind="TIFF")))
    assert "1 image is cut short or damaged: 'x.tif'" in text


def test_an_animation_gives_its_first_frame(upload):
    frames = [Image.new("RGB", (4, 4), color) for color in (RED, BLUE)]
    for kind in ("GIF", "WEBP", "PNG"):
        file = io.BytesIO()
        frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=100)
        [color] = colors(upload(("x", file.getvalue())))
        assert np.abs(np.array(color) - RED).max() < 12


def test_large_images_are_made_smaller_and_keep_their_shape(upload):
    assert kept_image(upload(("x", picture(size=(3000, 1500), kind="JPEG")))).size == (512, 256)
    assert kept_image(upload(("x", picture(size=(2000, 2))))).size == (512, 1)
    assert kept_image(upload(("x", picture(size=(512, 9))))).size == (512, 9)


# Zips that are refused


def changed(data: bytes, change) -> bytes:
    """Return a zip of one entry after a change to its header at the zip's end."""
    at = data.rindex(b"PK\x01\x02")
    found = bytearray(data)
    change(found, at)
    return bytes(found)


def put(layout, offset, value):
    return lambda data, at: struct.pack_into(layout, data, at + offset, value)


def linked(kind):
    info = zipfile.ZipInfo("cats/1.png")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return pack([(info, b"/etc/passwd")])


ONE = pack([("cats/1.png", picture())])
BOMB = pack([("cats/1.png", b"\0" * 3_000_000)])
LYING = changed(BOMB, put("<I", 24, 4))  # of 3 MB it says 4 bytes
CASES = {
    "empty": (b"", "is no zip file that can be read: make it again"),
    "no entries": (pack([]), "No image can be read. There are no files."),
    "only folders": (pack([("cats/", b"")]), "There are no files"),
    "no images": (pack([("a/b.txt", b"x")]), "1 file is no image"),
    "no zip": (b"hello" * 99, "is no zip file"),
    "half": (ONE[: len(ONE) // 2], "is no zip file"),
    "newer version": (changed(ONE, put("<H", 6, 99)), "is no zip file"),
    "wrong utf-8": (
        changed(changed(ONE, put("<H", 8, 0x800)), lambda d, at: d.__setitem__(at + 46, 0xFF)),
        "is no zip file",
    ),
    "encrypted": (changed(ONE, put("<H", 8, 1)), "'cats/1.png' in the zip is encrypted"),
    "symlink": (linked(stat.S_IFLNK), "'cats/1.png' in the zip is a link or a device"),
    "device": (linked(stat.S_IFCHR), "is a link or a device"),
    "pipe": (linked(stat.S_IFIFO), "is a link or a device"),
    "bzip2": (pack([("cats/1.png", picture())], zipfile.ZIP_BZIP2), "packed by method 12"),
    "lzma": (pack([("cats/1.png", picture())], zipfile.ZIP_LZMA), "packed by method 14"),
    "ratio": (BOMB, "unpacks to 1,0"),
    "lie about the size": (LYING, "The zip is damaged at 'cats/1.png'"),
    "wrong checksum": (changed(ONE, put("<I", 16, 7)), "is damaged at 'cats/1.png'"),
    "more bytes than there are": (changed(ONE, put("<I", 20, 99_999)), "is damaged at"),
    "place outside": (changed(ONE, put("<I", 42, 9_999)), "is damaged at"),
    "another name": (
        changed(ONE, lambda d, at: d.__setitem__(at + 46, ord("b"))),
        "is damaged at 'bats/1.png'",
    ),
    "twice": (pack([("a/1.png", picture()), ("a/1.png", picture())]), "has 'a/1.png' twice"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_zips_are_refused(refused, case):
    data, text = CASES[case]
    assert text in refused(("my.zip", data))


OUTSIDE = ["/etc/cron.png", "../1.png", "cats/../../1.png", "C:/1.png", "c:1.png", "cats\\1.png"]
OUTSIDE += ["\\\\host\\1.png", "..", "cats/1.png\0.txt", "//host/1.png", "../", "/"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_outside_are_refused(refused, name):
    zipped = pack([*two_classes(), (name, picture())])
    assert "A file is named" in refused(("my.zip", zipped))
    assert "A file is named" in refused(("cats/1.png", picture()), (name, picture()))


def test_entries_that_share_bytes_are_refused(refused):
    inner = pack([("a/2.png", picture())], zipfile.ZIP_STORED)
    inner = inner[: inner.index(b"PK\x01\x02")]
    data = bytearray(pack([("a/1.bin", inner), ("a/2.png", picture())], zipfile.ZIP_STORED))
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 30 + len("a/1.bin"))  # within the first
    assert "is damaged at 'a/2.png'" in refused(("my.zip", bytes(data)))


def test_a_zip_of_too_many_or_too_large_files_is_refused(refused, monkeypatch):
    monkeypatch.setattr(limits, "MAX_FILES", 3)
    many = pack([(f"a/{i}.png", b"") for i in range(4)])
    assert "There are 4 files; at most 3 are taken" in refused(("my.zip", many))
    many = pack([(f"{i}/", b"") for i in range(13)])
    assert "There are 13 files" in refused(("my.zip", many))
    assert "There are 4 files" in refused(*[(f"{i}", b"") for i in range(4)])
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 1_500_000)
    two = pack([("1", os.urandom(800_000)), ("2", os.urandom(800_000))])
    assert "unpacks to 2 MB; at most 2 MB" in refused(("my.zip", two))


def test_an_upload_that_is_too_large_or_none_is_refused(refused, monkeypatch):
    monkeypatch.setattr(limits, "MAX_UPLOAD_BYTES", 1_000_000)
    text = refused(("1.png", b"x" * 600_000), ("2.png", b"x" * 600_000))
    assert text.startswith("The upload has 1.2 MB; at most 1 MB are taken")
    assert "There is no file" in refused()


def outcome(name, data, place):
    """Upload a file into a folder below a place; return the upload, or the reason against it."""
    (place / "given").write_bytes(data)
    try:
        return read_upload([(name, place / "given")], place / "a" / "b")
    except ValueError as error:
        return str(error)


STEPS = ["..", ".", "", "/", "a", "C:", "\\", "~", "é"]
ANY_TEXT = st.text(st.characters(codec="utf-8"), min_size=1)
ANY_PATH = st.lists(st.sampled_from(STEPS), min_size=1).map("/".join)


@settings(max_examples=60)
@given(st.lists(ANY_TEXT | ANY_PATH, min_size=1, max_size=4))
@example(["../../../sentinel"])
@example(["/", "./.", "."])
def test_whatever_its_names_a_zip_writes_one_file_or_none(names):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "sentinel").write_text("as it was")
        (root / "in").mkdir()
        found = outcome("my.zip", pack([(name, picture()) for name in names]), root / "in")
        files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        kept = set() if isinstance(found, str) else {"in/a/b/test.parquet"}
        assert files == {"sentinel", "in/given"} | kept
        assert (root / "sentinel").read_text() == "as it was"


@settings(max_examples=60)
@given(st.integers(0, len(ONE) - 1), st.integers(0, 255), st.integers(0, 40))
def test_a_zip_with_wrong_bytes_is_read_or_refused(at, value, cut):
    data = bytearray(ONE)
    data[at] = value
    with tempfile.TemporaryDirectory() as folder:
        found = outcome("my.zip", bytes(data[: len(data) - cut]), Path(folder))
        assert found.endswith(".") if isinstance(found, str) else found.rows == 1


# Names of classes


def test_class_names_are_text_without_control_characters(upload):
    long = "x" * 5_000
    html, steered = "<script>alert(1)<!script>", "\x1b[31mred\x07\u202e"
    names = [html, steered, long, long + "y" * 9_000, "é", "e\u0301", "猫 \U0001f431"]
    table = datasets.Dataset.from_dict({"text": list("abcdefg"), "label": names})
    file = io.BytesIO()
    table.to_parquet(file)
    found = upload(("x.parquet", file.getvalue()))
    assert set(labelled(found)) == set(found.classes)
    assert {html, "red", "é", "猫 \U0001f431"} < set(found.classes)
    assert len(found.classes) == 6  # both ways to write é are one
    assert max(map(len, found.classes)) <= limits.MAX_CLASS_CHARACTERS + 5
    html = "<img src=x onerror=alert(1)>"
    assert upload((f"{html}/1.png", picture())).classes == (html,)
    assert upload(("\x07/1.png", picture())).classes == ("(no name)",)


def test_too_many_classes_are_refused(refused):
    files = [(f"c{i}/1.png", picture()) for i in range(201)]
    assert "The folders give 201 classes; at most 200" in refused(("x.zip", pack(files)))
    lines = "text,label\n" + "".join(f"a,c{i}\n" for i in range(100_000))
    assert "'label' has 100,000 classes" in refused(("x.csv", lines.encode()))
    numbers = "text,label\n" + "".join(f"a,{i}\n" for i in range(201))
    assert "'label' has 201 classes" in refused(("x.csv", numbers.encode()))


# Tables


@pytest.mark.parametrize(
    ("name", "mark"), [("x.csv", ","), ("X.CSV", ";"), ("x.csv", "\t"), ("x.tsv", "\t")]
)
def test_a_table_of_texts_with_labels(upload, name, mark):
    lines = ["id,text,label", '1,"good, and\nnew",pos', "2,bad,neg", "3,  ,pos", "4,fair,", ""]
    text = "\r\n".join(lines).replace(",", mark)
    found = upload((name, b"\xef\xbb\xbf" + text.encode()))
    assert (found.modality, found.rows, found.classes) == ("text", 2, ("neg", "pos"))
    assert rows_of(found)["text"][:] == [f"good{mark} and\nnew", "bad"]
    assert labelled(found) == ["pos", "neg"]
    assert found.left_out == (
        "1 row has no text.",
        "1 row has no label.",
        "1 column is not read: 'id'.",
    )


def test_labels_that_are_numbers_stay_ids(upload):
    found = upload(("x.csv", b"text,label\na,2\nb,1\nc,-1\nd,\n"))
    assert (found.classes, rows_of(found)["label"][:]) == (("1", "2"), [2, 1])
    assert found.left_out == ("2 rows have no label.",)


def test_a_table_without_labels(upload):
    found = upload(("x.csv", b"review,stars\na,1.5\nb,2\n"))
    assert (found.classes, rows_of(found)["text"][:]) == ((), ["a", "b"])
    assert found.left_out == (
        "1 column is not read: 'stars'; labels are read from a column called 'label'.",
    )
    assert upload(("x.csv", b"text,label\na,\nb,\n")).classes == ()
    (left_out,) = upload(("x.csv", b"text,label\na,1.0\nb,2.0\n")).left_out
    assert left_out == "1 column is not read: 'label'; labels are texts or whole numbers."


def test_a_corruption_of_images_does_not_fit_texts(upload):
    found = upload(("x.csv", b"text,label\na,x\nb,y\n"))
    with pytest.raises(ValueError, match="is for image data; the data is text"):
        jobs.samples(jobs.Shift("m", found.path, "", "blur:1", "auto", 50))


def test_pairs_of_texts(upload):
    found = upload(("x.csv", b"premise,hypothesis,label\na,b,yes\nc,,no\n"))
    assert list(rows_of(found).features) == ["premise", "hypothesis", "label"]
    assert found.rows == 1


def test_long_texts_are_cut_and_rows_are_drawn(upload, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TEXT_CHARACTERS", 5)
    monkeypatch.setattr(limits, "MAX_ROWS", 10)
    lines = "text,label\n" + "".join(f"text {i:02},{i % 2}\n" for i in range(30))
    found = upload(("x.csv", lines.encode()))
    assert (found.rows, set(rows_of(found)["text"])) == (10, {"text "})
    assert found.left_out == (
        "10 of 30 texts were drawn at random; the others are not read.",
        "10 texts were cut after 5 characters.",
    )


TABLES = {
    "empty": (b"", "'x.csv' is empty"),
    "header only": (b"text,label\n", "has no rows"),
    "no text": (b"id,label\n1,a\n", "has the columns 'id', 'label', of which not one alone"),
    "two texts": (b"a,b\nx,y\n", "has the columns 'a', 'b'"),
    "empty texts": (b"text,label\n ,a\n", "has 1 rows, and none of them has a text:"),
    "nothing of both": (b"text,label\n ,a\nb,\n", "none of them has a text and a label"),
    "byte 0": (b"text,label\na\0,b\n", "has a byte 0 at position 12"),
    "latin-1": ("text,label\né,b\n".encode("latin-1"), "not UTF-8 (byte 0xe9 at position 11)"),
    "utf-16": ("text,label\né,b\n".encode("utf-16"), "has a byte 0"),
    "ragged": (b"text,label\na,b\na,b,c\n", "has 3 values at line 3; expected 2"),
    "short": (b"text,label\na\n", "has 1 value at line 2; expected 2"),
    "open quote": (b'text,label\n"a,b\nc,d\n', "is no CSV at line 3 (unexpected end of data)"),
    "quote": (b'text,label\n"a"x,b\n', "is no CSV at line 2"),
    "long line": (b"text,label\n" + b"a" * 19_000_000 + b",b\n", "field larger than field limit"),
    "same column": (b"text,text\na,b\n", "has two columns called 'text'"),
    "many columns": (b"," * 600 + b"text\n", "has 601 columns; at most 500"),
    "steering": (b"\x1b[31mtext,b\nx,y\n", "has the columns 'text', 'b'"),
}


@pytest.mark.parametrize("case", TABLES)
def test_bad_tables_are_refused(refused, case):
    data, text = TABLES[case]
    assert text in refused(("x.csv", data))


def test_tables_of_too_many_rows_are_refused(refused, monkeypatch):
    monkeypatch.setattr(limits, "MAX_TABLE_ROWS", 3)
    assert "has more than 3 rows" in refused(("x.csv", b"text\na\nb\nc\nd\n"))


def as_parquet(columns, **options) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file, **options)
    return file.getvalue()


def test_parquet_of_each_kind_of_text_and_label(upload):
    texts = ["a", "b", None, "d"]
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())):
        found = upload(("x.parquet", as_parquet({"text": pa.array(texts, kind)})))
        assert rows_of(found)["text"][:] == ["a", "b", "d"]
    labels = {
        "names": (["n", "p", "p", "p"], ("n", "p")),
        "numbers": ([5, -1, 5, 4], ("4", "5")),
        "truth": ([True, False, True, False], ("0", "1")),
        "missing": ([None, "p", "p", "n"], ("n", "p")),
    }
    for values, classes in labels.values():
        data = as_parquet({"text": list("abcd"), "label": values})
        assert upload(("x.parquet", data)).classes == classes


def test_parquet_that_datasets_wrote_keeps_its_ids(upload):
    names = datasets.ClassLabel(names=["pos", "neg"])
    rows = datasets.Dataset.from_dict({"sentence": list("abc"), "label": [1, 1, 0]})
    file = io.BytesIO()
    rows.cast_column("label", names).to_parquet(file)
    found = upload(("x.parquet", file.getvalue()))
    assert (labelled(found), found.classes) == (["neg", "neg", "pos"], ("pos", "neg"))
    assert rows_of(found).features["label"].names == ["pos", "neg"]


def test_columns_that_are_no_texts_are_never_read(upload):
    bad = [pickle.dumps(test_pairs_of_texts)] * 2
    data = as_parquet({"text": ["a", "b"], "object": bad, "tokens": [["a"], ["b"]]})
    found = upload(("x.parquet", data))
    assert (found.rows, list(rows_of(found).features)) == (2, ["text"])
    assert "2 columns are not read: 'object', 'tokens'" in found.left_out[0]


def test_bad_parquet_is_refused(refused, monkeypatch):
    pickled = [pickle.dumps({"a": 1})]
    for columns in ({"text": pickled}, {"text": [["a"]]}, {"text": [{"a": "b"}]}, {"x": [1]}):
        assert "of which not one alone holds texts" in refused(("x.parquet", as_parquet(columns)))
    good = as_parquet({"text": ["a", "b"], "label": ["c", "d"]})
    for data in (b"", b"hello", good[:-9], b"PAR1" + b"\xff" * 99 + b"PAR1"):
        assert "is no parquet file that can be read" in refused(("x.parquet", data))
    invalid = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(struct.pack("<ii", 0, 2)), pa.py_buffer(b"\xff\xfe")]
    )
    assert "is no parquet file" in refused(("x.parquet", as_parquet({"text": invalid})))
    names = {"text": ["a"], "label": [0]}
    features = datasets.Features(
        text=datasets.Value("string"),
        label=datasets.ClassLabel(names=[str(i) for i in range(300)]),
    )
    data = as_parquet(pa.table(names, schema=features.arrow_schema))
    assert "names 300 classes" in refused(("x.parquet", data))


def test_parquet_is_refused_by_its_metadata_unread(refused, monkeypatch):
    monkeypatch.setattr(parquet.ParquetFile, "read", None)
    many = as_parquet({"text": pa.array([b"a" * 20_000], pa.binary()).cast(pa.string())})
    rows = as_parquet({"text": pa.DictionaryArray.from_arrays([0] * 200_001, ["a" * 20_000])})
    assert len(rows) < 100_000
    assert "has 200,001 rows; at most 200,000" in refused(("x.parquet", rows))
    monkeypatch.setattr(limits, "MAX_UNPACKED_BYTES", 10_000)
    assert "unpacks to 0 MB; at most 0 MB" in refused(("x.parquet", many))


@pytest.mark.slow  # makes a text of 600 MB
def test_parquet_that_lies_about_its_size_is_stopped_by_the_memory_that_a_worker_has(tmp_path):
    file = tmp_path / "x.parquet"
    file.write_bytes(as_parquet({"text": ["a" * 600_000_000]}, compression="gzip"))
    code = """
import resource, sys, pathlib, limits
limits.MAX_UNPACKED_BYTES = 10**12  # what its metadata says is believed
from uploads import read_upload
import datasets, pyarrow.parquet
resource.setrlimit(resource.RLIMIT_DATA, (2_000_000_000, 2_000_000_000))
try:
    read_upload([("x.parquet", pathlib.Path(sys.argv[1]))], pathlib.Path(sys.argv[2]))
except ValueError as error:
    print(error)
"""
    space = Path(limits.__file__).parent
    run = subprocess.run(
        [sys.executable, "-c", code, file, tmp_path / "kept"],
        cwd=space,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == (
        "'x.parquet' is no parquet file that can be read: write it again and upload that.\n"
    )


def test_equal_long_texts_take_the_memory_of_one(upload):
    import tracemalloc

    text = pa.DictionaryArray.from_arrays([0] * 5_000, ["a" * 100_000])
    data = as_parquet({"text": text}, store_schema=False)  # read as plain texts, if nobody cares
    tracemalloc.start()
    found = upload(("x.parquet", data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.rows == limits.MAX_ROWS
    assert peak < 200e6  # bytes, of 500e6 that the texts would be


@settings(max_examples=60)
@given(st.binary(max_size=300), st.sampled_from(["x.csv", "x.tsv", "x.parquet", "x.zip", "x.png"]))
@example(b"text\x85label\na,b", "x.csv")
@example(b"text,label\r\ra,b\r", "x.csv")
def test_any_bytes_are_read_or_refused_in_a_sentence(data, name):
    with tempfile.TemporaryDirectory() as folder:
        found = outcome(name, data, Path(folder))
        assert (Path(folder) / "a").exists() != isinstance(found, str)
        assert not isinstance(found, str) or found.endswith(".")


def test_a_full_disk_is_a_sentence_without_paths(refused, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_table", full)
    assert refused(*two_classes()) == ("The files cannot be stored at the moment: try again later.")


# As a data set


def test_digits_in_a_zip_give_the_index_of_their_arrays(digits, upload):
    model, data = digits
    rows = datasets.Dataset(parquet.read_table(f"{data}/test.parquet")).select(range(150))
    names = rows.features["label"].names
    files = []
    for i, row in enumerate(rows):
        file = io.BytesIO()
        row["image"].convert("RGB").save(file, "PNG")
        files.append((f"digits/{names[row['label']]}/{i}.png", file.getvalue()))
    found = upload(("digits.zip", pack(files)))
    assert (found.rows, found.classes) == (150, tuple("0123456789"))
    options = {"device": "cpu", "progress": False}
    by_zip = resque.estimate(model, f"{data}#train[:300]", found.path, **options)
    by_array = resque.estimate(model, f"{data}#train[:300]", rows, **options)
    assert by_zip.score == by_array.score
    assert by_zip.score.value > 0
    accuracies = [report.sides[1].counts.accuracy for report in (by_zip, by_array)]
    assert accuracies[0] == accuracies[1] > 0.5
