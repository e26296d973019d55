"""Decodes the rows of a data set: images to RGB, sound to mono, texts, arrays, and labels."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resque.columns import Columns
from resque.data import Data
from resque.errors import ResqueError, first_line
from resque.images import decode_image
from resque.sums import Label
from resque.words import IGNORED, join_words


@dataclass(frozen=True)
class Row:
    """A sample.

    Attributes:
        index: its position in the split.
        inputs: RGB image, text, pair of texts, (T,) float32 audio, or arrays by column.
        label: class id or name; None where the data set gives none (−1, missing, not asked). A
            number, or a list with a class or None for each word, where such targets are read.
    """

    index: int
    inputs: Any
    label: Any


class BadRow(ResqueError):
    """A row that cannot be read; its text begins with the row's number."""


def read_row(data: Data, index: int, row: dict[str, Any], sampling_rate: int | None = None) -> Row:
    """Decode a raw row.

    Args:
        data: the data set.
        index: the row's position.
        row: as `iterate` gives it.
        sampling_rate: Hz that audio is resampled to.

    Raises:
        BadRow: where an input cannot be decoded.
    """
    columns = data.columns
    label = None if columns.label is None else _target(row[columns.label], columns, index)
    try:
        if columns.modality == "tensor":
            inputs: Any = {name: _array(row[name]) for name in columns.inputs}
        elif columns.modality == "image":
            inputs = decode_image(row[columns.inputs[0]])
        elif columns.target == "words":
            inputs = join_words(row[columns.inputs[0]])
            _check_length(len(row[columns.inputs[0]]), label)
        elif columns.modality == "audio":
            inputs = _audio(row[columns.inputs[0]], sampling_rate)
        else:
            inputs = _text([row[name] for name in columns.inputs])
    except Exception as error:
        why = first_line(error).split(" <_io.")[0]
        raise BadRow(f"row {index} of {data.spec} cannot be read: {why}") from error
    return Row(index, inputs, label)


def _target(value: Any, columns: Columns, index: int) -> Any:
    if columns.target == "number":
        return None if value is None or not np.isfinite(value) else float(value)
    if columns.target == "class" or value is None:
        return read_label(value, columns, index)
    each = [None if x == IGNORED else read_label(x, columns, index) for x in value]
    return each if any(x is not None for x in each) else None


def _check_length(words: int, labels: list[Any] | None) -> None:
    if labels is not None and len(labels) != words:
        raise ValueError(f"there are {words} words and {len(labels)} labels")


def is_missing(label: Any) -> bool:
    """Whether a data set's label stands for none: missing, or −1."""
    return label is None or bool(label == -1)


def read_label(value: Any, columns: Columns, index: int) -> Label | None:
    """Return a row's label, or None where it has none (missing, or −1).

    Raises:
        BadRow: where it is neither an int nor a string.
    """
    if is_missing(value) or (isinstance(value, int) and value < 0 and columns.label_names):
        return None
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, int | str):
        raise BadRow(f"row {index}: the label is {value!r}; expected an int or a string")
    return value


def _text(values: list[Any]) -> Any:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"the text is {value!r}")
    return values[0] if len(values) == 1 else tuple(values)


def _array(value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "iufb":
        raise ValueError(f"an array of {array.dtype}; expected numbers, all rows equally long")
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _audio(value: Any, sampling_rate: int | None) -> Any:
    """Return mono float32 audio (T,), resampled, from WAV bytes, a path, a dict or an array."""
    if not isinstance(value, dict):
        return np.asarray(value, np.float32)
    if "array" in value:
        samples, rate = np.asarray(value["array"], np.float32), value["sampling_rate"]
    else:
        samples, rate = _decode_audio(value)
    if sampling_rate and rate != sampling_rate:
        from scipy.signal import resample_poly

        divisor = int(np.gcd(int(rate), sampling_rate))
        samples = resample_poly(samples, sampling_rate // divisor, int(rate) // divisor)
    return np.asarray(samples, np.float32)


def _decode_audio(value: dict[str, Any]) -> tuple[Any, int]:
    """Decode WAV with scipy; other formats with datasets' own decoder, which needs torchcodec."""
    from scipy.io import wavfile

    raw = value.get("bytes") or Path(value["path"]).read_bytes()
    if raw[:4] not in (b"RIFF", b"RIFX"):
        import datasets

        decoded = datasets.Audio().decode_example(value)
        return np.asarray(decoded["array"], np.float32), int(decoded["sampling_rate"])
    rate, samples = wavfile.read(io.BytesIO(raw))
    if samples.dtype.kind != "f":
        bias = 128 if samples.dtype == np.uint8 else 0
        greatest = float(np.iinfo(samples.dtype).max - bias)
        samples = (samples.astype(np.float32) - bias) / greatest
    return (samples.mean(axis=1) if samples.ndim == 2 else samples), int(rate)
