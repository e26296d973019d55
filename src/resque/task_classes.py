"""Which classes a retrained head tells apart: the checkpoint's own, or those of a new task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from resque.data import Data
from resque.errors import ResqueError, UsageError
from resque.labels import ClassMap, map_classes
from resque.measurement import match_classes
from resque.sums import Label

if TYPE_CHECKING:
    from resque.models import Model

HEADS = ("auto", "keep", "new")


@dataclass(frozen=True)
class Classes:
    """What the trained head tells apart.

    Attributes:
        ids: class id of each label of the data.
        names: name of each class id.
        new_head: whether the checkpoint's head does not have these classes.
        note: one line that says so and why.
    """

    ids: dict[Label, int]
    names: tuple[str, ...]
    new_head: bool
    note: str


def choose_classes(model: Model, data: Data, labels: Sequence[Label], head: str) -> Classes:
    """Match the data's labels with the model's classes, or find that a new head is needed.

    Args:
        model: with the checkpoint's own head, or none.
        data: the training data.
        labels: the labels of all rows.
        head: "keep" and "new" force the checkpoint's head or a new one; "auto" takes a new one
            where there is none, or where names show that the classes are others.

    Raises:
        ResqueError: where labels lie outside the head and names do not show why.
    """
    if head not in HEADS:
        raise UsageError(f"head is {head!r}; expected one of {', '.join(HEADS)}")
    own = data.columns.label_names
    present = sorted(set(labels), key=lambda x: (isinstance(x, str), x))
    new = _new_classes(present, own)
    if head == "new" or model.n_classes is None:
        why = "as asked" if head == "new" else "the checkpoint has no classifier head"
        return replace(new, note=f"a new head for {len(new.names)} classes ({why})")
    found = match_classes(data, model, None)
    outside = [x for x in present if found.model_id(x) is None]
    others = outside or has_other_names(model, own)
    if head == "auto" and others and (own or isinstance(present[0], str)):
        a = ", ".join(map(str, (own or present)[:3]))
        why = f"the data's classes ({a}, …) are not all the checkpoint's"
        return replace(new, note=f"a new head for {len(new.names)} classes ({why})")
    if outside:
        raise ResqueError(
            f"labels outside the head: {', '.join(map(str, outside[:6]))}; the model has "
            f"{model.n_classes} classes. --head new trains a new head for the data's "
            f"{len(new.names)} classes"
        )
    return _kept(model, found, present, data)


def _kept(model: Model, found: ClassMap, present: Sequence[Label], data: Data) -> Classes:
    ids = {label: found.model_id(label) for label in present}
    names = tuple(map(str, model.class_names or range(model.n_classes or 0)))
    if found.how == "none" and not all(isinstance(x, int) for x in present):
        raise ResqueError(f"the labels of {data.spec} cannot be matched with the model's classes")
    return Classes({k: v for k, v in ids.items() if v is not None}, names, False, found.note)


def _new_classes(present: Sequence[Label], names: Sequence[str] | None) -> Classes:
    if names:
        return Classes({i: i for i in range(len(names))}, tuple(names), True, "")
    return Classes({x: i for i, x in enumerate(present)}, tuple(map(str, present)), True, "")


def has_other_names(model: Model, own: Sequence[str] | None) -> bool:
    """Whether data and model both name their classes, and no name is the same.

    Args:
        model: the model.
        own: names of the data's classes, or None.
    """
    if not own or not model.class_names:
        return False
    return map_classes(own, False, model.class_names, model.n_classes).how != "name"
