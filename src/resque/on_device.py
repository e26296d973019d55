"""k-means and nearest neighbours on a torch device, by scikit-learn's rules.

The same functions run on every device. All rows are held there, some times over; what is made of
them (distances to all centres or rows, one-hot classes) goes in blocks of at most `MEGABYTES`. Only
k-means++ has the 2 + log K distances that it tries for all rows at once. Nothing here sums in an
order that changes from run to run: sums of classes are products with one-hot classes, as torch's
`index_add` is not deterministic on CUDA.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resque.errors import ResqueError, UsageError
from resque.sums import Floats, Ints

MEGABYTES = 256  # of a block
BLOCK_ROWS = 16_384  # that are summed in float32; the blocks add up in float64
MOST_STEPS = 300  # of Lloyd's algorithm, and
TOLERANCE = 1e-4  # of the columns' mean variance, below which the centres stand still: scikit-learn


@dataclass(frozen=True)
class Clusters:
    """What k-means found.

    Attributes:
        labels: (N,) clusters 0 … K−1.
        centres: (K, D), in the precision that was computed in; the mean of all rows for a cluster
            without any.
        inertia: sum of the squared distances of rows to their centres.
    """

    labels: Ints
    centres: NDArray[Any]
    inertia: float


def kmeans(
    x: NDArray[Any],
    k: int,
    start: NDArray[Any] | None,
    *,
    n_init: int = 1,
    seed: int = 0,
    device: str,
) -> Clusters:
    """Cluster rows by Lloyd's algorithm, as scikit-learn's `KMeans` does.

    It ends where no label changes, where the centres hardly move, or after 300 steps. A cluster
    that loses its rows starts again at one of the rows farthest from their centres.

    Args:
        x: (N, D) finite rows. float32 is computed in float32 (and in float64 where the caller
            has let CUDA round such products to TF32, which torch does not by itself), all else in
            float64.
        k: clusters, N at most.
        start: (K, D) centres, or (N,) classes 0 … K−1 whose means are the centres; None for
            greedy k-means++.
        n_init: starts of k-means++, of which the one with the least inertia counts.
        seed: of k-means++. Its draws are made on the CPU: the same ones for every device.
        device: "cpu", "cuda", "cuda:1", …

    Raises:
        ResqueError: where the device does not hold the rows.
        UsageError: where there is no such device.
    """
    with _computing(x, device):
        rows = _on(x, device)
        mean = rows.mean(dim=0)
        tolerance = TOLERANCE * float(rows.var(dim=0, correction=0).mean())
        rows = rows - mean  # distances to centres near 0 lose fewer digits
        random = torch.Generator().manual_seed(seed)
        runs = []
        for _ in range(n_init if start is None else 1):
            first = _first_centres(rows, k, start, mean, random)
            labels, centres = _lloyd(rows, first, tolerance)
            runs.append((float(_squared_distances(rows, labels, centres).sum()), labels, centres))
        inertia, labels, centres = min(runs, key=lambda run: run[0])
        centres = centres.nan_to_num(nan=0) + mean
        return Clusters(labels.cpu().numpy(), centres.cpu().numpy(), inertia)


def nearest(x: Floats, k: int, device: str) -> Ints:
    """Return the (N, k) nearest other rows by cosine distance, the nearest first.

    A row of zeros is at distance 1 from every other. Which of several rows at one distance come
    first is not said, as in scikit-learn.

    Args:
        x: (N, D) finite rows; computed in float64.
        k: neighbours, N − 1 at most.
        device: "cpu", "cuda", "cuda:1", …

    Raises:
        ResqueError: where the device does not hold the rows.
        UsageError: where there is no such device.
    """
    with _computing(x, device):
        rows = _on(x.astype(np.float64, copy=False), device)
        norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        # As scikit-learn's `normalize`: shorter ones count as zeros.
        norms[norms < 10 * torch.finfo(rows.dtype).eps] = 1
        rows = rows / norms
        found = torch.empty((len(rows), k), dtype=torch.int64, device=rows.device)
        for part in _blocks(rows, len(rows)):
            distances = (rows[part] @ rows.T).neg_().add_(1).clamp_(0, 2)
            distances.diagonal(offset=part.start).fill_(torch.inf)  # itself
            found[part] = distances.topk(k, dim=1, largest=False).indices
        return found.cpu().numpy()


@contextmanager
def _computing(x: NDArray[Any], device: str) -> Iterator[None]:
    """Compute in full precision, whatever the caller's autocast, and explain what fails."""
    where, n = torch.device(device), torch.cuda.device_count()
    if where.type == "cuda" and (where.index or 0) >= n:
        raise UsageError(f"device is {device!r}; torch finds {n} CUDA device(s) on this machine")
    try:
        with torch.autocast(where.type, enabled=False), torch.no_grad():
            yield
    except torch.OutOfMemoryError as error:
        raise ResqueError(
            f"{len(x)} rows of {x.shape[1]} dimensions do not fit into the memory of {device}: "
            "take fewer rows, or --device cpu"
        ) from error


def _on(x: NDArray[Any], device: str) -> Tensor:
    exact = x.dtype == np.float32 and torch.backends.cuda.matmul.fp32_precision != "tf32"
    dtype = torch.float32 if exact else torch.float64
    return torch.from_numpy(np.require(x, requirements=["C", "W"])).to(device, dtype)


