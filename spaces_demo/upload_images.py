"""Reads a visitor's images: decodes them and encodes them anew, so that only pixels are kept."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

import limits
from resque.images import as_rgb
from upload_rows import Rows, check_classes, counted, listed, name_classes
from upload_zip import Entry

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
KINDS = "PNG, JPEG, WebP, BMP, GIF or TIFF"
SIDE = 512  # pixels; longer sides are made so long


@dataclass
class LeftOut:
    """Names of files that are not read, by reason."""

    no_image: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    large: list[str] = field(default_factory=list)
    unlabelled: list[str] = field(default_factory=list)

    def sentences(self) -> tuple[str, ...]:
        """Return a sentence for each reason that there is."""
        most = f"{limits.MAX_PIXELS / 1e6:g} megapixels"
        reasons = (
            (self.no_image, "file is no image", "files are no images", f" ({KINDS})"),
            (self.damaged, "image is", "images are", " cut short or damaged"),
            (self.large, "image has", "images have", f" more than {most}"),
            (self.unlabelled, "image lies", "images lie", " in no folder of a class"),
        )
        return tuple(
            f"{counted(len(names), one, several)}{rest}: {listed(names)}."
            for names, one, several, rest in reasons
            if names
        )


@dataclass(frozen=True)
class Picture:
    """An image that is not decoded yet."""

    entry: Entry
    pixels: int


def read_images(entries: Sequence[Entry]) -> Rows:
    """Read images, whose folder is their class.

    Args:
        entries: files; those that are no images are left out.

    Raises:
        ValueError: where none can be read, or they are too many or too large together.
    """
    import datasets

    left = LeftOut()
    with _quiet():
        found = _labelled(_find(entries, left), left)
        labels = [_folder(x.entry) for x in found]
        check_classes(len(set(labels)), "The folders give")
        images, seen = _draw(found, left)
    if not images:
        raise ValueError(_nothing(left))
    columns: dict[str, list[Any]] = {"image": [{"bytes": x, "path": None} for x in images.values()]}
    features: dict[str, Any] = {"image": datasets.Image()}
    classes: tuple[str, ...] = ()
    if any(labels):
        names, columns["label"] = name_classes([labels[i] for i in images])
        features["label"] = datasets.ClassLabel(names=list(names))
        classes = tuple(names[i] for i in sorted(set(columns["label"])))
    left_out = (*left.sentences(), *_drawn(seen, len(found)))
    return Rows("image", columns, features, classes, left_out)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Pillow's warnings be about files of which the visitor is told anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _find(entries: Sequence[Entry], left: LeftOut) -> list[Picture]:
    """Return the files whose header is an image's, and of no more pixels than may be."""
    found = []
    for entry in entries:
        try:
            pixels = _pixels(entry.read())
        except UnidentifiedImageError:
            left.no_image.append(entry.name)
            continue
        if pixels > limits.MAX_PIXELS:
            left.large.append(entry.name)
        elif not pixels:
            left.damaged.append(entry.name)
        else:
            found.append(Picture(entry, pixels))
    return found


def _pixels(data: bytes) -> int:
    """Return an image's pixels as its header gives them; 0 where that is damaged."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.width * image.height
    except UnidentifiedImageError:
        raise
    except Image.DecompressionBombError as error:
        number = re.search(r"\d+", str(error))
        return int(number[0]) if number else limits.MAX_PIXELS + 1
    except Exception:  # decoders raise nearly anything on hostile bytes
        return 0


def _labelled(pictures: list[Picture], left: LeftOut) -> list[Picture]:
    """Leave out images beside the classes' folders, where there are such folders."""
    folders = {PurePosixPath(x.entry.name).parent for x in pictures}
    if len(folders) < 2:
        return pictures
    shared = [set(folder.parents) | {folder} for folder in folders]
    root = max(set.intersection(*shared), key=lambda folder: len(folder.parts))
    labelled = []
    for picture in pictures:
        if PurePosixPath(picture.entry.name).parent == root:
            left.unlabelled.append(picture.entry.name)
        else:
            labelled.append(picture)
    return labelled


def _folder(entry: Entry) -> str:
    """Return the name of the folder that a file is in, as datasets does; "" where in none."""
    return PurePosixPath(entry.name).parent.name


def _draw(pictures: Sequence[Picture], left: LeftOut) -> tuple[dict[int, bytes], int]:
    """Decode images at random, the same ones each time, until they are as much as may be.

    Returns:
        Images as PNG by their place among the given ones, in that order; how many were tried.
    """
    found: dict[int, bytes] = {}
    pixels = size = seen = 0
    for i in np.random.default_rng(0).permutation(len(pictures)).tolist():
        pixels += pictures[i].pixels
        if len(found) == limits.MAX_ROWS or pixels > limits.MAX_TOTAL_PIXELS:
            break
        data = pictures[i].entry.read()
        seen += 1
        try:
            image = encode_again(data)
        except Exception:  # decoders raise nearly anything on hostile bytes
            left.damaged.append(pictures[i].entry.name)
            continue
        size += len(image)
        if size > limits.MAX_STORED_BYTES and found:
            seen -= 1
            break
        found[i] = image
    return dict(sorted(found.items())), seen


def _drawn(seen: int, n: int) -> tuple[str, ...]:
    """Return the sentence that says how many of n images were taken, where not all were."""
    if seen == n:
        return ()
    return (
        f"{seen:,} of {n:,} images were drawn at random, as at most {limits.MAX_ROWS:,} images, "
        f"{limits.MAX_TOTAL_PIXELS / 1e6:,.0f} megapixels and "
        f"{limits.MAX_STORED_BYTES / 1e6:,.0f} MB as PNG are taken.",
    )


def encode_again(data: bytes) -> bytes:
    """Return an image as PNG in RGB, upright, at most 512 pixels a side, without metadata.

    Of an animation the first frame is taken. A reduced image of a large JPEG is decoded.
    """
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        image.draft(None, (2 * SIDE, 2 * SIDE))
        ImageOps.exif_transpose(image, in_place=True)
        rgb = as_rgb(image)
        rgb.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        bare = Image.new("RGB", rgb.size)
        bare.paste(rgb)
    file = io.BytesIO()
    bare.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _nothing(left: LeftOut) -> str:
    why = " ".join(left.sentences()) or "There are no files."
    return f"No image can be read. {why} Upload images ({KINDS}) in one folder for each class."
