"""What a fingerprint says about itself: model, layers, data, and what happened to its samples."""

from __future__ import annotations

import datetime
import math
import re
from dataclasses import dataclass, field, fields, replace

GROUPS = 16  # random groups a class: 1,000 classes × 768 dimensions take 98.4 MB


@dataclass(frozen=True)
class Counts:
    """What happened to the samples of a pass.

    Attributes:
        samples: samples that the model saw.
        scored: those of them whose label is a class of the model.
        correct: those of the scored ones that the model predicted.
        loss_sum: sum of the scored ones' cross-entropy, in nats.
        unlabelled: left out because they have no label.
        bad: left out because they cannot be read.
        empty: left out because their text is empty.
        truncated: texts or sounds cut to what the model takes.
    """

    samples: int = 0
    scored: int = 0
    correct: int = 0
    loss_sum: float = 0.0
    unlabelled: int = 0
    bad: int = 0
    empty: int = 0
    truncated: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Return the counts of both."""
        return Counts(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )

    @property
    def accuracy(self) -> float | None:
        """Accuracy in [0, 1] over the scored samples, or None."""
        return self.correct / self.scored if self.scored else None

    @property
    def loss(self) -> float | None:
        """Mean cross-entropy over the scored samples, in nats, or None."""
        return self.loss_sum / self.scored if self.scored else None


@dataclass(frozen=True)
class Source:
    """A data set, or a part of one, that a fingerprint was made of.

    Attributes:
        dataset: its id or folder.
        revision: its commit, where known.
        config: its configuration, or None.
        split: its split, or None.
        shard: "i/n".
        max_samples: how many rows were drawn, or None for all.
        seed: of that draw and of the corruption.
    """

    dataset: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None
    shard: str = "1/1"
    max_samples: int | None = None
    seed: int = 0

    def __str__(self) -> str:
        parts = (("@", self.revision), (":", self.config), ("#", self.split))
        name = self.dataset + "".join(mark + part for mark, part in parts if part)
        return name if self.shard == "1/1" else f"{name} (shard {self.shard})"

    def shares_rows(self, other: Source) -> bool:
        """Whether both surely hold the same row; of data in memory nobody knows.

        >>> Source("a", shard="1/2").shares_rows(Source("a", shard="3/4"))
        True
        """
        if self.dataset.startswith("<"):
            return False
        if replace(self, shard=other.shard, max_samples=other.max_samples) != other:
            return False
        if self.max_samples != other.max_samples:
            return any(x.max_samples is None and x.shard == "1/1" for x in (self, other))
        parts = [re.fullmatch(r"(\d+)/([1-9]\d*)", x.shard) for x in (self, other)]
        (i, n), (j, m) = (map(int, x.groups()) if x else (0, 1) for x in parts)
        return (i - j) % math.gcd(n, m) == 0


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on every number of the sums, for (ε, δ)-differential privacy.

    Attributes:
        epsilon: ε, above 0.
        delta: δ, in (0, 1).
        sigma: standard deviation of each number's noise, in the unit of the representations.
    """

    epsilon: float
    delta: float
    sigma: float


@dataclass(frozen=True)
class Header:
    """What the sums are of. Two fingerprints add where all but sources, counts and date agree.

    Attributes:
        model: id or folder.
        model_revision: commit, where known.
        weights: digest of a sample of the weights.
        layers: names of the layers, the main one first.
        pooling: how each layer's output became one vector a sample.
        preprocessing: the processor's class and a digest of its settings.
        dtype: what the model computed in.
        labels: "data" or "predicted".
        corruption: "NAME:LEVEL", or None.
        class_names: names of the class ids, or None.
        sources: the data.
        counts: what happened to its samples.
        versions: of the libraries.
        date: ISO date.
        clip_norm: norm that longer representations were shortened to, or None.
        noise: what was added to the sums for privacy, or None (see `resque.privacy`).
    """

    model: str
    model_revision: str | None
    weights: str
    layers: tuple[str, ...]
    pooling: tuple[str, ...]
    preprocessing: str
    dtype: str
    labels: str
    corruption: str | None
    class_names: tuple[str, ...] | None
    sources: tuple[Source, ...]
    counts: Counts
    versions: dict[str, str] = field(default_factory=dict)
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())
    clip_norm: float | None = None
    noise: Noise | None = None
