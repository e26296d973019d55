"""What a published fingerprint gives away, and how to give away less.

A fingerprint holds no sample, but sums of representations: for each class, and within it for each
of a few random groups of rows, how many samples there are and the sum of their vectors. Whoever
reads it learns

- the mean representation of each class, from which a typical input may be reconstructed to some
  degree (never pixels or words as such, but what the model sees of them);
- where a sum is over one sample, that sample's representation itself;
- the names of the classes, how many samples each has, and the model's accuracy and loss;
- whether a sample that he already has was likely among a small class's (membership).

`for_publication` therefore leaves out classes with few samples, joins groups until each published
sum is over as many, and takes out the paths of local folders. On request it adds Gaussian noise.

The noise. Two data sets are neighbours where one sample has another content, with its label kept.
Its vector, of a norm of at most `clip_norm`, is in one sum of each layer, so that all sums of L
layers together move by at most 2·clip_norm·√L. Normal noise on every number, with the least
standard deviation for which that is (ε, δ)-differentially private (the analytic Gaussian mechanism,
Balle & Wang 2018, arXiv 1805.06083), hides what any one sample looks like. It does not hide labels
and counts, which are published as they are, nor that a sample is there; a person with k samples has
kε; each further publication of the same data adds its ε; and noise in floating point is not proof
against an attack on its last digits.

The index reads it as sampling noise, so noise floor and interval widen. Measured on scikit-learn's
digits (10 classes of about 90 samples, 32 dimensions, δ = 1e-5, 40 draws; exact index 0.146, noise
floor 0.013): at ε = 8 the index is 0.150 with a floor of 0.035, at ε = 2 it is 0.18 with 0.11, at
ε = 1 it is 0.24 with 0.19; de-biased it is 0.145, 0.147 and 0.141, and the interval held the exact
one each time. The noise of a class's mean falls as its samples grow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from resque.errors import ResqueError, UsageError
from resque.fingerprint_header import Header, Noise, Source
from resque.fingerprints import Fingerprint
from resque.sums import ClassSums, Floats, Ints, Label

LOCAL_DATA = "<local data>"
_Split = Callable[[Ints, Floats], tuple[Ints, Floats]]


def for_publication(
    fingerprint: Fingerprint,
    repo_id: str,
    *,
    min_class_count: int,
    epsilon: float | None = None,
    delta: float = 1e-5,
) -> Fingerprint:
    """Return what of a fingerprint may be published.

    Args:
        fingerprint: as it was made.
        repo_id: where it goes; stands in place of a local folder as the model's name.
        min_class_count: samples that every published sum is over, at least.
        epsilon: of the noise; None for no noise.
        delta: of the noise.

    Raises:
        UsageError: where an argument is out of range, or the noise's sensitivity is unknown.
        ResqueError: where no class has so many samples.
    """
    if min_class_count < 1:
        raise UsageError(f"min_class_count is {min_class_count}; expected 1 or more")
    if fingerprint.header.noise:
        raise ResqueError("noise was added to this fingerprint already")
    kept = [k for k, n in fingerprint.class_counts.items() if n >= min_class_count]
    if not kept:
        raise ResqueError(
            f"no class has {min_class_count} samples, so nothing is left to publish "
            "(--min-class-count, min_class_count=)"
        )
    split = _halve if epsilon is not None else _as_it_is
    sums = {k: _select(x, kept, min_class_count, split) for k, x in fingerprint.sums.items()}
    header = _public_header(fingerprint.header, repo_id, kept)
    public = Fingerprint(header, sums)
    return public if epsilon is None else _with_noise(public, epsilon, delta)


def _select(sums: ClassSums, kept: list[Label], least: int, split: _Split) -> ClassSums:
    """Return the sums of some classes, their groups joined until each holds `least` samples."""
    known = set(sums.labels)
    labels = [label for label in kept if label in known]
    counts, vectors = sums.select(labels)
    joined = [_join(*split(c, s), least) for c, s in zip(counts, vectors, strict=True)]
    return ClassSums(
        sums.n_groups,
        labels,
        np.array([c for c, _ in joined], np.int64).reshape(counts.shape),
        np.array([s for _, s in joined], np.float64).reshape(vectors.shape),
    )


def _as_it_is(counts: Ints, sums: Floats) -> tuple[Ints, Floats]:
    return counts, sums


def _halve(counts: Ints, sums: Floats) -> tuple[Ints, Floats]:
    """Join the groups of a class to two: each sum gets noise of its own, so fewer get less."""
    second = 2 * (counts.cumsum() - counts) >= counts.sum()
    new_counts, new_sums = np.zeros_like(counts), np.zeros_like(sums)
    for slot, part in enumerate((~second, second)):
        new_counts[slot], new_sums[slot] = counts[part].sum(), sums[part].sum(axis=0)
    return new_counts, new_sums


def _join(counts: Ints, sums: Floats, least: int) -> tuple[Ints, Floats]:
    """Join the groups (G,) and (G, D) of a class in order; those left over are empty."""
    new_counts, new_sums = np.zeros_like(counts), np.zeros_like(sums)
    slot = 0
    for count, vector in zip(counts, sums, strict=True):
        if new_counts[slot] >= least:
            slot += 1
        new_counts[slot] += count
        new_sums[slot] += vector
    if slot and new_counts[slot] < least:  # the last ones are too few: to the group before
        new_counts[slot - 1] += new_counts[slot]
        new_sums[slot - 1] += new_sums[slot]
        new_counts[slot], new_sums[slot] = 0, 0.0
    return new_counts, new_sums


def _public_header(header: Header, repo_id: str, kept: list[Label]) -> Header:
    """Return the header without local paths and names of classes that are left out."""
    names = header.class_names
    if names:
        public = {names[x] if isinstance(x, int) else x for x in kept if _named(x, names)}
        names = tuple(name if name in public else f"(left out {i})" for i, name in enumerate(names))
    return replace(
        header,
        model=header.model if header.model_revision else repo_id,
        class_names=names,
        sources=tuple(_public_source(source) for source in header.sources),
    )


def _named(label: Label, names: tuple[str, ...]) -> bool:
    return isinstance(label, str) or 0 <= label < len(names)


def _public_source(source: Source) -> Source:
    """Name the data where it is on the Hub, whose data sets have a commit."""
    return source if source.revision else replace(source, dataset=LOCAL_DATA)


def _with_noise(fingerprint: Fingerprint, epsilon: float, delta: float) -> Fingerprint:
    header = fingerprint.header
    if header.clip_norm is None:
        raise UsageError(
            "noise needs a limit to what one sample adds: make the fingerprint with --clip-norm "
            "(clip_norm=), a little above the typical norm of a representation"
        )
    if header.labels != "data":
        raise UsageError(
            "noise needs the data's own labels: predicted ones change with a sample's content, "
            "and the counts with them (--labels data)"
        )
    sensitivity = 2 * header.clip_norm * math.sqrt(len(header.layers))
    sigma = gaussian_sigma(sensitivity, epsilon, delta)
    random = np.random.default_rng()  # from the system: nobody may draw it again
    sums = {}
    for layer, x in fingerprint.sums.items():
        noise = random.normal(0, sigma, x.sums.shape) * (x.counts > 0)[:, :, None]
        sums[layer] = replace(x, sums=x.sums + noise)
    counts = replace(header.counts, scored=0, correct=0, loss_sum=0.0)  # they tell of contents
    return Fingerprint(replace(header, counts=counts, noise=Noise(epsilon, delta, sigma)), sums)


def gaussian_sigma(sensitivity: float, epsilon: float, delta: float) -> float:
    """Return the least standard deviation of Gaussian noise that is (ε, δ)-private.

    The analytic Gaussian mechanism (Balle & Wang 2018, theorem 8), for any ε above 0.

    Args:
        sensitivity: the most that one sample moves all sums together, a Euclidean norm.
        epsilon: ε, above 0.
        delta: δ, in (0, 1).

    Raises:
        UsageError: where ε or δ is out of range.

    >>> round(gaussian_sigma(1.0, 1.0, 1e-5), 3)
    3.731
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    if not 0 < epsilon <= 100 or not 0 < delta < 1:
        raise UsageError(
            f"epsilon is {epsilon:g} and delta {delta:g}; expected epsilon above 0 (at most 100) "
            "and delta between 0 and 1"
        )

    def excess(sigma: float) -> float:
        near, far = 1 / (2 * sigma), epsilon * sigma
        return float(norm.cdf(near - far) - math.exp(epsilon) * norm.cdf(-near - far) - delta)

    return sensitivity * float(brentq(excess, 1e-3, 1e6, xtol=1e-12, rtol=1e-12))
