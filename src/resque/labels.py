"""Maps the labels of a data set to the classes of a model, by name where both have names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resque.sums import Label


@dataclass(frozen=True)
class ClassMap:
    """How a data set's labels and a model's class ids become one set of classes.

    Attributes:
        how: "name", "id", or "none" where the labels are not the model's classes.
        ids: model class id of each data label known beforehand.
        keys: what the class of each model class id is called; empty without a head.
        data_names: names of the data's class ids, or None.
        spell: how names are written before they are compared.
    """

    how: str
    ids: dict[Label, int]
    keys: tuple[Label, ...]
    data_names: tuple[str, ...] | None
    spell: Callable[[str], str] = str

    def model_id(self, label: Label) -> int | None:
        """Return the model's class id of a data label, or None where it has none."""
        found = self.ids.get(label)
        if found is None and isinstance(label, str) and self.how == "name":
            found = self.ids.get(self.spell(label))
        return found

    def key(self, label: Label) -> Label:
        """Return what the class of a data label is called, the same for every data set."""
        found = self.model_id(label)
        if found is not None:
            return self.keys[found]
        if self.data_names and isinstance(label, int) and label < len(self.data_names):
            return self.data_names[label]
        return label

    @property
    def note(self) -> str:
        """One line that says how labels were mapped."""
        if self.how == "none":
            return "labels: the data's own classes, which are not the model's"
        return f"labels: the data's classes are matched with the model's by {self.how}"


def map_classes(
    data_names: Sequence[str] | None,
    labels_are_text: bool,
    model_names: Sequence[str] | None,
    n_classes: int | None,
) -> ClassMap:
    """Match a data set's classes with a model's.

    By name where both have names that meet; else by id where the numbers of classes allow it.

    Args:
        data_names: names of the data's class ids, or None.
        labels_are_text: whether the data's labels are names themselves.
        model_names: names of the model's classes (or, without a head, of the original data's).
        n_classes: number of the model's classes; None without a head.

    >>> map_classes(["Cat", "dog"], False, ["dog", "cat"], 2).model_id(0)
    1
    """
    n = n_classes if n_classes is not None else len(model_names or data_names or ())
    own = tuple(data_names) if data_names else None
    spell = _spelling(model_names or (), own or ())
    named = [spell(x) for x in model_names or ()]
    keys: tuple[Label, ...] = tuple(model_names or (own if own and len(own) == n else range(n)))
    at: dict[Label, int] = {name: i for i, name in enumerate(named)}
    if named and labels_are_text:
        return ClassMap("name", at, keys, own, spell)
    if named and own:
        ids: dict[Label, int] = {i: at[p] for i, p in enumerate(map(spell, own)) if p in at}
        if ids:
            return ClassMap("name", ids, keys, own, spell)
    if labels_are_text or not n or (own and len(own) != n and (named or len(own) > n)):
        return ClassMap("none", {}, keys, own)
    return ClassMap("id", {i: i for i in range(n)}, keys, own)


def real_names(id2label: dict[int, str] | None) -> tuple[str, ...] | None:
    """Return a model's class names, or None where they are placeholders (LABEL_0, LABEL_1)."""
    if not id2label:
        return None
    names = [str(id2label[i]) for i in sorted(id2label)]
    placeholders = all(re.fullmatch(r"LABEL_\d+", name) for name in names)
    return None if placeholders or len(set(names)) < len(names) else tuple(names)


def _spelling(*sides: Sequence[str]) -> Callable[[str], str]:
    """Return the loosest way of writing names that makes no two classes of a side the same.

    >>> _spelling(["T-shirt/top", "Bag"])("T - shirt / top"), _spelling(["-1", "1"])("-1")
    ('tshirttop', '-1')
    """
    ways = (_letters, str.casefold)
    return next((w for w in ways if all(len(set(map(w, x))) == len(x) for x in sides)), str)


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold() or name
