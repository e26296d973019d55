"""Finds which columns of a data set are the model's input and which the label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

LabelUse = Literal["needed", "wanted", "optional"]
Target = Literal["class", "number", "words"]
PREDICTED = (
    ", or use the model's predictions with --labels predicted (labels='predicted'), where a shift "
    "is measured"
)
WORDS_NAMES = ("tokens", "words")
WORD_LABEL_NAMES = ("ner_tags", "tags", "labels", "pos_tags", "upos", "chunk_tags")
LABEL_NAMES = ("label", "labels", "target", "class", "category", "intent", "y")
INPUT_NAMES = {
    "image": ("image", "img", "picture", "photo"),
    "text": ("text", "sentence", "content", "review", "query", "utterance", "document"),
    "audio": ("audio", "speech", "sound", "wav"),
    "tensor": ("inputs", "input", "x", "features", "embedding", "data"),
}
PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("question1", "question2"),
    ("text_a", "text_b"),
)


@dataclass(frozen=True)
class Columns:
    """The columns that are read.

    Attributes:
        modality: "image", "text", "audio" or "tensor".
        inputs: one column, two for a pair of texts, several for tensors.
        label: the label column, or None where there is none or none is wanted.
        label_names: names of the class ids where the data set has them, else None.
        target: what a label is: a class, a number, or a class for each word of the text.
    """

    modality: str
    inputs: tuple[str, ...]
    label: str | None
    label_names: tuple[str, ...] | None
    target: Target = "class"


def find_columns(
    features: dict[str, Any],
    modality: str,
    *,
    input_columns: Sequence[str] | None = None,
    label_column: str | None = None,
    labels: LabelUse = "wanted",
    tensor_names: Iterable[str] = (),
    any_target: bool = False,
) -> Columns:
    """Find input and label columns by their features and by common names.

    Args:
        features: the data set's features by column.
        modality: what the model takes: "image", "text", "audio" or "tensor".
        input_columns: the user's choice.
        label_column: the user's choice.
        labels: "needed" (none is an error), "wanted" (several that may be it are an error), or
            "optional" (none is taken where there is doubt).
        tensor_names: arguments of the model's forward; columns of these names pass as they are.
        any_target: labels may be numbers, or a class for each word, as well.

    Raises:
        ValueError: where a column is not there, none fits, or several do.
        TypeError: where labels are not classes.
    """
    check_names(features, (*(input_columns or ()), *([label_column] if label_column else ())))
    if any_target and modality == "text":
        found = _find_words(features, input_columns, label_column)
        if found is not None:
            return found
    ready = tuple(n for n in tensor_names if n in features and _is_array(features[n]))
    label = label_column or _find_label(features, labels)
    if input_columns:
        inputs = tuple(input_columns)
    elif ready:
        modality, inputs = "tensor", ready
    else:
        inputs = _find_inputs(features, modality, label)
    if modality == "tensor" and _kind(features[inputs[0]]) == "image":
        modality = "image"
    names = getattr(features[label], "names", None) if label else None
    if label and any_target and _kind(features[label]) == "float":
        return Columns(modality, inputs, label, None, "number")
    if label:
        _check_label(label, features[label])
    return Columns(modality, inputs, label, tuple(names) if names else None)


def check_names(features: dict[str, Any], names: Iterable[str]) -> None:
    """Refuse columns that are asked for and not there.

    Raises:
        ValueError: naming those that are.
    """
    for name in names:
        if name not in features:
            raise ValueError(f"there is no column {name!r}; columns: {_listed(features)}")


def _find_words(
    features: dict[str, Any], inputs: Sequence[str] | None, label: str | None
) -> Columns | None:
    """Return a column of words with one of a label for each, where there are such columns."""
    words = [n for n in inputs or features if _kind(_member(features[n])) == "text"]
    labels = [
        n
        for n in ([label] if label else features)
        if n not in words[:1] and _kind(_member(features[n])) in ("class", "int", "text")
    ]
    words = [n for n in WORDS_NAMES if n in words] or words
    labels = [n for n in WORD_LABEL_NAMES if n in labels] or labels
    if not words or not labels:
        return None
    names = getattr(_member(features[labels[0]]), "names", None)
    return Columns("text", (words[0],), labels[0], tuple(names) if names else None, "words")


def _member(feature: Any) -> Any:
    """Return the feature of a list's members; None of what is no list."""
    if isinstance(feature, list):
        return feature[0]
    return getattr(feature, "feature", None) if _kind(feature) == "array" else None


def _find_label(features: dict[str, Any], use: str) -> str | None:
    found = [name for name, f in features.items() if _kind(f) == "class"]
    if not found:
        kinds = ("int", "text", "bool", "float")
        found = [n for n in LABEL_NAMES if n in features and _kind(features[n]) in kinds][:1]
    if len(found) > 1:
        named = [name for name in LABEL_NAMES if name in found]
        if not named and use == "optional":
            return None
        if not named:
            raise ValueError(
                f"several columns may be the label: {_listed(found)}. Say which with "
                f"--label-column (label_column=){'' if use == 'needed' else PREDICTED}"
            )
        found = named
    if found and use == "optional" and _kind(features[found[0]]) == "float":
        return None
    if not found and use == "needed":
        raise ValueError(
            f"no label column was found among {_listed(features)}; name it with --label-column "
            "(label_column=)"
        )
    return found[0] if found else None


def _check_label(name: str, feature: Any) -> None:
    if _kind(feature) not in ("class", "int", "text", "bool"):
        what = getattr(feature, "dtype", type(feature).__name__)
        raise TypeError(
            f"the label column {name!r} holds {what} values; RESQUE needs classes (ints or "
            f"strings). Name another with --label-column (label_column=){PREDICTED}"
        )


def _find_inputs(features: dict[str, Any], modality: str, label: str | None) -> tuple[str, ...]:
    if modality == "text":
        for pair in PAIRS:
            if all(name in features and _kind(features[name]) == "text" for name in pair):
                return pair
    fits = [n for n, f in features.items() if n != label and _fits(f, modality)]
    named = [n for n in INPUT_NAMES[modality] if n in fits]
    if len(fits) == 1 or len(named) == 1:
        return ((named or fits)[0],)
    if not fits:
        raise ValueError(
            f"the model takes {modality}, and no column holds that; columns: {_listed(features)}. "
            "Name one with --input-column (input_columns=)"
        )
    raise ValueError(
        f"several columns may be the {modality}: {_listed(fits)}. Say which with --input-column "
        "(input_columns=), twice for a pair of texts"
    )


def _fits(feature: Any, modality: str) -> bool:
    if modality == "text":
        return _kind(feature) == "text"
    if modality == "tensor":
        return _is_array(feature) or _kind(feature) == "image"
    return _kind(feature) in (modality, "array")


def _is_array(feature: Any) -> bool:
    return _kind(feature) == "array"


def _kind(feature: Any) -> str:
    """Return class, image, audio, text, int, float, bool, array or other."""
    name = type(feature).__name__
    if name in ("ClassLabel", "Image", "Audio"):
        return {"ClassLabel": "class"}.get(name, name.lower())
    if name in ("Array2D", "Array3D", "Array4D", "List", "LargeList", "Sequence"):
        return "array"
    if isinstance(feature, list):
        return "array"
    dtype = str(getattr(feature, "dtype", ""))
    if "string" in dtype:
        return "text"
    for kind in ("uint", "int", "float", "bool"):
        if dtype.startswith(kind):
            return "int" if kind == "uint" else kind
    return "other"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
