"""How far a ranked model's data is from that of the fingerprint which the model publishes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from resque.errors import ResqueError
from resque.fingerprint_file import FILE_NAME
from resque.fingerprints import Fingerprint
from resque.hub import is_offline
from resque.moments import Moments
from resque.uncertainty import angles

if TYPE_CHECKING:
    from resque.layers import Layer
    from resque.models import Model


def shift_from_published(
    model: Model, layer: Layer, moments: Mapping[str, Moments], token: str | None
) -> float | None:
    """Return RESQUE_dist of the data against the fingerprint beside a model's weights.

    Args:
        model: the model.
        layer: whose representations are compared.
        moments: of the data, by layer.
        token: for the Hub.

    Returns:
        The index in [0, 1]; None where there is no fingerprint, it is of other weights, another
        layer or predicted labels, or no class is in common.
    """
    published = _published(model, token)
    seen = moments[layer.name]
    if published is None or seen.centre is None or not _fits(published, model, layer):
        return None
    theirs = published.sums[layer.name]
    common = [label for label in seen.classes.labels if label in theirs.class_counts]
    if not common:
        return None
    counts, sums = seen.classes.select(common)
    ours = sums.sum(axis=1) + counts.sum(axis=1)[:, None] * seen.centre
    each = angles(theirs.select(common)[1].sum(axis=1), ours)
    return float(each.mean() / np.pi)


def stamp_of_published(model: Model) -> list[int] | None:
    """Return size and time of the fingerprint in a model's folder, or None."""
    path = Path(model.name) / FILE_NAME
    if not path.is_file():
        return None
    about = path.stat()
    return [about.st_size, about.st_mtime_ns]


def _published(model: Model, token: str | None) -> Fingerprint | None:
    folder = Path(model.name)
    there = (folder / FILE_NAME).is_file() if folder.exists() else not is_offline()
    if not there or (not folder.exists() and model.revision is None):
        return None
    try:
        return Fingerprint.from_pretrained(model.name, revision=model.revision, token=token)
    except ResqueError:
        return None


def _fits(published: Fingerprint, model: Model, layer: Layer) -> bool:
    header = published.header
    pooling = dict(zip(header.layers, header.pooling, strict=True)).get(layer.name)
    same = header.weights == model.weights and header.preprocessing == model.preprocessing
    return same and header.labels == "data" and pooling == layer.pooling