def _blocks(x: Tensor, width: int) -> Iterator[slice]:
    """Yield slices of rows for each of which so many numbers are made."""
    step = MEGABYTES * 10**6 // (width * x.element_size())
    step = max(1, min(step, BLOCK_ROWS))
    for first in range(0, len(x), step):
        yield slice(first, min(first + step, len(x)))


def _first_centres(
    x: Tensor, k: int, start: NDArray[Any] | None, mean: Tensor, random: torch.Generator
) -> Tensor:
    if start is None:
        return _plus_plus(x, k, random)
    if start.ndim == 1:
        sums, counts = _sums(x, torch.tensor(start, device=x.device), k)
        return (sums / counts[:, None]).to(x.dtype)
    return torch.tensor(start, dtype=x.dtype, device=x.device) - mean


def _plus_plus(x: Tensor, k: int, random: torch.Generator) -> Tensor:
    """Draw centres by greedy k-means++ (Arthur & Vassilvitskii 2007, as scikit-learn does).

    Each is the best of 2 + log K rows, drawn by their squared distance to the nearest centre.
    """
    trials = 2 + int(np.log(k))
    squares = torch.linalg.vector_norm(x, dim=1).square()
    chosen = [int(torch.randint(len(x), (1,), generator=random, device="cpu"))]
    gaps = torch.full_like(squares, torch.inf)
    gaps = _gaps_to(x, squares, torch.tensor(chosen, device=x.device), gaps)[0]
    for _ in range(1, k):
        total = gaps.double().cpu().cumsum(dim=0)  # torch's cumsum on CUDA is not deterministic
        drawn = torch.rand(trials, generator=random, dtype=torch.float64, device="cpu") * total[-1]
        rows = torch.searchsorted(total, drawn).clamp_(max=len(x) - 1)
        tried = _gaps_to(x, squares, rows.to(x.device), gaps)
        best = int(tried.sum(dim=1, dtype=torch.float64).argmin())
        gaps = tried[best]
        chosen.append(int(rows[best]))
    return x[chosen]


def _gaps_to(x: Tensor, squares: Tensor, rows: Tensor, gaps: Tensor) -> Tensor:
    """Return (rows, N) squared distances to the nearest centre, were each row one more of them."""
    found = torch.addmm(squares, x[rows], x.T, alpha=-2) + squares[rows, None]
    return torch.minimum(found.clamp_(min=0), gaps)


def _lloyd(x: Tensor, centres: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Return (N,) labels and (K, D) centres."""
    labels = torch.full((len(x),), -1, device=x.device)
    for _ in range(MOST_STEPS):
        found, before = _assign(x, centres), centres
        centres = _move(x, before, found)
        if torch.equal(found, labels):
            return labels, centres
        labels = found
        if float((centres - before).double().square().sum()) <= tolerance:
            break
    return _assign(x, centres), centres


def _assign(x: Tensor, centres: Tensor) -> Tensor:
    """Return the nearest centre (N,) of each row, the first of several, and none that is NaN."""
    squares = centres.square().sum(dim=1).nan_to_num(nan=torch.inf)
    centres = centres.nan_to_num(nan=0)
    parts = [
        torch.addmm(squares, x[part], centres.T, alpha=-2).argmin(dim=1)
        for part in _blocks(x, len(centres))
    ]
    return torch.cat(parts)


def _move(x: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """Return the (K, D) means of the clusters, empty ones at the rows farthest from theirs.

    What is empty even so (fewer distinct rows than clusters, or the farthest was alone) is NaN.
    """
    sums, counts = _sums(x, labels, len(centres))
    empty = (counts == 0).nonzero()[:, 0]
    if len(empty):
        _relocate(x, centres, labels, empty, sums, counts)
    means = torch.where(counts[:, None] > 0, sums / counts[:, None], torch.nan)
    return means.to(x.dtype)


def _relocate(
    x: Tensor, centres: Tensor, labels: Tensor, empty: Tensor, sums: Tensor, counts: Tensor
) -> None:
    """Take the rows farthest from their centres out of their clusters into the empty ones."""
    distances = _squared_distances(x, labels, centres)
    far = distances.topk(len(empty)).indices
    if float(distances.max()) == 0:
        return
    left, leaving = _sums(x[far], labels[far], len(centres))
    sums -= left
    counts -= leaving
    sums[empty], counts[empty] = x[far].double(), 1.0


def _sums(x: Tensor, labels: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the (K, D) sums and (K,) numbers of each class's rows, in float64."""
    sums = torch.zeros((k, x.shape[1]), dtype=torch.float64, device=x.device)
    counts = torch.zeros(k, dtype=torch.float64, device=x.device)
    classes = torch.arange(k, device=x.device)
    for part in _blocks(x, k):
        one_hot = (labels[part, None] == classes).to(x.dtype)
        sums += one_hot.T @ x[part]
        counts += one_hot.sum(dim=0)
    return sums, counts


def _squared_distances(x: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Return each row's (N,) squared distance to its centre, in float64."""
    parts = [
        (x[part] - centres[labels[part]]).square().sum(dim=1, dtype=torch.float64)
        for part in _blocks(x, x.shape[1])
    ]
    return torch.cat(parts)
