"""The sampling error of RESQUE_dist: noise floor, interval, de-biased value, p-value.

A class's mean vector is known up to sampling noise. Seen from the origin, the noise across the
mean's direction turns it by a small random angle, so that the angle between two means is the
length of (true difference + noise): never 0, even with no shift. The covariance of that noise is
estimated from random groups of rows; the length's mean and variance follow from its first two
moments (a gamma law for the squared chord, exact for isotropic noise). The interval holds every
index whose law makes the observed one plausible (inversion of a test).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resque.sums import Floats, Ints

Z95 = 1.959963984540054  # 97.5 % quantile of the normal law


@dataclass(frozen=True)
class Noise:
    """Sampling noise of the angle between two class means, for each of K classes.

    Attributes:
        trace: (K,) squared angle of noise, summed over directions, in rad².
        square: (K,) trace of the squared covariance, in rad⁴.
        along: (K,) variance along the arc from one mean to the other, in rad².
        groups: (K,) degrees of freedom that these rest on.
    """

    trace: Floats
    square: Floats
    along: Floats
    groups: Floats


@dataclass(frozen=True)
class Uncertainty:
    """The error of an index: all as fractions of π, in [0, 1].

    Attributes:
        noise_floor: the index expected with no shift at this sample size.
        interval: (low, high), 95 % confidence interval for the large-sample index.
        debiased: estimate of the large-sample index, sampling bias taken out.
        p_value: probability of so large an index with no shift.
    """

    noise_floor: float
    interval: tuple[float, float]
    debiased: float
    p_value: float


UNKNOWN = Uncertainty(float("nan"), (0.0, 1.0), float("nan"), float("nan"))


def angles(u: Floats, v: Floats) -> Floats:
    """Angles between the rows of u and v, in rad, exact near 0 and π (2·atan2, not arccos).

    Args:
        u: (K, D) vectors, none of them zero.
        v: (K, D) vectors, none of them zero.

    Returns:
        (K,) angles in [0, π].
    """
    u, v = _unit(u), _unit(v)
    out: Floats = 2 * np.arctan2(np.linalg.norm(u - v, axis=-1), np.linalg.norm(u + v, axis=-1))
    return out


def _unit(x: Floats) -> Floats:
    x = x / np.abs(x).max(axis=-1, keepdims=True)
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def estimate_noise(
    a: tuple[Ints, Floats], b: tuple[Ints, Floats], *, paired: bool = False
) -> Noise:
    """Estimate each class's noise from its groups' counts (K, G) and sums (K, G, D).

    Args:
        a: counts and sums of the original data.
        b: counts and sums of the shifted data, of the same classes.
        paired: both sides are the same rows (a corruption of the original data), so that their
            sampling noise is largely common and cancels.
    """
    rows = [_class_noise(ca, sa, cb, sb, paired) for ca, sa, cb, sb in zip(*a, *b, strict=True)]
    trace, square, along, groups = (np.array(column) for column in zip(*rows, strict=True))
    return _fill_unknown(Noise(trace, square, along, groups), a[0].sum(1), b[0].sum(1))


def _class_noise(
    ca: Ints, sa: Floats, cb: Ints, sb: Floats, paired: bool
) -> tuple[float, float, float, float]:
    da, ra = _residuals(ca, sa)
    db, rb = _residuals(cb, sb)
    if len(ra) < 2 or len(rb) < 2:
        return (np.nan,) * 4
    cos = float(da @ db)
    ea, eb = db - cos * da, cos * db - da
    arc = float(np.linalg.norm(ea)) or 1.0
    if paired and np.array_equal(ca, cb):
        r, dof = rb - ra, len(ra) - 1
        trace, square = float((r**2).sum()), _square(r, dof)
        along = float(((rb @ eb - ra @ ea) ** 2).sum())
    else:
        dof = min(len(ra), len(rb)) - 1
        trace = float((ra**2).sum() + (rb**2).sum())
        cross = float(((ra @ rb.T) ** 2).sum())
        square = _square(ra, len(ra) - 1) + _square(rb, len(rb) - 1) + 2 * cross
        along = float(((ra @ ea) ** 2).sum() + ((rb @ eb) ** 2).sum())
    return trace, square, _along(along, arc**2, trace, square), dof


def _along(raw: float, arc2: float, trace: float, square: float) -> float:
    """Variance along the true arc, from raw = |arc|² · (variance along the observed arc).

    The observed arc is the true one plus noise, which leans to the noisiest directions: its
    part of raw has the mean tr C².
    """
    signal = max(arc2 - trace, 0.25 * arc2)
    return max(raw - square, 0.1 * raw) / signal


def _residuals(counts: Ints, sums: Floats) -> tuple[Floats, Floats]:
    """Direction (D,) of a class mean, and R (groups, D) with RᵀR the covariance of its turn."""
    kept = counts > 0
    n_g = counts[kept].astype(np.float64)[:, None]
    total = n_g.sum()
    mean = sums[kept].sum(axis=0) / total
    size = np.linalg.norm(mean)
    direction = mean / size
    if len(n_g) < 2:
        return direction, np.zeros((len(n_g), len(mean)))
    r = np.sqrt(n_g) * (sums[kept] / n_g - mean) / np.sqrt((len(n_g) - 1) * total)
    r -= np.outer(r @ direction, direction)
    # |observed mean|² holds the noise's own square; a mean lost in noise keeps a tenth of it.
    length = max(size**2 - (r**2).sum(), 0.1 * size**2)
    return direction, r / np.sqrt(length)


def _square(r: Floats, dof: int) -> float:
    """Unbiased tr C² from a Wishart estimate RᵀR with dof degrees of freedom."""
    gram = r @ r.T
    raw, trace = float((gram**2).sum()), float(np.trace(gram))
    if dof < 2:
        return raw / 3  # one degree of freedom: E raw = 3 tr C² for one direction
    unbiased = dof**2 / ((dof - 1) * (dof + 2)) * (raw - trace**2 / dof)
    return max(unbiased, raw / (dof + 2), 1e-3 * trace**2 / max(len(r), 1))


def _fill_unknown(noise: Noise, na: Ints, nb: Ints) -> Noise:
    """Give classes of one sample the mean noise of the others, scaled by their sizes."""
    known = np.isfinite(noise.trace)
    if known.all() or not known.any():
        return noise
    scale = 1 / na + 1 / nb
    trace, square, along, groups = (
        x.copy() for x in (noise.trace, noise.square, noise.along, noise.groups)
    )
    for x, power in ((trace, 1), (square, 2), (along, 1)):
        x[~known] = np.mean(x[known] / scale[known] ** power) * scale[~known] ** power
    groups[~known] = groups[known].min()
    return Noise(trace, square, along, groups)


def expected_angle(true_angle: Floats, noise: Noise) -> tuple[Floats, Floats]:
    """Mean and variance (K,) of the observed angle, in rad and rad², given the true angle (K,).

    The squared chord has mean 2 − 2ρ·cos θ and variance ρ²·(2 tr C² + 4 sin²θ·c), and is taken
    as gamma-distributed.
    """
    rho = 1 / (1 + noise.trace / 2)
    # 2 − 2ρ·cos θ without its cancellation; the smallest number stands for 0, which divides.
    mean = np.maximum(rho * (noise.trace + 4 * np.sin(true_angle / 2) ** 2), 1e-300)
    deviation = rho * np.sqrt(2 * noise.square + 4 * np.sin(true_angle) ** 2 * noise.along)
    shape = 1 / np.maximum(deviation / mean, 1e-6) ** 2
    chord = np.sqrt(mean) * _root_ratio(shape)
    spread = np.maximum(mean - chord**2, mean / (4 * shape + 4))
    chord = np.minimum(chord, 1.999)
    slope = 1 / np.sqrt(1 - chord**2 / 4)
    angle = 2 * np.arcsin(chord / 2) + chord / 8 * slope**3 * spread
    return np.minimum(angle, np.pi), slope**2 * spread


def _root_ratio(shape: Floats) -> Floats:
    """E√X / √(E X) of a gamma law."""
    from scipy.special import gammaln

    small = np.minimum(shape, 1e3)
    exact = np.exp(gammaln(small + 0.5) - gammaln(small)) / np.sqrt(small)
    return np.asarray(np.where(shape < 1e3, exact, 1 - 1 / (8 * shape)))


def estimate_uncertainty(observed: Floats, noise: Noise) -> Uncertainty:
    """Error of the mean of the observed angles (K,), in rad, over π."""
    from scipy.optimize import brentq
    from scipy.stats import norm

    if not np.isfinite(noise.trace).all():
        return UNKNOWN
    index = float(observed.mean())
    pattern = _pattern(observed, noise)
    top = float(np.pi / pattern.max())
    inflation = 1 + 1 / np.maximum(noise.groups, 1)

    def law(mean_angle: float) -> tuple[float, float]:
        angle, variance = expected_angle(mean_angle * pattern, noise)
        return float(angle.mean()), float(np.sqrt((variance * inflation).sum())) / len(angle)

    def solve(quantile: float) -> float:
        def gap(mean_angle: float) -> float:
            mean, deviation = law(mean_angle)
            return mean + quantile * deviation - index

        if gap(0.0) >= 0:
            return 0.0
        if gap(top) <= 0:
            return min(top, np.pi) / np.pi
        return float(brentq(gap, 0.0, top, xtol=1e-13)) / np.pi

    floor, deviation = law(0.0)
    p_value = float(norm.sf((index - floor) / deviation)) if deviation > 0 else float(index <= 0)
    return Uncertainty(
        noise_floor=floor / np.pi,
        interval=(solve(Z95), solve(-Z95)),
        debiased=solve(0.0),
        p_value=p_value,
    )


def _pattern(observed: Floats, noise: Noise) -> Floats:
    """Share of each class in the shift (K,), with mean 1: de-biased angles, shrunk to their mean.

    Squared chords less their noise are unbiased but scattered; they are drawn to their mean by
    the part of their spread that noise explains.
    """
    rho = 1 / (1 + noise.trace / 2)
    q = 2 - 2 * np.cos(observed) / rho
    spread = 2 * noise.square + 4 * np.clip(q, 0, 1) * noise.along
    total = float(q.var(ddof=1)) if len(q) > 1 else 0.0
    keep = max(0.0, 1 - float(spread.mean()) / total) if total > 0 else 0.0
    q = np.clip(q.mean() + keep * (q - q.mean()), 0, 4)
    angle = 2 * np.arcsin(np.sqrt(q) / 2)
    if not angle.mean() > 0:
        return np.ones(len(q))
    return np.asarray(np.maximum(angle / angle.mean(), 1e-6))
